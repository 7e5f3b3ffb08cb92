"""Trees as a PACS exports them: folders of patients are no classes, and what a header cannot say costs only it."""

from __future__ import annotations

from collections import Counter

import pydicom
import pytest

from dicom_label_samples import write_series
from osler.datasets.layouts import open_dataset, write_manifest
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


def classes(root):
    for n in range(8):
        write_series(root / f"{'ab'[n % 2]}/s{n}", patient=f"P{n // 4}-{n % 2}", study=f"1.2.{n}")
    return root


def blank(folder, **values):
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        for keyword, value in values.items():
            setattr(data, keyword, value)
        data.save_as(file)


def problems_of(path, code):
    return [problem for problem in inspect(path).problems if problem.code == code]


def test_a_file_that_cannot_be_read_costs_no_other_its_patient(tmp_path):
    root = classes(tmp_path / "d")
    (root / "a/note.dcm").write_text("text")
    dataset = open_dataset(root)
    assert len({record.patient for record in dataset}) == 5
    assert Counter(r.patient is None for r in dataset) == {False: 8, True: 1}
    (found,) = problems_of(root, "patients-some")
    assert found.cases == ("note",)
    write_manifest(dataset, tmp_path / "m.csv")
    assert [r.patient for r in open_dataset(tmp_path / "m.csv")] == [r.patient for r in dataset]


def test_a_series_that_is_refused_still_says_whose_it_is(tmp_path):
    root = classes(tmp_path / "d")
    write_series(root / "a/skewed", patient="P0-0", study="1.2.99", orientation=(1, 0, 0, 0.2, 1, 0))
    dataset = open_dataset(root)
    assert {record.patient for record in dataset if "skewed" in record.name} == {dataset.records[0].patient}
    assert not problems_of(root, "patients-some")


@pytest.mark.parametrize("name", ["", "A^B"])
def test_an_image_without_a_patient_id_among_others_is_told(tmp_path, name):
    root = classes(tmp_path / "d")
    blank(root / "b/s1", PatientID="", PatientName=name)
    (found,) = problems_of(root, "patients-some")
    assert (found.severity, found.cases) == ("warning", ("s1",))
    assert "can fall on another side of a split" in found.what
    assert ("PatientName" in found.details["s1"]) == bool(name)


def test_two_patients_under_one_series_uid_in_one_folder_are_two_cases_and_a_warning(tmp_path):
    root = classes(tmp_path / "d")
    write_series(tmp_path / "x", patient="other", study="1.2.7")
    uid = pydicom.dcmread(next((root / "a/s0").iterdir())).SeriesInstanceUID
    blank(tmp_path / "x", SeriesInstanceUID=uid)
    for file in (tmp_path / "x").iterdir():
        file.rename(root / f"a/s0/other-{file.name}")
    (found,) = problems_of(root, "patients-share")
    assert len(found.cases) == 2
    assert all(name.startswith("s0-") for name in found.cases)
    assert "SeriesInstanceUID" in found.what


def test_two_folders_are_classes_unless_they_are_called_by_the_patients(tmp_path):
    for name, patient in (("ill", "A"), ("well", "B")):
        write_series(tmp_path / f"classes/{name}/s", patient=patient, study=f"1.2.{ord(patient)}")
    assert open_dataset(tmp_path / "classes").manifest.layout == "class-folders"
    assert inspect(pacs(tmp_path / "pacs", patients=2)).layout == "studies without answers"
