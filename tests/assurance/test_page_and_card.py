"""The page stands alone, escapes what it shows, and says in words what the figures say."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from osler.assurance.card import model_card
from osler.assurance.evaluation import (
    Evaluation,
    evaluate_classes,
    evaluate_grades,
    evaluate_masks,
    evaluate_numbers,
    evaluate_several,
    score_mask,
)
from osler.assurance.page import page_html, write_page
from osler.assurance.wording import headline_sentences
from osler.datasets.labels import Label, LabelSet
from osler.errors import StorageError, Unsuitable

EVIL = '<script>alert("x")</script> & “co”'
PNG = b"\x89PNG\r\n\x1a\n rest"
VOID = {"meta", "img", "br"}


def evaluation(kind: str, *, cases: int = 24) -> Evaluation:
    draw = np.random.default_rng(0)
    names = [f"{EVIL} {i}" for i in range(cases)]
    columns = [{EVIL: "ab"[i % 2]} for i in range(cases)]
    patients = [f"p{i // 2}" for i in range(cases)]
    three = LabelSet.model_validate(
        {"kind": "mask", "labels": [Label(name=f"{EVIL}{i}", value=i + 1) for i in range(3)]}
    )
    if kind == "mask":
        masks = [draw.integers(0, 3, (8, 8)) for _ in range(cases)]
        scores = [score_mask(m, np.roll(m, 1, axis=0), three, (1, 1), True) for m in masks]
        return evaluate_masks(three, scores, names, patients, columns, resamples=30)
    if kind == "number":
        truth = draw.normal(40, 9, cases)
        label = LabelSet(kind="number", unit="mm")
        return evaluate_numbers(label, names, patients, truth, truth + 1, columns, half_width=2, resamples=30)
    if kind == "several":
        label = three.model_copy(update={"kind": "several"})
        truth = draw.integers(0, 2, (cases, 3))
        return evaluate_several(label, names, patients, truth, draw.random((cases, 3)), columns, resamples=30)
    if kind == "binary":
        label = three.model_copy(update={"kind": "classes", "labels": three.labels[:2]})
        score = draw.random(cases)
        scores2 = np.stack([1 - score, score], axis=1)
        return evaluate_classes(label, names, patients, draw.integers(0, 2, cases), scores2, columns, resamples=30)
    label = three.model_copy(update={"kind": kind})
    evaluate = evaluate_classes if kind == "classes" else evaluate_grades
    truth = np.arange(cases) % 3
    return evaluate(label, names, patients, truth, draw.dirichlet(np.ones(3), cases), columns, resamples=30)


ALL_KINDS = pytest.mark.parametrize("kind", ["binary", "classes", "several", "grades", "number", "mask"])


class Balance(HTMLParser):
    """Collects the tags that are opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """<line/> closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@ALL_KINDS
def test_the_page_escapes_every_name_and_is_well_formed(kind: str) -> None:
    found = evaluation(kind)
    page = page_html(found, facts={EVIL: EVIL}, intended_use=EVIL, pictures={found.per_case[0].name: PNG}, title=EVIL)
    parser = Balance()
    parser.feed(page.removeprefix("<!doctype html>"))
    assert parser.open == []
    assert parser.scripts == 0
    assert "<script" not in page


@ALL_KINDS
def test_the_page_asks_nothing_of_the_network(kind: str) -> None:
    page = page_html(evaluation(kind))
    assert not re.search(r"https?://|//[a-z]|@import|url\(", page)
    assert "default-src 'none'" in page


@ALL_KINDS
def test_the_page_says_first_that_it_is_not_a_medical_device_and_how_many_patients(kind: str) -> None:
    page = page_html(evaluation(kind), intended_use="For research on knees.")
    assert (
        page.index("For research on knees.")
        < page.index("Not a medical device")
        < page.index("24 cases of 12 patients")
    )
    assert page.index("12 patients") < page.index("In short") < page.index("What the figures mean")
    assert "nan" not in re.sub(r"data:[^\"]*", "", page).lower().replace("nano", "")


@ALL_KINDS
def test_a_single_case_still_makes_a_page_and_a_card(kind: str) -> None:
    found = evaluation(kind, cases=1)
    assert "no interval" in page_html(found)
    assert "no interval" in model_card("m", found)


def test_data_without_the_positive_class_say_so_instead_of_a_figure() -> None:
    label = LabelSet(kind="classes", labels=(Label(name="normal", value=0), Label(name="pneumonia", value=1)))
    names, columns = list("abcdef"), [{"sex": "FM"[i % 2]} for i in range(6)]
    scores = np.array([[0.9, 0.1]] * 6)
    found = evaluate_classes(label, names, names, np.zeros(6, int), scores, columns, resamples=20)
    assert headline_sentences(found)[0].startswith("None of these patients has pneumonia")
    assert "Subgroups" in page_html(found)


def test_masks_that_are_empty_everywhere_make_a_page() -> None:
    label = LabelSet(kind="mask", labels=(Label(name="tumour", value=1),))
    scores = [score_mask(np.zeros((4, 4)), np.zeros((4, 4)), label, (1, 1), True)] * 3
    found = evaluate_masks(label, scores, list("abc"), list("abc"), [{"s": "x"}, {"s": "y"}, {"s": "y"}], resamples=20)
    assert found.metrics["dice"].value is None
    assert "none of the patients has it" in page_html(found)


def test_every_metric_on_the_page_is_defined_at_its_end() -> None:
    found = evaluation("mask")
    page = page_html(found)
    assert "Surface Dice" in page
    assert page.count("<dt>") >= len(found.metrics)


def test_metrics_json_is_the_evaluation(tmp_path: Path) -> None:
    found = evaluation("binary")
    index = write_page(found, tmp_path / "new" / "folder")
    raw = (index.parent / "metrics.json").read_text()
    assert Evaluation.model_validate_json(raw) == found
    assert json.loads(raw)["metrics"]["auc"]["value"] == found.metrics["auc"].value
    assert sorted(p.name for p in index.parent.iterdir()) == ["index.html", "metrics.json"]


def test_a_picture_that_is_no_png_is_refused() -> None:
    found = evaluation("binary")
    with pytest.raises(Unsuitable, match="is no PNG"):
        page_html(found, pictures={found.per_case[0].name: b"GIF89a"})


def test_a_place_that_cannot_be_written_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="there is a file of this name"):
        write_page(evaluation("binary"), tmp_path / "file")


def test_the_hausdorff_distance_is_said_as_what_it_is() -> None:
    """A square of 10 pixels of 1 mm, moved by two: 95 % of each outline lies within 2 mm of the other."""
    label = LabelSet(kind="mask", labels=(Label(name="liver", value=1),))
    truth = np.zeros((30, 30), int)
    truth[10:20, 10:20] = 1
    scores = [score_mask(truth, np.roll(truth, 2, axis=0), label, (1.0, 1.0), True)] * 2
    [sentence] = headline_sentences(evaluate_masks(label, scores, ["a", "b"], ["a", "b"], resamples=10))
    assert (
        "95 % of each outline within 2.00 mm of the other (95th percentile Hausdorff distance, mean over the patients)"
        in sentence
    )
    assert "agree least" not in sentence


def test_sensitivity_is_said_as_so_many_of_a_hundred() -> None:
    label = LabelSet(kind="classes", labels=(Label(name="normal", value=0), Label(name="pneumonia", value=1)))
    truth = np.array([1] * 100 + [0] * 50)
    score = np.array([0.9] * 96 + [0.1] * 4 + [0.2] * 45 + [0.8] * 5)
    names = [f"x{i}" for i in range(150)]
    found = evaluate_classes(label, names, names, truth, np.stack([1 - score, score], axis=1))
    first, second, *_ = headline_sentences(found)
    assert re.fullmatch(
        r"Of 100 patients with pneumonia, the model flags 96 \(95 % interval 9[123] to \d+(\.\d)?\)\.", first
    )
    assert second.startswith("Of 100 patients without pneumonia, it wrongly flags 10 (95 % interval")


@ALL_KINDS
def test_the_card_says_what_it_is_for_on_whom_it_was_measured_and_how_well(kind: str) -> None:
    card = model_card("knee model", evaluation(kind), intended_use="For research.", facts={"Trained on": "80 | knees"})
    assert "Not a medical device" in card
    assert "24 cases of 12 patients" in card
    assert "95 % interval" in card
    assert "<script>" not in card
    assert "80 \\| knees" in card


def test_a_model_that_was_not_measured_says_so_on_its_card() -> None:
    assert "It was not measured." in model_card("m", None)
