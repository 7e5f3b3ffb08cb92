"""Windows that hold only air outside the body: how many are not run, and how many labels differ from running them all.

A network is trained on chest phantoms, whose air has a scanner's noise, and answers phantoms that it never saw and the
real CT volumes of the shared data. What it says of those organs does not matter here; that it says the same does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np

from _runs import DATA, WORK, osler
from _table import Row, write_table
from osler.inference.predictor import Predictor
from osler.models.folder import Model
from osler.studies.formats import read_image
from osler.studies.image import Image
from osler.studies.phantoms.chest_ct import make

SIZE = (128, 128, 72)
CASES = 24
UNSEEN = (901, 902, 903)
BORDER = 24  # voxels of noisy air on each side in-plane, as in a field of view that is wide for the patient


def _write(folder: Path) -> Path:
    """Phantoms as NIfTI, with a dataset.json that says that they are CT: of a NIfTI alone nobody knows it."""
    if (folder / "dataset.json").exists():
        return folder
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    training = []
    for seed in range(CASES):
        phantom = make(seed, size=SIZE, nodules=1 + seed % 4)
        name = f"chest{seed:03}.nii.gz"
        for part, image in (("imagesTr", phantom.image), ("labelsTr", phantom.mask)):
            nibabel.save(nibabel.Nifti1Image(image.array[0], image.affine), folder / part / name)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    labels = {"0": "background", "1": "lungs", "2": "heart", "3": "spine", "4": "nodules"}
    content = {"name": "chest", "modality": {"0": "CT"}, "labels": labels, "training": training}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def _wide(image: Image, seed: int) -> Image:
    """The same patient in a wider field of view, with a scanner's noise in the added air."""
    width = [(0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0)]
    air = np.random.default_rng(seed).normal(
        -1000, 15, tuple(n + a + b for n, (a, b) in zip(image.array.shape, width, strict=True))
    )
    air[:, BORDER:-BORDER, BORDER:-BORDER] = image.array
    return Image(np.clip(np.rint(air), -1024, 3071).astype(np.int16), image.affine, "CT", units="HU")


def _studies() -> Iterator[tuple[str, Image]]:
    for seed in UNSEEN:
        image = make(seed, size=SIZE).image
        yield f"phantom {seed}", image
        yield f"phantom {seed}, wide field of view", _wide(image, seed)
    real = read_image(DATA / "ct-organs" / "ct.nii.gz")
    yield "real CT (ct-organs)", real
    yield "real CT (ct-organs), wide field of view", _wide(real, 0)


def _row(model: Model, name: str, image: Image) -> list[Row]:
    found = {}
    for every in (False, True):
        with Predictor(model, every_window=every, threads=2) as predictor:
            predictor.label([image])  # compiles, and fills what is kept between studies
            begun = time.perf_counter()
            labelled = predictor.label([image])[1]
            found[every] = (labelled, time.perf_counter() - begun)
    some, all_of = found[False][0], found[True][0]
    windows = some.windows
    if windows is None:
        raise SystemExit(
            f"{name}: every window was run: the plan is not of CT, or air is not background to its network"
        )
    shape = " × ".join(map(str, some.mask.shape))
    differ = int((some.mask != all_of.mask).sum())
    return [
        Row(
            f"{name}: windows not run",
            windows.air / windows.total,
            n=f"{windows.air} of {windows.total}",
            reference=shape,
        ),
        Row(
            f"{name}: labels that differ",
            differ,
            must_reach="0",
            n=f"{int((all_of.mask > 0).sum())} labelled voxels",
            unit="voxels",
        ),
        Row(f"{name}: times faster", found[True][1] / found[False][1], n="1 run each", unit="×"),
    ]


def main() -> None:
    """Train, answer, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="4m")
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    place = WORK / "air-model"
    if not (place / "model.json").exists():
        data = _write(WORK / "air-data")
        settings = [part for one in options.set for part in ("--set", one)]
        osler("train", data, "--output", place, "--budget", options.budget, "--no-coarse-to-fine", "--force", *settings)
    model = Model.open(place)
    rows = [row for name, image in _studies() for row in _row(model, name, image)]
    low = model.plan.normalisation[0].low
    notes = [f"Patch {model.plan.patch}, spacing {model.plan.grid.spacing}; values below {low:.0f} HU are cut off."]
    write_table("windows_of_air", "Windows of air that are not run", rows, notes=notes)


if __name__ == "__main__":
    sys.exit(main())
