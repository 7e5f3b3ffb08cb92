"""Data sets of any number of studies, made from real ones, no two alike: written once into the work folder and kept."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np

from _runs import DATA, WORK

__all__ = ["hippocampi", "radiographs"]


def hippocampi(count: int) -> Path:
    """``count`` MR volumes of about 36×50×35 voxels with their masks, as the Decathlon lays them out.

    Each is one of the 207 real ones, moved by up to three voxels per axis and with new noise, so that no two are alike.
    """
    folder = WORK / f"hippocampi-{count}"
    if (folder / "dataset.json").is_file():
        return folder
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sources = sorted((DATA / "hippocampus" / "imagesTr").glob("[!.]*.nii.gz"))
    listed = []
    for number in range(count):
        source = sources[number % len(sources)]
        random = np.random.default_rng(number)
        moved = tuple(random.integers(-3, 4, 3).tolist())
        image = nibabel.load(source)
        mask = nibabel.load(DATA / "hippocampus" / "labelsTr" / source.name)
        values = np.roll(np.asarray(image.dataobj, np.float32), moved, (0, 1, 2))
        values += random.normal(0, 0.02 * values.std(), values.shape)
        name = f"study_{number:05}.nii.gz"
        nibabel.Nifti1Image(values.astype(np.float32), image.affine).to_filename(folder / "imagesTr" / name)
        labels = np.roll(np.asarray(mask.dataobj, np.uint8), moved, (0, 1, 2))
        nibabel.Nifti1Image(labels, mask.affine).to_filename(folder / "labelsTr" / name)
        listed.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    description = json.loads((DATA / "hippocampus" / "dataset.json").read_text())
    description |= {"numTraining": count, "training": listed, "numTest": 0, "test": []}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def radiographs(count: int, side: int = 28) -> Path:
    """``count`` of the 5,856 chest radiographs of PneumoniaMNIST as PNG files, in a folder per class.

    Args:
        count: how many, at most 5,856.
        side: pixels a side; they are enlarged from 28.
    """
    from PIL import Image

    folder = WORK / f"radiographs-{count}-{side}"
    if len(list(folder.glob("*/*.png"))) == count:
        return folder
    with np.load(next((DATA / "pneumoniamnist").glob("*.npz"))) as archive:
        parts = ("train", "val", "test")
        images = np.concatenate([archive[f"{part}_images"] for part in parts])
        labels = np.concatenate([archive[f"{part}_labels"] for part in parts]).ravel()
    for number, (pixels, label) in enumerate(zip(images[:count], labels[:count], strict=True)):
        target = folder / ("pneumonia" if label else "normal")
        target.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(pixels)
        if side != pixels.shape[0]:
            picture = picture.resize((side, side), Image.Resampling.BICUBIC)
        picture.save(target / f"{number:05}.png")
    return folder
