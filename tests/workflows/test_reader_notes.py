"""What a reader changed or doubts reaches the user: on the page and in JSON of an inspection, in findings."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_label_samples import write_series
from osler.studies.notes import grouped_notes
from osler.workflows.evaluate import evaluate
from osler.workflows.inspect import inspect
from osler.workflows.predict import predict
from tiny_models import make_model, make_plan, thresholds


def tilted(folder: Path, millimetres: float, patient: str) -> Path:
    """A CT whose slices, 2 mm apart, are shifted by so much each along y: the gantry was tilted."""
    write_series(folder, patient=patient, study=f"1.2.{len(patient)}")
    for file in folder.iterdir():
        data = pydicom.dcmread(file)
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, y + (z - 100) / 2 * millimetres, z]
        data.save_as(file)
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    root = tmp_path_factory.mktemp("tilted") / "d"
    for n, way in enumerate((0.3, 0.4, 0.0, 0.0)):
        tilted(root / f"{'ab'[n % 2]}/p{n}", way, f"patient {n}")
    return root


def test_an_inspection_says_it_in_the_summary_on_the_page_and_in_json(classes, tmp_path):
    found = inspect(classes, output=tmp_path / "out")
    note = next(p for p in found.problems if p.code == "reader-note")
    assert note.what == "2 cases: the gantry was tilted by …°: the affine is sheared accordingly"
    assert sorted(note.cases) == ["p0", "p1"]
    assert "8.5°" in note.details["p0"]  # atan(0.3 / 2)
    assert any("gantry was tilted" in line for line in found.summary())
    rows = {row["name"]: row["notes"] for row in json.loads((tmp_path / "out/inspect.json").read_text())["studies"]}
    assert rows["p0"] == [note.details["p0"]]
    assert rows["p2"] == []
    assert "the gantry was tilted by 11.3°" in (tmp_path / "out/index.html").read_text()


def test_a_prediction_says_it_in_findings_table_and_summary(classes, tmp_path):
    model = make_model(tmp_path / "m", make_plan(names=("one", "two"), modality="CT"), *thresholds(1.0, 2.0))
    done = predict(model, [classes / "a/p0", classes / "b/p1"], output=tmp_path / "out")
    assert not done.failed
    assert (
        "the gantry was tilted by 8.5°: the affine is sheared accordingly"
        in (json.loads((tmp_path / "out/p0/findings.json").read_text())["notes"])
    )
    assert any(line.startswith("note on p0, p1: the gantry was tilted by …°") for line in done.summary())
    assert done.record()["notes"]["the gantry was tilted by …°: the affine is sheared accordingly"] == ["p0", "p1"]
    rows = {row["study"]: row for row in csv.DictReader((tmp_path / "out/summary.csv").open())}
    assert "tilted by 11.3°" in rows["p1"]["note"]


def test_an_evaluation_says_of_how_many_cases(classes, tmp_path):
    plan = make_plan("classify", names=("a", "b"), modality="CT", patch=(8, 8, 8))
    model = make_model(tmp_path / "m", plan, np.array([[-1.0], [1.0]]), np.zeros(2))
    result = evaluate(model, classes, output=tmp_path / "out")
    assert "In 2 of 4 cases the gantry was tilted by …°: the affine is sheared accordingly." in result.evaluation.notes
    assert "In 2 of 4 cases the gantry was tilted" in (tmp_path / "out/index.html").read_text()


def test_notes_that_differ_in_numbers_are_one():
    found = grouped_notes({"a": ("tilted by 3.5°", "2 left out"), "b": ("tilted by 4°",), "c": ("2 left out",)})
    assert found == {
        "tilted by …°": {"a": "tilted by 3.5°", "b": "tilted by 4°"},
        "2 left out": {"a": "2 left out", "c": "2 left out"},
    }
