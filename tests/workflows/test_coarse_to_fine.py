"""Coarse-to-fine from training to findings."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

import osler
from osler.inference.predictor import Predictor
from osler.progress import CancelToken, Silent
from osler.studies.formats import read_image
from osler.workflows.coarse_facts import coarse_facts
from osler.workflows.train import TrainResult, train

SMALL = {
    "patch": [16, 16, 16],
    "grid.spacing": [3.0, 3.0, 3.0],
    "batch": 4,
    "network.features": [8, 16],
    "network.strides": [[1, 1, 1], [2, 2, 2]],
    "network.blocks": [1, 1],
    "augmentation.probability": 0.0,
    "optimiser.learning_rate": 0.01,
    "precision": "float32",
    "channels_last": False,
}
COARSE = {
    "grid": {"resize": "spacing", "spacing": [6.0, 6.0, 6.0], "orientation": "RAS", "spacing_known": True},
    "patch": [16, 16, 16],
    "batch": 4,
    "network": {"family": "unet", "features": [8, 16], "strides": [[1, 1, 1], [2, 2, 2]], "blocks": [1, 1]},
    "steps": 250,
}


def _write(folder: Path, count: int) -> Path:
    """Noise with one bright ball each, as NIfTI."""
    random = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    index = np.indices((64, 56, 48), np.float32)
    for n in range(count):
        centre = random.uniform(8, 40, 3).astype(np.float32)
        ball = ((index - centre[:, None, None, None]) ** 2).sum(axis=0) < 20
        image = random.normal(100, 10, ball.shape).astype(np.float32) + 120 * ball
        for part, array in (("images", image.astype(np.int16)), ("masks", ball.astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([3.0, 3.0, 3.0, 1.0])), folder / part / f"s{n:03}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("balls") / "data", 72)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("few") / "data", 14)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    place = tmp_path_factory.mktemp("model") / "m"
    return train(data, output=place, steps=200, device="cpu", threads=1, overrides={**SMALL, "coarse": COARSE})


@pytest.mark.slow
def test_the_model_folder_holds_the_coarse_network_and_what_it_loses(trained: TrainResult) -> None:
    model = trained.model
    assert model is not None
    assert model.verify().faults == ()
    entry = model.info.coarse
    assert entry is not None
    assert all(lost.voxels_lost == 0 for lost in entry.validation.values())
    (lost,) = entry.test.values()
    assert lost.lesions == lost.cases == model.info.data.test
    assert lost.voxel_interval is not None
    assert model.coarse() is not None


@pytest.mark.slow
def test_the_evaluation_page_and_the_card_say_what_it_loses(trained: TrainResult) -> None:
    assert trained.model is not None
    for text in (
        (trained.run_folder / "evaluation" / "index.html").read_text(),
        (trained.model.path / "card.md").read_text(),
    ):
        assert "low-resolution network says where to look" in text
        assert "connected parts wholly" in text
    assert coarse_facts(trained.model.info)


@pytest.mark.slow
def test_prediction_looks_at_fewer_windows_and_finds_the_same(trained: TrainResult, data: Path, tmp_path: Path) -> None:
    assert trained.model is not None
    image = read_image(sorted((data / "images").iterdir())[0])
    with Predictor(trained.model) as some, Predictor(trained.model, every_window=True) as every:
        found, all_found = some.label([image])[1], every.label([image])[1]
    assert found.windows is not None
    assert 0 < found.windows.run < found.windows.total
    assert found.mask.any()
    kept = found.mask > 0
    np.testing.assert_array_equal(found.mask[kept], all_found.mask[kept])


@pytest.mark.slow
def test_findings_say_how_many_windows_were_looked_at(trained: TrainResult, data: Path, tmp_path: Path) -> None:
    assert trained.model is not None
    study = sorted((data / "images").iterdir())[0]
    osler.predict(trained.model.path, study, output=tmp_path / "some")
    osler.predict(trained.model.path, study, output=tmp_path / "every", every_window=True)
    notes = {
        name: json.loads(next((tmp_path / name).rglob("findings.json")).read_text())["notes"]
        for name in ("some", "every")
    }
    assert any("windows" in note for note in notes["some"])
    assert not any("windows" in note for note in notes["every"])


def test_a_coarse_network_that_cannot_be_measured_is_left_out_and_that_is_said(few: Path, tmp_path: Path) -> None:
    brief = {**COARSE, "steps": 1}
    result = train(few, output=tmp_path / "m", steps=2, device="cpu", threads=1, overrides={**SMALL, "coarse": brief})
    assert result.model is not None
    assert result.model.info.coarse is None
    assert result.model.info.lineage["coarse"].startswith("left out")
    assert not (result.model.path / "coarse").exists()
    assert result.model.verify().faults == ()


class StopInCoarse(Silent):
    """Asks for a stop once the coarse network is being trained."""

    def __init__(self, cancel: CancelToken) -> None:
        self.cancel = cancel

    def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
        if "coarse" in stage:
            self.cancel.cancel()


def test_a_stop_while_the_coarse_network_is_trained_leaves_a_whole_model(few: Path, tmp_path: Path) -> None:
    cancel = CancelToken()
    overrides = {**SMALL, "coarse": COARSE}
    result = train(
        few,
        output=tmp_path / "m",
        steps=2,
        device="cpu",
        threads=1,
        overrides=overrides,
        cancel=cancel,
        progress=StopInCoarse(cancel),
    )
    assert result.stopped_early
    assert result.model is not None
    assert result.model.verify().faults == ()


@pytest.mark.slow
def test_the_run_folder_keeps_the_curves_of_the_coarse_network_and_no_checkpoint(trained: TrainResult) -> None:
    assert (trained.run_folder / "coarse" / "curves.png").is_file()
    assert list(trained.run_folder.rglob("*.pt")) == []
