"""The page of an inspection stands alone, escapes what it shows, and shows each problem with its cases and pictures."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest

from osler.datasets.dataset import Dataset
from osler.datasets.distributions import Histogram
from osler.datasets.inspection import MOST_ROWS, SCREEN, Inspection
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.problem import Box, Problem
from osler.report.inspection_charts import histogram, label_bars
from osler.report.inspection_page import inspection_page
from osler.report.inspection_pictures import Wanted, draw, examples_of, wanted_by
from osler.workflows.inspect import inspect

EVIL = '<script>alert("x")</script> & “co”'
VOID = {"meta", "img", "br"}


class Balance(HTMLParser):
    """Collects the tags that are opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def found_with(*problems: Problem, **more: object) -> Inspection:
    facts = {
        "name": EVIL,
        "layout": "test",
        "kind": "classes",
        "cases": 4,
        "patients": None,
        "splits": {"unassigned": 4},
        "classes": {"unassigned": {EVIL: 3, "b": 1}},
        "fingerprint": None,
        "problems": problems,
        "duplicates": (),
        "plan": None,
    }
    return Inspection.model_validate(facts | more)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Six small volumes whose masks hold a blob that grows from case to case; the last mask is empty."""
    import nibabel

    root = tmp_path_factory.mktemp("volumes")
    records = []
    for n in range(6):
        voxels = np.random.default_rng(n).normal(100, 10, (24, 20, 12)).astype(np.float32)
        mask = np.zeros(voxels.shape, np.uint8)
        mask[4 : 6 + n, 4:9, 3:6] = 1 if n < 5 else 0
        for part, array in (("i", voxels), ("m", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), root / f"{part}{n}.nii")
        image, truth = ImageRef(path=f"i{n}.nii"), ImageRef(path=f"m{n}.nii")
        records.append(Record(name=f"v{n}", images={"image": image}, mask=truth, patient=f"P{n}"))
    labels = LabelSet(kind="mask", labels=(Label(name="blob", value=1),))
    manifest = Manifest(name="v", root=root, layout="test", labels=labels, records=tuple(records), patients="given")
    return Dataset(manifest)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(png)))


def test_the_page_is_whole_loads_nothing_and_escapes_every_name() -> None:
    problem = Problem(
        code="blank", severity="error", what=EVIL, cases=(EVIL,), remedy=EVIL, details={EVIL: EVIL}, figures={EVIL: 0.9}
    )
    page = inspection_page(found_with(problem), [], {})
    parser = Balance()
    parser.feed(page)
    assert not parser.open
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    assert "default-src 'none'" in page


def test_each_example_says_what_it_stands_for_from_the_smallest_to_the_largest(volumes: Dataset) -> None:
    found = inspect(volumes)
    examples = examples_of(volumes, found)
    assert [(e.heading, e.wanted.name, e.words) for e in examples] == [
        ("blob", "v0", "smallest, 60 mm³"),
        ("blob", "v1", "90 mm³"),
        ("blob", "v2", "120 mm³"),
        ("blob", "v3", "150 mm³"),
        ("blob", "v4", "largest, 180 mm³"),
        ("Empty mask", "v5", ""),
    ]
    drawn = draw(volumes, wanted_by(found, examples))
    assert all(drawn[e.wanted].png for e in examples)
    assert pixels(drawn[examples[0].wanted].png or b"").ndim == 3  # the mask is drawn
    assert pixels(drawn[examples[-1].wanted].png or b"").ndim == 2


def test_boxes_are_drawn_where_the_problem_says(volumes: Dataset) -> None:
    box = Box(channel="image", start=(2, 2, 10), stop=(6, 6, 11))
    plain, framed = Wanted("v5"), Wanted("v5", boxes=(box,))
    drawn = draw(volumes, [plain, framed])
    picture = pixels(drawn[framed].png or b"")
    assert ((picture == (213, 94, 0)).all(axis=-1)).sum() > 50
    assert "slice" not in drawn[plain].notes


def test_a_case_that_cannot_be_read_is_shown_with_its_reason(volumes: Dataset) -> None:
    record = volumes.records[0].model_copy(update={"name": "gone", "images": {"image": ImageRef(path="gone.nii")}})
    broken = volumes.with_records((*volumes.records, record))
    drawn = draw(broken, [Wanted("gone")])[Wanted("gone")]
    assert drawn.png is None
    assert "gone.nii" in drawn.notes


def test_cases_that_belong_together_stand_together() -> None:
    groups = (("a", "b"), ("c", "d"))
    problem = Problem(code="copies-across", severity="error", what="copies", cases=("a", "b", "c", "d"), groups=groups)
    found = found_with(problem)
    wanted = wanted_by(found, [])
    drawn = draw(Dataset(Manifest(name="n", root="/", layout="t", labels=LabelSet(kind="classes"), records=())), [])
    assert [one.name for one in wanted] == ["a", "b", "c", "d"]
    assert "<li>a = b</li>" in inspection_page(found, [], drawn)


def test_a_histogram_has_a_bar_per_bin_and_cuts_the_one_that_towers() -> None:
    counts = (900, 10, 20, 0)
    data = Histogram(quantity="intensity", name="image", edges=(0.0, 1.0, 2.0, 3.0, 4.0), counts={"everywhere": counts})
    svg = histogram(data, x_title="Intensity", title="t")
    assert svg.count('class="histogram"') == 3
    assert "this bar: 97 %" in svg


def test_logarithmic_axes_are_marked_in_powers_of_ten() -> None:
    edges = (1.0, 10.0, 100.0, 1000.0)
    data = Histogram(quantity="size", name="x", edges=edges, counts={"cases": (1, 2, 3)}, logarithmic=True)
    svg = histogram(data, x_title="Size", title="t")
    assert all(f">{tick}<" in svg for tick in ("1", "10", "100", "1,000"))


def test_bars_add_up_over_the_splits() -> None:
    svg = label_bars({"train": {"a": 3, "b": 0}, "test": {"a": 1, "b": 2}}, title="t")
    assert re.findall(r'class="tick"[^>]*>(\d+)<', svg) == ["4", "2"]


@pytest.mark.parametrize("problems", [0, 1, 5, 60])
def test_the_summary_starts_with_errors_and_cuts_no_sentence(problems: int) -> None:
    severities = ("note", "warning", "error")
    wrong = [
        Problem(
            code="blank",
            severity=severities[n % 3],
            what=f"{n} cases: {'wrong ' * 30}",
            cases=tuple(f"case-{i}" for i in range(n)),
            remedy="repair them " * 12,
        )
        for n in range(problems)
    ]
    ranks = {"error": 0, "warning": 1, "note": 2}
    wrong.sort(key=lambda problem: ranks[problem.severity])
    many = {f"label {n}": n for n in range(40)}
    splits = {"train": 3, "validation": 4, "test": 5}
    found = found_with(*wrong, splits=splits, classes={split: many for split in splits})
    lines = found.summary()
    assert len(lines) < SCREEN[0] + MOST_ROWS
    assert not any(line.endswith("...") for line in lines if "wrong" in line)
    assert max(map(len, lines)) <= SCREEN[1]
    if problems == 60:
        assert "20 errors, 20 warnings, 20 notes" in lines
        assert any(line.startswith("  ERROR") for line in lines)
        assert any("more: --output OUT shows all" in line for line in lines)
