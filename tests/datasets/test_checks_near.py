"""Copies of an image are told from images that merely look alike, in sets of few and of many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from osler.datasets.checks.appearance import check as check_appearance
from osler.datasets.checks.copies import check, find_duplicates, near_duplicates
from osler.datasets.checks.evidence import Evidence
from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts, look
from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts import open_dataset
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.studies.formats import write_image
from osler.studies.image import Image
from osler.studies.phantoms.catalogue import write
from osler.studies.phantoms.chest_ct import make

CLASSES = LabelSet(kind="classes", labels=(Label(name="one", value=0), Label(name="other", value=1)))


def evidence_of(dataset: Dataset) -> Evidence:
    facts: list[CaseFacts] = [
        look(dataset, record, intensities=False, digest=True, inspecting=True) for record in dataset.records
    ]
    return Evidence(dataset, facts)


@pytest.mark.parametrize("count", [6, 26])
def test_phantoms_of_different_patients_are_no_copies_and_a_noisy_copy_is(tmp_path: Path, count: int) -> None:
    records = []
    for n in range(count):
        image = make(n, size=(40, 40, 20)).image
        records.append(save(image, tmp_path, f"v{n:02}"))
        if n == 3:
            noise = np.random.default_rng(0).normal(0, 20, image.array.shape)
            copy = replace(image, array=(1.1 * image.array + noise).astype(image.array.dtype))
            records.append(save(copy, tmp_path, "copy"))
    manifest = Manifest(
        name="ct", root=tmp_path, layout="test", labels=CLASSES, records=tuple(records), patients="given"
    )
    found = near_duplicates(evidence_of(Dataset(manifest)))
    assert [group.cases for group in found] == [("v03", "copy")]


def save(image: Image, folder: Path, name: str) -> Record:
    write_image(image, folder / f"{name}.nii.gz")
    return Record(name=name, images={"image": ImageRef(path=f"{name}.nii.gz")}, patient=name, target=0)


@pytest.mark.slow
def test_drawn_radiographs_of_different_patients_are_no_copies(tmp_path: Path) -> None:
    write("chest-xray", tmp_path / "xray", cases=24, seed=1)
    assert near_duplicates(evidence_of(open_dataset(tmp_path / "xray"))) == ()


def test_the_published_duplicates_of_the_radiographs_are_found(shared: Path) -> None:
    """18 inside training, 8 between training and validation, 3 inside test (see the data's README)."""
    dataset = open_dataset(shared / "pneumoniamnist")
    facts = [look(dataset, record, intensities=False, digest=True) for record in dataset.records]
    split = {record.name: record.split for record in dataset.records}
    inside = dict.fromkeys(("train", "validation", "test"), 0)
    groups = find_duplicates(dataset, facts)
    for group in groups:
        for side in group.splits:
            inside[side] += sum(split[name] == side for name in group.cases) - 1
    assert inside == {"train": 18, "validation": 0, "test": 3}
    assert [group.splits for group in groups if group.across] == [("train", "validation")] * 8


@pytest.fixture(scope="module")
def ultrasound(shared: Path) -> Evidence:
    """The first 120 benign images with their near-duplicates among the later ones, and the malignant ones of those."""
    dataset = open_dataset(shared / "breast-ultrasound", patient="none")
    wanted = {f"benign_{n}" for n in (*range(1, 61), 85, 131, 164, 188, 228, 279, 333, *range(318, 340), 406)}
    wanted |= {f"malignant_{n}" for n in (51, 52, 77, 94)} | {f"normal_{n}" for n in range(1, 30)}
    return evidence_of(dataset.with_records(tuple(r for r in dataset.records if r.name in wanted)))


def test_known_near_duplicates_of_the_ultrasound_are_found(ultrasound: Evidence) -> None:
    problems = {problem.code: problem for problem in check(ultrasound)}
    contradicting = {frozenset(group) for group in problems["near-answers"].groups}
    assert {
        frozenset({"benign_42", "benign_131", "malignant_51"}),
        frozenset({"benign_85", "benign_164", "malignant_52"}),
        frozenset({"benign_333", "malignant_77"}),
        frozenset({"benign_406", "malignant_94"}),
    } <= contradicting
    pairs = {frozenset(group) for group in problems["near-within"].groups}
    assert {frozenset({f"benign_{n}", f"benign_{n + 317}"}) for n in (1, 3, 4, 5, 6, 7, 8, 9)} <= pairs
    assert "given split" not in problems["near-within"].what


def test_text_and_marks_of_the_ultrasound_are_found(ultrasound: Evidence) -> None:
    from osler.datasets.checks.burned_in import check as check_text

    problems = {problem.code: problem for problem in check_text(ultrasound)}
    assert {"benign_1", "benign_2", "benign_3", "benign_4", "benign_228", "benign_279"} <= set(problems["text"].cases)
    assert {"benign_6", "benign_323"} <= set(problems["marks"].cases)


def test_a_large_cyst_is_not_said_to_be_upside_down(ultrasound: Evidence) -> None:
    """benign_188: dark above, and bright below, where the cyst lets sound through."""
    assert "benign_188" in ultrasound.seen
    assert [problem for problem in check_appearance(ultrasound) if problem.code in ("turned", "inverted")] == []


def test_a_turned_volume_is_a_warning_for_a_person_and_is_not_left_out(shared: Path) -> None:
    dataset = open_dataset(shared / "hippocampus")
    found = evidence_of(dataset.with_records(dataset.records[:40]))
    facts = list(found.facts)
    seen = facts[5].observation
    assert seen is not None
    facts[5] = replace(facts[5], observation=replace(seen, view=seen.view[:, :, ::-1]))
    (turned,) = [problem for problem in check_appearance(Evidence(found.dataset, facts)) if problem.code == "turned"]
    assert (turned.severity, turned.cases, turned.leave_out) == ("warning", (facts[5].name,), ())
    assert turned.details[facts[5].name] == "looks upside down"
