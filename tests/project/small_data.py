"""The folders that the documentation talks about, in small: same names and layouts, seconds instead of minutes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from osler.studies.phantoms import ecg

__all__ = ["write_small_data"]

_RNG_SEED = 7


def write_small_data(folder: Path) -> None:
    """``hippocampus``, ``breast-ultrasound``, ``ecg-mitbih`` and ``heart-disease`` in ``data/``, and ``new/`` and
    ``scan.nii.gz``."""
    rng = np.random.default_rng(_RNG_SEED)
    _write_decathlon(folder / "data" / "hippocampus", rng)
    _write_classes(folder / "data" / "breast-ultrasound", rng)
    ecg.write_dataset(folder / "data" / "ecg-mitbih", cases=3, seed=_RNG_SEED)
    _write_tables(folder / "data" / "heart-disease", rng)
    (folder / "new").mkdir()
    for name in ("scan", "new/visit_1", "new/visit_2"):
        _write_volume(folder / f"{name}.nii.gz", _volume(rng)[0])


def _volume(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright and a less bright block: (I, J, K) voxels and their labels 0, 1, 2."""
    labels = np.zeros((20, 24, 18), np.uint8)
    shift = rng.integers(-2, 3, size=3)
    labels[tuple(slice(4 + s, 10 + s) for s in shift)] = 1
    labels[tuple(slice(10 + s, 15 + s) for s in shift)] = 2
    return (rng.normal(100, 10, labels.shape) + 60 * (labels == 1) + 120 * (labels == 2)).astype(np.float32), labels


def _write_volume(path: Path, array: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def _write_decathlon(folder: Path, rng: np.random.Generator) -> None:
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    names = [f"hippocampus_{number:03d}" for number in range(1, 16)]
    for name in names:
        voxels, labels = _volume(rng)
        _write_volume(folder / "imagesTr" / f"{name}.nii.gz", voxels)
        _write_volume(folder / "labelsTr" / f"{name}.nii.gz", labels)
    (folder / "dataset.json").write_text(
        json.dumps(
            {
                "name": "Hippocampus",
                "modality": {"0": "MRI"},
                "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
                "training": [
                    {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in names
                ],
                "test": [],
            }
        )
    )


def _write_tables(folder: Path, rng: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for name in ("cleveland", "va"):
        rows = rng.integers(0, 4, (30, 14)).tolist()
        (folder / f"processed.{name}.data").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


def _write_classes(folder: Path, rng: np.random.Generator) -> None:
    for level, name in enumerate(("benign", "malignant", "normal")):
        (folder / name).mkdir(parents=True)
        for number in range(1, 11):
            pixels = rng.normal(60 + 60 * level, 20, (40, 48)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name} ({number}).png")
