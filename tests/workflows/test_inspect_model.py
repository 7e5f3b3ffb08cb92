"""Asking a model which answers are wrong finds those that were made wrong, of every kind of answer."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture
from typer.testing import CliRunner

from osler.cli.app import app
from osler.datasets.dataset import Dataset
from osler.datasets.identity import content_digest
from osler.datasets.layouts import open_dataset
from osler.datasets.problem import Problem
from osler.errors import ModelError, PathNotFound, UsageError
from osler.models.folder import DataSummary, Model
from osler.workflows.inspect import Inspection, inspect
from osler.workflows.label_check import check_answers
from tiny_models import make_model, make_plan, thresholds

CASES = 60
WRONG = (7, 22, 41)
"""Cases whose answer is given wrongly."""


def level(n: int) -> float:
    """The brightness of a case, which is what all the models go by: four steps of it, with a little of its own."""
    return 40.0 + 50.0 * (n % 4) + n % 5


def pictures(folder: Path) -> list[str]:
    folder.mkdir(parents=True)
    names = []
    for n in range(CASES):
        noise = np.random.default_rng(n).normal(0, 6, (16, 16))
        Picture.fromarray((level(n) + noise).clip(0, 255).astype(np.uint8)).save(folder / f"p{n:02}.png")
        names.append(f"p{n:02}")
    return names


def table(folder: Path, header: list[str], answer: object, *, patient: str = "") -> Path:
    """Pictures with a manifest; ``answer`` gives the cells of a case from its number and whether it is to be wrong."""
    rows = [[f"{name}.png", patient + name, *answer(n, n in WRONG)] for n, name in enumerate(pictures(folder))]  # type: ignore[operator]
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "patient", *header], *rows])
    return folder


def suspects(found: Inspection) -> Problem:
    (problem,) = [problem for problem in found.problems if problem.code == "label-error"]
    return problem


WRONG_NAMES = {f"p{n:02}" for n in WRONG}


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    return table(tmp_path / "data", ["label"], lambda n, wrong: [("dark", "bright")[(n % 4 > 1) != wrong]])


def classifier(folder: Path, **more: object) -> Model:
    plan = make_plan("classify", names=("bright", "dark"), dimensions=2, patch=(16, 16))
    weights = np.array([[6.0], [-6.0]])
    return make_model(folder, plan, weights, -1.15 * weights[:, 0], **more)  # type: ignore[arg-type]


def test_wrong_classes_are_found_and_said_what_they_look_like(classes: Path, tmp_path: Path) -> None:
    found = suspects(inspect(classes, model=classifier(tmp_path / "m")))
    assert found.severity == "warning"
    assert set(found.cases) == WRONG_NAMES
    assert found.details["p07"].startswith("called dark, looks like bright (probability ")
    assert found.what.startswith("3 cases: the answer is probably wrong, of 60 that a model judged")
    assert found.figures["answers checked"] == CASES
    assert found.figures["estimated share of wrong answers"] == pytest.approx(3 / CASES, abs=0.02)
    assert found.leave_out == ()


def test_wrong_labels_of_several_are_found_label_by_label(tmp_path: Path) -> None:
    def answer(n: int, wrong: bool) -> list[object]:
        return [int((n % 4 > 1) != wrong), "" if n % 9 == 0 else int(n % 4 < 2)]

    data = table(tmp_path / "data", ["label_bright", "label_dark"], answer)
    plan = make_plan("multilabel", names=("bright", "dark"), dimensions=2, patch=(16, 16))
    weights = np.array([[20.0], [-20.0]])
    found = suspects(inspect(data, model=make_model(tmp_path / "m", plan, weights, -1.15 * weights[:, 0])))
    assert set(found.cases) == WRONG_NAMES
    assert found.details["p07"].startswith("called without, seems to show bright (probability 1.0")
    assert found.details["p41"].startswith("called with, seems not to show bright (probability 0.0")


def test_wrong_grades_are_found(tmp_path: Path) -> None:
    data = table(tmp_path / "data", ["grade"], lambda n, wrong: [3 - n % 4 if wrong else n % 4])
    plan = make_plan("ordinal", names=("0", "1", "2", "3"), dimensions=2, patch=(16, 16))
    slope = 30.0
    model = make_model(tmp_path / "m", plan, np.full((3, 1), slope), -slope * np.array([0.67, 1.17, 1.67]))
    found = suspects(inspect(data, model=model))
    assert set(found.cases) == WRONG_NAMES
    assert found.details["p07"].startswith("called 0, looks like 3")


def test_numbers_far_from_the_models_are_found_with_both(tmp_path: Path) -> None:
    def answer(n: int, wrong: bool) -> list[object]:
        return [round(level(n) + 0.02 * (n % 7) + 90 * wrong, 2)]

    data = table(tmp_path / "data", ["value"], answer)
    plan = make_plan("regress", dimensions=2, patch=(16, 16), target_mean=0.0, target_std=1.0)
    found = suspects(inspect(data, model=make_model(tmp_path / "m", plan, np.array([[100.0]]), np.zeros(1))))
    assert set(found.cases) == WRONG_NAMES
    assert "said to be 282" in found.details["p07"]
    assert "looks like 19" in found.details["p07"]


def masked(folder: Path) -> Path:
    """Pictures of a disc with its mask; of the wrong ones it lies elsewhere."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for n in range(CASES):
        middle = 10 + n % 5
        disc = np.hypot(*(np.indices((32, 32)) - middle)) < 6
        pixels = np.random.default_rng(n).normal(60, 6, (32, 32)) + 120 * disc
        mask = np.roll(disc, 13, axis=(0, 1)) if n in WRONG else disc
        Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"p{n:02}.png")
        Picture.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"p{n:02}.png")
    return folder


def segmenter(folder: Path) -> Model:
    plan = make_plan("segment", names=("foreground",), dimensions=2, patch=(32, 32))
    return make_model(folder, plan, *thresholds(1.2))


def test_masks_unlike_the_models_are_found_and_the_page_shows_both(tmp_path: Path) -> None:
    data, out = masked(tmp_path / "data"), tmp_path / "out"
    found = suspects(inspect(data, model=segmenter(tmp_path / "m"), output=out))
    assert set(found.cases) == WRONG_NAMES
    assert "agrees with the model's mask to 0.0" in found.details["p07"]
    assert "usual 0.8" in found.details["p07"] or "usual 0.9" in found.details["p07"]
    page = (out / "index.html").read_text()
    assert page.count("filled: the model; dashed: the data") == len(WRONG)
    assert json.loads((out / "inspect.json").read_text())["problems"]


def test_what_the_model_drew_comes_with_the_values_of_the_data(tmp_path: Path) -> None:
    data = open_dataset(masked(tmp_path / "data"))
    asked = check_answers(segmenter(tmp_path / "m"), data, masks=2)
    assert len(asked.masks) == 2
    name, mask = next(iter(asked.masks.items()))
    case = data.read_case(next(record for record in data.records if record.name == name))
    assert set(np.unique(mask)) == {0, 1}
    assert (mask[case.study.image.array[0] > 120] == 1).all()


def test_suspects_stand_in_summary_page_and_review_and_are_kept(classes: Path, tmp_path: Path) -> None:
    model = classifier(tmp_path / "m")
    found = inspect(classes, model=model, output=tmp_path / "out", fix=tmp_path / "cleaned")
    assert any("WARNING 3 cases: the answer is probably wrong" in line for line in found.summary())
    assert any("3 cases in it need a decision of yours (review.csv says why)" in line for line in found.summary())
    assert "called dark, looks like bright" in (tmp_path / "out" / "index.html").read_text()
    assert found.cleaning is not None
    assert (found.cleaning.kept, found.cleaning.review) == (CASES, 3)
    with (tmp_path / "cleaned" / "review.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["case"] for row in rows} == WRONG_NAMES
    assert {row["problem"] for row in rows} == {"label-error"}
    assert all("looks like" in row["reason"] and row["what to do"] for row in rows)
    assert (tmp_path / "cleaned" / "excluded.csv").read_text().count("\n") == 1


def seen_by(model: str, dataset: Dataset, count: int) -> DataSummary:
    salt = "0123"
    return DataSummary(
        name=model, salt=salt, seen=tuple(content_digest(dataset, record, salt) for record in dataset.records[:count])
    )


def test_cases_that_the_model_has_learnt_from_are_left_out(classes: Path, tmp_path: Path) -> None:
    dataset = open_dataset(classes)
    found = suspects(inspect(classes, model=classifier(tmp_path / "m", data=seen_by("m", dataset, 20))))
    assert set(found.cases) == {"p22", "p41"}
    assert "learnt from 20 cases, which were left out" in found.what


def test_of_a_cross_validation_each_case_is_judged_by_the_members_that_have_not_seen_it(
    classes: Path, tmp_path: Path
) -> None:
    dataset = open_dataset(classes)
    summary = seen_by("m", dataset, CASES)
    held_out = {0: summary.seen[:30], 1: summary.seen[30:55]}  # five are of no fold: all members have seen them
    folds = summary.model_copy(update={"held_out": held_out})
    found = suspects(inspect(classes, model=classifier(tmp_path / "m", data=folds, members=2, folds=True)))
    assert set(found.cases) == WRONG_NAMES
    assert found.figures["answers checked"] == 55
    assert "learnt from 5 cases, which were left out" in found.what


def test_members_of_another_fold_do_not_judge(tmp_path: Path) -> None:
    data = table(tmp_path / "data", ["value"], lambda n, wrong: [level(n)])
    summary = seen_by("m", open_dataset(data), CASES)
    plan = make_plan("regress", dimensions=2, patch=(16, 16), target_mean=0.0, target_std=100.0)
    folds = summary.model_copy(update={"held_out": {0: summary.seen[3:], 1: summary.seen[:3]}})
    model = make_model(tmp_path / "m", plan, np.ones((1, 1)), np.zeros(1), members=2, folds=True, data=folds)
    found = suspects(inspect(data, model=model))  # member 1 answers 100 more than member 0
    assert set(found.cases) == {"p00", "p01", "p02"}


def test_too_few_cases_that_the_model_has_not_seen_are_a_note(classes: Path, tmp_path: Path) -> None:
    dataset = open_dataset(classes)
    found = suspects(inspect(classes, model=classifier(tmp_path / "m", data=seen_by("m", dataset, 50))))
    assert (found.severity, found.cases) == ("note", ())
    assert "the model has learnt from 50 cases, and only 10 are left" in found.what


def test_a_clean_set_and_a_model_that_is_no_judge_are_notes(classes: Path, tmp_path: Path) -> None:
    clean = table(tmp_path / "clean", ["label"], lambda n, wrong: [("dark", "bright")[n % 4 > 1]])
    found = suspects(inspect(clean, model=classifier(tmp_path / "m")))
    assert found.severity == "note"
    assert "contradicts none of the 60 answers" in found.what
    noise = table(tmp_path / "noise", ["label"], lambda n, wrong: [("dark", "bright")[n // 7 % 2]])
    found = suspects(inspect(noise, model=classifier(tmp_path / "m2")))
    assert found.severity == "note"
    assert "no judge" in found.what


def test_images_that_the_model_cannot_take_are_counted(classes: Path, tmp_path: Path) -> None:
    plan = make_plan("classify", names=("bright", "dark"), dimensions=3, patch=(16, 16, 16))
    found = suspects(inspect(classes, model=make_model(tmp_path / "m", plan, np.array([[1.0], [-1.0]]), np.zeros(2))))
    assert found.severity == "note"
    assert "the model can use only 0 of 60 cases" in found.what


def test_a_model_that_does_not_fit_is_refused_before_any_work(classes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ModelError, match="for another task"):
        inspect(classes, model=segmenter(tmp_path / "masks"), output=out)
    plan = make_plan("classify", names=("cat", "dog"), dimensions=2)
    other = make_model(tmp_path / "other", plan, np.array([[1.0], [-1.0]]), np.zeros(2))
    with pytest.raises(ModelError, match="does not know the data's labels"):
        inspect(classes, model=other, output=out)
    with pytest.raises(PathNotFound, match="no model folder"):
        inspect(classes, model=tmp_path / "nowhere", output=out)
    damaged = classifier(tmp_path / "m").path
    (damaged / "plan.json").write_text("{}")
    with pytest.raises(ModelError, match=r"plan.json .* was changed"):
        inspect(classes, model=damaged, output=out)
    pictures(tmp_path / "loose")
    with pytest.raises(UsageError, match="no answers to check"):
        inspect(tmp_path / "loose", model=classifier(tmp_path / "m3"), output=out)
    assert not out.exists()


def test_a_damaged_graph_is_told_by_its_name(classes: Path, tmp_path: Path) -> None:
    model = classifier(tmp_path / "m")
    next((model.path / "graphs").glob("*.xml")).write_text("spoilt")
    with pytest.raises(ModelError, match="missing or was changed"):
        inspect(classes, model=model.path)


def test_the_command_takes_the_model_and_says_it_in_json(classes: Path, tmp_path: Path) -> None:
    model = classifier(tmp_path / "m").path
    result = CliRunner().invoke(app, ["inspect", str(classes), "--model", str(model), "--json"])
    assert result.exit_code == 0, result.output
    listed = json.loads(result.stdout.strip().splitlines()[-1])["problems"]
    assert [p["cases"] for p in listed if p["code"] == "label-error"] == [3]


def test_without_a_model_no_engine_is_loaded(classes: Path) -> None:
    code = f"""
import sys
from osler.workflows.inspect import inspect
inspect({str(classes)!r})
print(sorted(m for m in sys.modules if m in ("openvino", "onnxruntime") or m.startswith("osler.inference")))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def discs(folder: Path, seed: int, wrong: tuple[int, ...]) -> Path:
    """Class folders of noise, with a disc or without."""
    for n in range(CASES):
        random = np.random.default_rng((seed, n))
        shown = n % 2 == 0
        place = np.hypot(*(np.indices((32, 32)) - random.integers(10, 22, (2, 1, 1))))
        pixels = random.normal(90, 12, (32, 32)) + 90 * shown * (place < 6)
        path = folder / ("disc" if shown != (n in wrong) else "empty") / f"s{seed}p{n:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return folder


@pytest.mark.slow
def test_a_trained_model_finds_answers_that_were_turned(tmp_path: Path) -> None:
    from osler.workflows.train import train

    train(discs(tmp_path / "clean", 0, ()), patient="none", output=tmp_path / "m", steps=60, device="cpu")
    found = suspects(inspect(discs(tmp_path / "data", 1, WRONG), patient="none", model=tmp_path / "m"))
    assert set(found.cases) == {f"s1p{n:02}" for n in WRONG}
