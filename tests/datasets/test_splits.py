"""Splits: nothing that belongs together is parted, and every class is everywhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.datasets.dataset import Dataset
from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts import open_dataset
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.splits import assign_splits, describe_splits, folds
from osler.datasets.together import kept_together
from osler.errors import DatasetError, TooFew, UsageError


def dataset_of(
    patients: list[str], targets: list, kind: str = "classes", splits: list | None = None, root: Path = Path("/")
) -> Dataset:
    values = sorted({t for t in targets if isinstance(t, int)})
    count = len(targets[0]) if isinstance(targets[0], tuple) else max(values, default=0) + 1
    labels = () if kind == "number" else tuple(Label(name=f"class {n}", value=n) for n in range(count))
    records = tuple(
        Record(name=f"case-{i}", images={"image": ImageRef(path=f"{i}.png")}, target=t, patient=p, split=s)
        for i, (p, t, s) in enumerate(zip(patients, targets, splits or [None] * len(targets), strict=True))
    )
    known = "unknown" if patients[0] is None else "given"
    labelled = LabelSet(kind=kind, labels=labels)
    return Dataset(Manifest(name="x", root=root, layout="csv", labels=labelled, records=records, patients=known))


def pictures(root: Path, arrays: list[np.ndarray], targets: list[int], splits: list | None = None) -> Dataset:
    for i, array in enumerate(arrays):
        PIL.Image.fromarray(array.astype(np.uint8)).save(root / f"{i}.png")
    return dataset_of([None] * len(arrays), targets, splits=splits, root=root)


def smooth(seed: int, size: int = 64) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), size / 20)
    return 120 + noise / noise.std() * 35


def where(dataset: Dataset) -> dict[str, str]:
    return {r.name: r.split for r in dataset}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=120), st.integers(0, 3))
def test_no_patient_is_ever_on_two_sides(cases, seed):
    whole = [(f"base{n}", n % 3) for n in range(30)] + [(f"p{p}", c) for p, c in cases]
    dataset = assign_splits(dataset_of([p for p, _ in whole], [c for _, c in whole]), seed=seed)
    report = describe_splits(dataset)
    assert report.leaks == ()
    assert report.by == "patient"
    assert sum(report.counts.values()) == len(dataset)
    assert all(count > 0 for classes in report.classes.values() for count in classes.values())


def test_the_split_is_the_same_whatever_the_order_and_differs_by_seed():
    patients, targets = [f"p{n // 2}" for n in range(80)], [n // 2 % 2 for n in range(80)]
    dataset = dataset_of(patients, targets)
    once = assign_splits(dataset, seed=1)
    reversed_order = assign_splits(dataset.with_records(dataset.records[::-1]), seed=1)
    assert where(once) == where(reversed_order)
    assert where(once) != where(assign_splits(dataset, seed=2))


def test_fractions_are_kept_and_classes_balanced():
    dataset = dataset_of([f"p{n}" for n in range(200)], [0] * 150 + [1] * 50)
    report = describe_splits(assign_splits(dataset, seed=0))
    assert report.counts == {"train": 132, "validation": 18, "test": 50}
    assert report.classes["test"] == {"class 0": 38, "class 1": 12} or report.classes["test"]["class 1"] in (12, 13)


def test_three_patients_per_class_are_enough_and_fewer_are_refused_by_name():
    small = dataset_of([f"p{n}" for n in range(6)], [0, 0, 0, 1, 1, 1])
    report = describe_splits(assign_splits(small, seed=0))
    assert all(count == 1 for classes in report.classes.values() for count in classes.values())
    one = dataset_of([f"p{n}" for n in range(5)] + ["p5", "p5"], [0] * 5 + [1, 1])
    with pytest.raises(TooFew, match="class 'class 1' has one patient"):
        assign_splits(one, seed=0)
    with pytest.raises(TooFew, match="are only 2 patients"):
        assign_splits(dataset_of(["a", "b"], [1.0, 2.0], "number"), seed=0)


def test_given_splits_are_honoured_and_missing_ones_come_from_training():
    given_splits = ["train"] * 40 + ["test"] * 10
    dataset = dataset_of([f"p{n}" for n in range(50)], [n % 2 for n in range(50)], splits=given_splits)
    result = assign_splits(dataset, seed=0)
    assert [r.split for r in result][40:] == ["test"] * 10
    report = describe_splits(result)
    assert report.counts == {"train": 35, "validation": 5, "test": 10}
    assert report.by == "given"
    assert report.summary() == (
        "split as it came with the data, validation dealt out of training: 35 train, 5 validation, 10 test"
    )
    whole = assign_splits(result, seed=5)
    assert whole.records == result.records
    assert describe_splits(whole) == report
    assert describe_splits(folds(dataset, 3, seed=0)[0]).by == "patient"  # which do not look at given splits


def test_given_splits_without_training_cases_are_refused():
    dataset = dataset_of(["a", "b", "c"], [0, 1, 0], splits=["test", "test", "test"])
    with pytest.raises(DatasetError, match="no case is for training"):
        assign_splits(dataset, seed=0)


def test_a_patient_in_two_given_splits_is_reported_and_not_moved():
    dataset = dataset_of(["a", "a", "b", "c"], [0, 1, 0, 1], splits=["train", "test", "validation", "train"])
    report = describe_splits(assign_splits(dataset, seed=0))
    assert report.leaks == (("case-0", "case-1"),)
    assert "1 patients on more than one side" in report.warnings[0]


def test_numbers_are_stratified_by_their_size():
    numbers = [float(n) for n in np.random.default_rng(0).permutation(100)]
    result = assign_splits(dataset_of([f"p{n}" for n in range(100)], numbers, "number"), seed=0)
    tests = sorted(r.target for r in result if r.split == "test")
    assert len(tests) == 25
    assert np.histogram(tests, 5, (0, 100))[0].tolist() == [5, 5, 5, 5, 5]


def test_rare_ones_of_several_labels_reach_every_split():
    targets = [(1, int(n % 25 == 0), int(n % 3 == 0)) for n in range(100)]
    result = assign_splits(dataset_of([f"p{n}" for n in range(100)], targets, "several"), seed=0)
    for split in ("train", "validation", "test"):
        assert sum(r.target[1] for r in result if r.split == split) >= 1


@pytest.mark.parametrize("k", [2, 5])
def test_every_patient_is_tested_in_exactly_one_fold(k):
    dataset = dataset_of([f"p{n // 3}" for n in range(90)], [n // 3 % 2 for n in range(90)])
    parts = folds(dataset, k, seed=0)
    tested = Counter(r.patient for part in parts for r in part if r.split == "test")
    assert set(tested.values()) == {3}
    assert len(tested) == 30
    for part in parts:
        report = describe_splits(part)
        assert report.leaks == ()
        assert set(report.counts) == {"train", "validation", "test"}
        assert all(count > 0 for classes in report.classes.values() for count in classes.values())


def test_folds_need_enough_patients_per_class():
    dataset = dataset_of([f"p{n}" for n in range(12)], [0] * 8 + [1] * 4)
    with pytest.raises(
        TooFew, match=r"5 folds were asked for and the class 'class 1' has 4 patients.*4 folds are the most"
    ):
        folds(dataset, 5, seed=0)
    assert len(folds(dataset, 4, seed=0)) == 4
    few = dataset_of(["a", "b"], [1.0, 2.0], "number")
    with pytest.raises(TooFew, match=r"there are only 2 patients.*at least 3 patients"):
        folds(few, 2, seed=0)
    with pytest.raises(UsageError, match="1 folds were asked for"):
        folds(dataset, 1, seed=0)
    with pytest.raises(UsageError, match=r"test fraction is 1.5"):
        assign_splits(dataset, seed=0, test=1.5)


def test_near_duplicates_stay_together_when_patients_are_unknown(tmp_path):
    arrays = [smooth(n) for n in range(24)]
    marked = smooth(3).copy()
    marked[10, 10:40] = 255  # as a caliper
    brighter = np.clip(smooth(4) * 1.2 + 10, 0, 255)
    larger = np.asarray(PIL.Image.fromarray(smooth(5).astype(np.uint8)).resize((90, 80)))
    dataset = pictures(tmp_path, [*arrays, marked, brighter, larger], [n % 2 for n in range(24)] + [1, 0, 1])
    for seed in range(5):
        result = [r.split for r in assign_splits(dataset, seed=seed)]
        assert (result[3], result[4], result[5]) == (result[24], result[25], result[26])
    report = describe_splits(assign_splits(dataset, seed=0))
    assert report.summary().startswith("split by image: ")
    assert sum(report.groups.values()) == 24
    assert report.by == "image"
    assert "patients are not known" in report.warnings[0]


def test_near_duplicates_with_different_labels_and_across_given_splits_are_reported(tmp_path):
    arrays = [smooth(n) for n in range(6)] + [smooth(0) + 3]
    splits = ["train"] * 4 + ["validation", "test", "test"]
    report = describe_splits(pictures(tmp_path, arrays, [0, 1, 0, 1, 0, 1, 1], splits))
    assert report.leaks == (("case-0", "case-6"),)
    assert report.by == "given"
    assert any("whether the split that came with the data keeps them apart" in warning for warning in report.warnings)
    assert any("carry different labels (case-0 and case-6)" in warning for warning in report.warnings)


def test_images_are_compared_once_when_what_was_found_is_handed_on(tmp_path, monkeypatch):
    dataset = pictures(tmp_path, [smooth(n) for n in range(9)], [n % 2 for n in range(9)], [None] * 7 + ["test"] * 2)
    together = kept_together(dataset)
    expected = assign_splits(dataset, seed=0)
    monkeypatch.setattr("osler.datasets.together.duplicate_groups", lambda *_, **__: pytest.fail("looked again"))
    assert where(assign_splits(dataset, seed=0, together=together)) == where(expected)
    assert describe_splits(expected, together=together).groups == {"train": 5, "validation": 2, "test": 2}
    assert len(folds(dataset, 3, seed=0, together=together)) == 3


def test_one_pair_is_found_among_ten_thousand_images():
    from osler.datasets.duplicates import CLOSE, close_pairs

    rng = np.random.default_rng(0)
    hashes = list(np.where(rng.random((10_000, 255)) < 0.5, 1, -1).astype(np.int8))
    hashes[7777] = hashes[1234]
    assert close_pairs(hashes, range(10_000), CLOSE) == [(1234, 7777, 0)]


def test_the_hippocampus_test_split_has_at_least_50_volumes(shared):
    result = assign_splits(open_dataset(shared / "hippocampus"), seed=0)
    assert describe_splits(result).counts == {"train": 136, "validation": 19, "test": 52}


def test_the_known_duplicates_of_pneumoniamnist_are_found(shared):
    dataset = assign_splits(open_dataset(shared / "pneumoniamnist"), seed=0)
    report = describe_splits(dataset)
    assert report.counts == {"train": 4708, "validation": 524, "test": 624}
    assert len(report.leaks) == 8
    assert all({name.split("-")[0] for name in leak} == {"train", "val"} for leak in report.leaks)


def test_breast_ultrasound_has_near_duplicates_and_contradictions(shared):
    report = describe_splits(assign_splits(open_dataset(shared / "breast-ultrasound"), seed=0))
    assert report.leaks == ()
    assert 480 <= sum(report.groups.values()) <= 515
    assert any("carry different labels (benign_42 and" in warning for warning in report.warnings)


def test_cardiac_folds_are_by_patient(shared):
    parts = folds(open_dataset(shared / "cardiac-mr"), 5, seed=0)
    assert [describe_splits(part).groups["test"] for part in parts] == [6, 6, 6, 6, 6]
    assert all(describe_splits(part).leaks == () for part in parts)
