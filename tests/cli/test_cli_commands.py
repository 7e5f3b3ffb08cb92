"""The commands on real files: what they print, write, and exit with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from osler.cli import main
from tiny_models import make_model, make_plan, thresholds


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that takes whatever is brighter than 50 for "dark" and brighter than 150 for "bright"."""
    folder = tmp_path / "model"
    folder.mkdir()
    make_model(folder, make_plan(), *thresholds(0.5, 1.5))
    return folder


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A decathlon folder of four studies that the model answers rightly."""
    root = tmp_path / "data"
    names = [f"case_{number}" for number in range(4)]
    for part in ("imagesTr", "labelsTr"):
        (root / part).mkdir(parents=True)
    for number, name in enumerate(names):
        mask = np.zeros((16, 16, 16), np.uint8)
        mask[4 : 8 + number, 4:8, 4:8] = 1
        mask[10:14, 10:14, 10:14] = 2
        for part, array in (("imagesTr", mask.astype(np.float32) * 100), ("labelsTr", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), root / part / f"{name}.nii.gz")
    pairs = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names]
    labels = {"0": "background", "1": "dark", "2": "bright"}
    (root / "dataset.json").write_text(
        json.dumps({"name": "small", "modality": {"0": "MRI"}, "labels": labels, "training": pairs})
    )
    return root


def _told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    record: dict[str, Any] = json.loads(lines[0])
    return record


def test_predict_writes_results_and_exits_with_0(
    model: Path, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = studies / "imagesTr" / "case_0.nii.gz"
    assert main(["predict", str(model), str(scan), "--output", str(tmp_path / "out"), "--json"]) == 0
    assert _told(capsys)["ok"] is True
    assert {path.name for path in (tmp_path / "out" / "case_0").iterdir()} == {
        "findings.json",
        "mask.nii.gz",
        "overlay.png",
    }
    predicted = nibabel.load(tmp_path / "out" / "case_0" / "mask.nii.gz").get_fdata()
    np.testing.assert_array_equal(predicted, nibabel.load(studies / "labelsTr" / "case_0.nii.gz").get_fdata())


def test_predict_tells_a_bad_study_goes_on_and_exits_with_1(
    model: Path, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no NIfTI")
    scan = studies / "imagesTr" / "case_0.nii.gz"
    assert main(["predict", str(model), str(bad), str(scan), "--output", str(tmp_path / "out"), "--json"]) == 1
    record = _told(capsys)
    assert record["ok"] is False
    assert list(record["failed"]) == ["bad"]
    assert (tmp_path / "out" / "case_0" / "findings.json").is_file()


def test_predict_overwrites_nothing_without_force(
    model: Path, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(model), str(studies / "imagesTr" / "case_0.nii.gz"), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    capsys.readouterr()
    assert main([*command, "--json"]) == 2
    assert _told(capsys)["kind"] == "OutputExists"
    assert main([*command, "--force"]) == 0


def test_evaluate_writes_the_page_and_tells_the_figures(
    model: Path, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(model), str(studies), "--output", str(tmp_path / "out"), "--json"]) == 0
    assert _told(capsys)["metrics"]["dice"]["value"] == 1.0
    assert {"metrics.json", "index.html"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_inspect_tells_what_is_there(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(studies)]) == 0
    assert "small: 4 cases, layout decathlon" in capsys.readouterr().out


def test_inspect_of_studies_that_cannot_be_used_exits_with_1(studies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (studies / "imagesTr" / "case_1.nii.gz").write_bytes(b"no NIfTI")
    assert main(["inspect", str(studies), "--json"]) == 1
    assert _told(capsys)["ok"] is False


def test_verify_tells_a_whole_model_from_a_changed_one(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(model)]) == 0
    assert "Not a medical device" in capsys.readouterr().out
    (model / "weights" / "member0.safetensors").write_bytes(b"changed")
    assert main(["verify", str(model), "--json"]) == 1
    assert _told(capsys)["faults"] == ["weights/member0.safetensors was changed"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "nowhere"],
        ["train", "nowhere", "--output", "out"],
        ["evaluate", "nowhere", "nowhere", "--output", "out"],
        ["predict", "nowhere", "nowhere", "--output", "out"],
        ["verify", "nowhere"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_path_that_does_not_exist_is_told_and_nothing_is_written(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--json"]) == 2
    assert _told(capsys)["kind"] == "PathNotFound"
    assert not list(tmp_path.iterdir())


def test_a_budget_that_is_no_duration_is_told(
    studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(studies), "--output", str(tmp_path / "m"), "--budget", "soon", "--json"]) == 2
    assert "'soon' is not a duration" in _told(capsys)["error"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--budget", "0"], "'0' is not a duration"),
        (["--budget", "0m"], "'0m' is not a duration above zero"),
        (["--budget", ""], "'' is not a duration"),
        (["--steps", "0"], "0 steps train nothing"),
        (["--steps", "-3"], "-3 steps train nothing"),
        (["--folds", "0"], "0 folds are not possible"),
        (["--folds", "50", "--steps", "2"], "50 folds were asked for and there"),
    ],
)
def test_a_number_that_makes_no_sense_is_one_sentence_and_leaves_nothing(
    options: list[str], told: str, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(studies), "--output", str(tmp_path / "m"), "--json", *options]) == 2
    record = _told(capsys)
    assert told in record["error"]
    assert record["remedy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_an_engine_that_does_not_exist_is_told_with_those_that_do(
    model: Path, studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = studies / "imagesTr" / "case_0.nii.gz"
    command = ["predict", str(model), str(scan), "--output", str(tmp_path / "out"), "--engine", "steam", "--json"]
    assert main(command) == 2
    assert "openvino" in _told(capsys)["remedy"]
    command = ["evaluate", str(model), str(studies), "--output", str(tmp_path / "out"), "--engine", "steam", "--json"]
    assert main(command) == 2
    assert "no engine is called 'steam'" in _told(capsys)["error"]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("command", ["inspect", "train", "evaluate", "predict", "demo"])
def test_a_place_that_cannot_be_written_is_one_sentence_and_exits_with_2(
    command: str, model: Path, studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"inspect": [studies], "train": [studies], "evaluate": [model, studies], "predict": [model, studies]}
    arguments = [command, *map(str, given.get(command, [])), "-o", "/proc/x/y", "--json"]
    assert main(arguments) == 2
    record = _told(capsys)
    assert record["kind"] == "NotWritable"
    assert record["error"].startswith("cannot write /proc/x")
    assert "no file or folder can be made there" in record["error"]
