"""What a new user is told of real data that is no plain data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from osler.errors import DatasetError
from osler.workflows.inspect import Inspection, inspect
from osler.workflows.train import train


def told(found: Inspection) -> str:
    return "\n".join(problem.what for problem in found.problems)


@pytest.fixture(scope="module")
def some_blood(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("blood") / "cells"
    for folder, suffix in (("images", ".jpg"), ("annotations", ".xml")):
        (root / folder).mkdir(parents=True)
        for file in sorted((shared / "blood-cells" / folder).glob(f"*{suffix}"))[:4]:
            shutil.copy(file, root / folder / file.name)
    return root


def test_boxes_are_inspected_as_which_objects_an_image_shows(some_blood):
    found = inspect(some_blood)
    assert (found.layout, found.kind, found.cases) == ("voc", "several", 4)
    assert found.classes["unassigned"]["RBC"] == 4
    warning = next(problem for problem in found.problems if "boxes are no masks" in problem.what)
    assert (warning.severity, "--task multilabel" in warning.remedy) == ("warning", True)


def test_a_dicom_study_without_labels_is_its_series_of_one_patient(shared):
    found = inspect(shared / "brain-mr-dicom")
    assert (found.cases, found.patients, found.kind) == (2, 1, "")
    assert "all images lie in one folder, 'Study1', and one class is nothing to tell apart" in told(found)
    assert "1 patient\n" in "\n".join(found.summary())


def test_segmentations_that_fit_two_slides_do_not_hide_those_of_the_ct(shared):
    found = inspect(shared / "dicom-seg-sr")
    assert (found.layout, found.cases, found.classes["unassigned"]) == ("dicom-tree", 1, {"first segment": 1})
    assert "6 files of labels fit several images each and are left out" in told(found)


def test_dicom_objects_that_are_no_images_are_counted_and_slides_in_tiles_named(shared, tmp_path):
    for file in (shared / "dicom-seg-sr").iterdir():
        if "seg_image_ct" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    found = inspect(tmp_path)
    assert found.cases == 10
    assert "10 DICOM objects are no images and are not looked at: 5 × Segmentation Storage" in told(found)
    assert "seg_image_sm_control.dcm refers to 2 images of the tree" in told(found)
    unsuitable = next(problem for problem in found.problems if problem.code == "unsuitable")
    assert len(unsuitable.cases) == 8
    assert all("is a whole slide in" in text for text in unsuitable.details.values())


def test_a_mask_that_nothing_names_is_seen(shared):
    found = inspect(shared / "ct-organs")
    problem = next(problem for problem in found.problems if "looks like the mask" in problem.what)
    assert problem.details == {"organs": "with 30 of the 112 voxels along one axis of ct"}
    assert "x and x_mask" in problem.remedy


def test_real_nrrd_pairs_are_inspected_with_their_masks(shared):
    found = inspect(shared / "radiomics-reference")
    assert (found.cases, found.kind) == (4, "mask")
    assert "2 masks have no image beside them" in told(found)


def test_tables_are_inspected_and_refused_for_training_with_what_they_are(shared, tmp_path):
    assert inspect(shared / "heart-disease").cases == 1190
    with pytest.raises(DatasetError, match=r"clinical values .* of 920 patients at 4 hospitals"):
        train(shared / "heart-disease", output=tmp_path / "model")


def test_signals_beside_unlabelled_images_are_noted(shared, tmp_path):
    shutil.copy(shared / "ct-organs/ct.nii.gz", tmp_path / "ct.nii.gz")
    for suffix in (".hea", ".dat"):
        shutil.copy(shared / f"ecg-mitbih/100{suffix}", tmp_path / f"100{suffix}")
    found = inspect(tmp_path)
    assert found.cases == 1
    assert "signals beside the images are not looked at (1)" in told(found)
