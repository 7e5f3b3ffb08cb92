"""A cleaned dataset goes without what detectors mark, keeps the rest, and gives the reason for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.datasets.cleaning import clean
from osler.datasets.dataset import Dataset
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.problem import Problem
from osler.errors import TooFew

CLASSES = LabelSet(kind="classes", labels=(Label(name="benign", value=0), Label(name="malignant", value=1)))


def dataset(changes=None, count=8):
    records = [
        Record(name=f"p{n}", images={"image": ImageRef(path=f"p{n}.png")}, target=n % 2, patient=f"P{n}")
        for n in range(count)
    ]
    records = [record.model_copy(update=(changes or {}).get(n, {})) for n, record in enumerate(records)]
    return Dataset(Manifest(name="d", root=Path("/data"), layout="test", labels=CLASSES, records=tuple(records)))


def problem(code, cases, **more):
    return Problem(code=code, severity="error", what=f"{len(cases)} cases: said so", cases=tuple(cases), **more)


def names(cleaned):
    return [record.name for record in cleaned.dataset.records]


def test_nothing_is_done_where_nothing_is_wrong():
    cleaned = clean(dataset(), [])
    assert cleaned.dataset.records == dataset().records
    assert (cleaned.exclusions, cleaned.changes) == ((), ())


def test_only_what_a_detector_marks_is_left_out_with_its_own_reason():
    found = problem("blank", ["p1", "p2"], leave_out=("p1",), details={"p1": "every value is 9."})
    cleaned = clean(dataset(), [found])
    assert names(cleaned) == ["p0", "p2", "p3", "p4", "p5", "p6", "p7"]
    assert [(e.case, e.code, e.reason) for e in cleaned.exclusions] == [("p1", "blank", "said so (every value is 9)")]


def test_a_copy_is_left_out_with_the_name_of_the_other():
    found = problem("copies-across", ["p1", "p6"], groups=(("p1", "p6"),), leave_out=("p1",))
    assert clean(dataset(), [found]).exclusions[0].reason == "said so (with p6)"


def test_wrong_orientation_and_unknown_sides_are_never_repaired():
    found = [problem("laterality", ["p1"]), problem("inverted", ["p2"]), problem("turned", ["p3"])]
    cleaned = clean(dataset(), found)
    assert cleaned.dataset.records == dataset().records
    assert not cleaned.exclusions


def test_patients_whose_images_show_the_same_become_one_also_through_a_third():
    groups = (("p1", "p2"), ("p2", "p5"))
    cleaned = clean(dataset(), [problem("near-patients", ["p1", "p2", "p5"], groups=groups)])
    assert [record.patient for record in cleaned.dataset.records][:6] == ["P0", "P1", "P1", "P3", "P4", "P1"]
    assert [(c.case, c.column, c.before, c.after) for c in cleaned.changes] == [
        ("p2", "patient", "P2", "P1"),
        ("p5", "patient", "P5", "P1"),
    ]


def test_unknown_patients_stay_unknown():
    unknown = dataset({n: {"patient": None} for n in range(8)})
    cleaned = clean(unknown, [problem("near-within", ["p1", "p2"], groups=(("p1", "p2"),))])
    assert {record.patient for record in cleaned.dataset.records} == {None}
    assert not cleaned.changes


def test_cases_without_an_answer_cannot_be_in_a_manifest():
    cleaned = clean(dataset({3: {"target": None}}), [problem("no-answer", ["p3"], leave_out=("p3",))])
    assert "p3" not in names(cleaned)


def test_of_a_patient_on_several_sides_the_test_cases_stay_else_those_of_validation():
    sides = {0: "train", 1: "validation", 2: "test", 3: "train", 4: "validation"}
    torn = problem("patient-across", [f"p{n}" for n in range(5)], groups=(("p0", "p1", "p2"), ("p3", "p4")))
    cleaned = clean(dataset({n: {"split": split} for n, split in sides.items()}, count=5), [torn])
    assert names(cleaned) == ["p2", "p4"]


def test_a_missing_split_beside_given_ones_is_training():
    cleaned = clean(dataset({0: {"split": "test"}}), [])
    assert [record.split for record in cleaned.dataset.records] == ["test", *["train"] * 7]
    assert len(cleaned.changes) == 7


def test_a_dataset_of_which_nothing_is_left_is_refused():
    everything = tuple(f"p{n}" for n in range(8))
    with pytest.raises(TooFew, match="none of the 8 cases is left"):
        clean(dataset(), [problem("blank", everything, leave_out=everything)])
