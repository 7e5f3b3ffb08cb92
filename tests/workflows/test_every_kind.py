"""Every kind of answer, in 2D and 3D, from a folder to figures: a few steps, to see that the whole way holds."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

import osler
from osler.workflows.train import TrainResult, train

CASES = 24


def write_pictures(folder: Path, header: list[str], answer: object) -> Path:
    """Pictures of a disc whose radius is the answer, and a manifest."""
    random = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for n in range(CASES):
        radius = 2 + n % 8
        distance = np.hypot(*(np.indices((32, 32)) - 16))
        pixels = random.normal(60, 10, (32, 32)) + 120 * (distance < radius)
        Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"p{n:02}.png")
        rows.append([f"p{n:02}.png", f"patient{n:02}", *answer(radius)])  # type: ignore[operator]
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "patient", *header], *rows])
    return folder


def run(data: Path, output: Path, **settings: object) -> TrainResult:
    result = train(data, output=output, steps=3, device="cpu", **settings)  # type: ignore[arg-type]
    assert result.model is not None
    assert result.evaluation is not None
    assert result.evaluation.split_by == "patient"
    return result


def test_a_number_with_its_unit_becomes_findings(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", ["value"], lambda radius: [radius * 1.5])
    result = run(data, tmp_path / "m")
    assert result.plan.task == "regress"
    assert {"mae", "mse"} <= set(result.evaluation.metrics)  # type: ignore[union-attr]
    found = osler.predict(tmp_path / "m", data / "p00.png", output=tmp_path / "out")
    assert isinstance(found[0].answer, float)


def test_grades_keep_their_order(tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", ["grade"], lambda radius: [radius // 3])
    result = run(data, tmp_path / "m")
    assert result.plan.task == "ordinal"
    found = osler.predict(tmp_path / "m", data / "p00.png", output=tmp_path / "out")
    assert found[0].answer in result.plan.labels.names


def test_several_labels_at_once_with_unknown_ones(tmp_path: Path) -> None:
    def answer(radius: int) -> list[object]:
        return [int(radius > 4), "" if radius == 3 else int(radius % 2)]

    data = write_pictures(tmp_path / "data", ["label_large", "label_odd"], answer)
    result = run(data, tmp_path / "m")
    assert result.plan.task == "multilabel"
    found = osler.predict(tmp_path / "m", data / "p00.png", output=tmp_path / "out")
    assert isinstance(found[0].answer, list)


def write_volumes(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    names = ", ".join(
        f'{{"image": "./imagesTr/v{n:02}.nii.gz", "label": "./labelsTr/v{n:02}.nii.gz"}}' for n in range(12)
    )
    text = f'{{"modality": {{"0": "MRI"}}, "labels": {{"0": "background", "1": "ball"}}, "training": [{names}]}}'
    (folder / "dataset.json").write_text(text)
    for n in range(12):
        shape = (18 + n % 3, 20, 12)
        distance = np.sqrt(sum((g - s / 2) ** 2 for g, s in zip(np.indices(shape), shape, strict=True)))
        mask = (distance < 4).astype(np.uint8)
        volume = (random.normal(100, 10, shape) + 80 * mask).astype(np.float32)
        affine = np.array([[0, -1.1, 0, 5], [0.9, 0, 0, -3], [0, 0, 2.0, 7], [0, 0, 0, 1]])
        nib.save(nib.Nifti1Image(volume, affine), folder / "imagesTr" / f"v{n:02}.nii.gz")
        nib.save(nib.Nifti1Image(mask, affine), folder / "labelsTr" / f"v{n:02}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("volumes")
    data = write_volumes(folder / "data")
    train(data, output=folder / "m", steps=25, device="cpu")
    return data, folder / "m"


def test_a_mask_comes_back_onto_the_grid_of_its_volume(volumes: tuple[Path, Path], tmp_path: Path) -> None:
    data, model = volumes
    source = data / "imagesTr" / "v03.nii.gz"
    osler.predict(model, source, output=tmp_path / "out")
    image, mask = nib.load(source), nib.load(tmp_path / "out" / "v03" / "mask.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-6)
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}


def test_the_three_engines_agree_on_a_trained_model(volumes: tuple[Path, Path], tmp_path: Path) -> None:
    from osler.datasets.preparation import prepare
    from osler.inference.predictor import Predictor
    from osler.models.folder import Model
    from osler.studies.formats import read_image

    data, folder = volumes
    model = Model.open(folder)
    prepared = prepare([read_image(data / "imagesTr" / "v05.nii.gz")], model.plan)
    answers = {}
    for name in ("openvino", "onnxruntime", "torch"):
        with Predictor(model, engine=name, precision="float32") as predictor:
            answers[name] = predictor.predict(prepared)
    for name in ("onnxruntime", "torch"):
        assert np.abs(answers[name] - answers["openvino"]).max() < 1e-3
        assert (answers[name].argmax(0) == answers["openvino"].argmax(0)).mean() >= 0.999


def test_volumes_of_a_npz_are_classified(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 16), ("val", 6), ("test", 8)):
        labels = np.arange(count)[:, None] % 2
        volumes = random.normal(80, 10, (count, 16, 16, 16)) + 60 * labels[:, :, None, None]
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = volumes.clip(0, 255).astype(np.uint8), labels
    np.savez(tmp_path / "balls3d.npz", **arrays)
    result = train(tmp_path / "balls3d.npz", output=tmp_path / "m", steps=3, device="cpu")
    assert result.plan.dimensions == 3
    assert result.evaluation is not None
    assert result.evaluation.cases == 8


def test_two_modalities_in_one_file_are_two_channels(tmp_path: Path) -> None:
    data = write_volumes(tmp_path / "data")
    text = (data / "dataset.json").read_text().replace('{"0": "MRI"}', '{"0": "T2", "1": "ADC"}')
    (data / "dataset.json").write_text(text)
    for path in (data / "imagesTr").iterdir():
        image = nib.load(path)
        one = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(np.stack([one, 300 - one], axis=-1), image.affine), path)
    result = train(data, output=tmp_path / "m", steps=3, device="cpu")
    assert result.plan.channels == ("T2", "ADC")
    found = osler.predict(tmp_path / "m", data / "imagesTr" / "v00.nii.gz", output=tmp_path / "out")
    assert found[0].study == "v00"
