"""Small datasets in every layout, for tests."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image

RNG = np.random.default_rng(0)


def picture(path: Path, *, value: int | None = None, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 255, size[::-1]) if value is None else np.full(size[::-1], value)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def mask_picture(path: Path, values: tuple[int, ...] = (0, 255), size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.resize(np.array(values, np.uint8), size[::-1])
    PIL.Image.fromarray(pixels).save(path)
    return path


def volume(path: Path, *, labels: int = 0, shape: tuple[int, ...] = (6, 5, 4), shift: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = RNG.integers(0, labels + 1, shape) if labels else RNG.normal(size=shape)
    affine = np.diag([1.0, 1, 2, 1])
    affine[0, 3] = shift
    nibabel.Nifti1Image(voxels.astype(np.uint8 if labels else np.float32), affine).to_filename(path)
    return path


def decathlon(root: Path, cases: int = 3) -> Path:
    pairs = []
    for n in range(cases):
        volume(root / f"imagesTr/liver_{n:03d}.nii.gz")
        volume(root / f"labelsTr/liver_{n:03d}.nii.gz", labels=2)
        pairs.append({"image": f"./imagesTr/liver_{n:03d}.nii.gz", "label": f"./labelsTr/liver_{n:03d}.nii.gz"})
    content = {"name": "Liver", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "tumour"}}
    (root / "dataset.json").write_text(json.dumps({**content, "training": pairs, "test": []}))
    return root


def nnunet(root: Path, cases: int = 3, **content: object) -> Path:
    for n in range(cases):
        for channel in range(2):
            volume(root / f"imagesTr/brain_{n:03d}_{channel:04d}.nii.gz")
        volume(root / f"labelsTr/brain_{n:03d}.nii.gz", labels=2)
    default = {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "oedema": 1, "tumour": 2}}
    (root / "dataset.json").write_text(json.dumps({**default, "file_ending": ".nii.gz", **content}))
    return root


def class_folders(root: Path) -> Path:
    for name in ("benign", "malignant"):
        for n in range(3):
            picture(root / name / f"{name}_{n}.png")
    return root


def images_and_masks(root: Path) -> Path:
    for n in range(3):
        picture(root / f"images/a{n}.png")
        mask_picture(root / f"masks/a{n}.png")
    return root


def medmnist(root: Path, labels: int = 1, depth: int | None = None, name: str = "newmnist.npz") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for key, count in (("train", 8), ("val", 4), ("test", 4)):
        shape = (count, 8, 8) if depth is None else (count, depth, 8, 8)
        arrays[f"{key}_images"] = RNG.integers(0, 255, shape).astype(np.uint8)
        arrays[f"{key}_labels"] = (np.arange(count * labels).reshape(count, labels) % 2).astype(np.uint8)
    np.savez(root / name, **arrays)
    return root


def table(root: Path) -> Path:
    rows = ["image,label,patient"]
    for n in range(4):
        picture(root / f"p/{n}.png")
        rows.append(f"p/{n}.png,{'ab'[n % 2]},P{n}")
    (root / "manifest.csv").write_text("\n".join(rows))
    return root


MAKERS = {
    "csv": table,
    "medmnist": medmnist,
    "nnunet": nnunet,
    "decathlon": decathlon,
    "image-mask-folders": images_and_masks,
    "class-folders": class_folders,
}
