"""Trees as a PACS exports them: folders that are patients are no classes, and what a header cannot say costs only it."""

from __future__ import annotations

import pytest

from dicom_label_samples import write_series
from osler.datasets.layouts import open_dataset
from osler.errors import NoLabels
from osler.workflows.inspect import inspect


def pacs(root, patients=3, studies=2):
    for p in range(patients):
        for s in range(studies):
            write_series(root / f"PAT{p}/STUDY{s}/SER1", patient=f"PAT{p}", study=f"1.2.{p}.{s}")
    return root


def test_a_folder_per_patient_is_no_class_and_names_nobody(tmp_path):
    found = inspect(pacs(tmp_path / "d"))
    assert (found.layout, found.cases, found.patients, found.plan) == ("studies without answers", 6, 3, None)
    assert not any("PAT" in study.name for study in found.studies)
    with pytest.raises(NoLabels, match="the DICOM studies of one patient, so that the folders are no classes"):
        open_dataset(tmp_path / "d")


def test_a_folder_per_examination_is_no_class_either(tmp_path):
    for n in range(4):
        write_series(tmp_path / f"d/STUDY{n}/SER1", patient="A" if n < 2 else "B", study=f"1.2.{n}")
    assert inspect(tmp_path / "d").layout == "studies without answers"


def test_classes_of_several_patients_stay_classes(tmp_path):
    for place in ("ill/ill0", "ill/ill1", "well/well0", "well/well1"):
        patient = place.split("/")[1]
        write_series(tmp_path / "d" / place / "SER1", patient=patient, study=f"1.2.{len(place)}.{place[-1]}")
    dataset = open_dataset(tmp_path / "d")
    assert (dataset.manifest.layout, dataset.labels.names) == ("class-folders", ("ill", "well"))
    assert not any("ill0" in record.name for record in dataset)
