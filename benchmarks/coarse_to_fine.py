"""Coarse-to-fine: what a low-resolution pass loses and what it saves, by two ways of making it.

A network of its own on the coarse grid, and the fine network itself, run on the coarse grid without being trained for
it. Threshold and margin of both are chosen on the validation cases by the same rule; losses are those of the test
cases.
``--data phantoms`` are chest CT with nodules; ``--data hippocampus`` are real volumes, cropped around the target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

from _runs import DATA, WORK, osler
from _table import Row, write_table
from osler.datasets.dataset import Dataset
from osler.inference.bounding import Seen, choose, look, lost_of
from osler.inference.calibrate import images_of
from osler.inference.coarse import CoarsePass
from osler.inference.predictor import Predictor
from osler.models.folder import Model
from osler.studies.phantoms.chest_anatomy import NODULES
from osler.studies.phantoms.chest_ct import make
from osler.workflows.run_folder import RunFolder

SIZE = (128, 128, 72)
CASES = 60
SETTINGS = {
    "phantoms": {
        "fine": ("grid.spacing=[3.0,3.0,3.0]", "patch=[48,48,48]", "batch=2"),
        "coarse": ("grid.spacing=[6.0,6.0,6.0]", "patch=[64,48,40]", "batch=2"),
        "spacing": (6.0, 6.0, 6.0),
    },
    "hippocampus": {
        "fine": ("grid.spacing=[1.0,1.0,1.0]", "patch=[24,24,24]", "batch=8"),
        "coarse": ("grid.spacing=[2.5,2.5,2.5]", "patch=[16,24,16]", "batch=8"),
        "spacing": (2.5, 2.5, 2.5),
    },
}
NETWORK = ("network.features=[16,32,64]", "network.strides=[[1,1,1],[2,2,2],[2,2,2]]", "network.blocks=[1,1,1]")


def _phantoms(folder: Path) -> Path:
    """Chest CT with one to four nodules each; only nodules are labelled."""
    if folder.exists():
        return folder
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for seed in range(CASES):
        phantom = make(seed, size=SIZE, nodules=1 + seed % 4)
        nodules = (phantom.mask.array[0] == NODULES).astype(np.uint8)
        for part, array in (("images", phantom.image.array[0]), ("masks", nodules)):
            nibabel.save(nibabel.Nifti1Image(array, phantom.image.affine), folder / part / f"chest{seed:03}.nii.gz")
    return folder


def _train(name: str, data: Path, budget: str, settings: Sequence[str]) -> Model:
    place = WORK / name
    if not (place / "model.json").exists():
        chosen = [part for one in (*settings, *NETWORK) for part in ("--set", one)]
        osler(
            "train",
            data,
            "--output",
            place,
            "--budget",
            budget,
            "--no-coarse-to-fine",
            "--patient",
            "none",
            "--force",
            *chosen,
        )
    return Model.open(place)


def _seen(coarse: CoarsePass, fine: Model, dataset: Dataset, split: str) -> list[Seen]:
    found = []
    for record in dataset.records:
        if record.split == split and record.mask is not None:
            images = images_of(dataset, record, fine.plan)
            truth = dataset.read_mask(record.mask, onto=images[0]).array[0]
            found.append(look(images, truth, fine.plan.labels, coarse, fine.plan, patient=record.name))
    return found


def _way(name: str, coarse: Model, fine: Model, dataset: Dataset) -> list[Row]:
    looking = CoarsePass(coarse, threads=2)
    looking.load()
    validation, test = (_seen(looking, fine, dataset, split) for split in ("validation", "test"))
    looking.release()
    choice = choose(validation, fine.plan)
    if choice is None:
        return [Row(f"{name}: keeps every target of validation", 0.0, n=f"{len(validation)} cases")]
    rows = [
        Row(f"{name}: windows that are run, validation", choice.windows, n=f"{len(validation)} cases",
            reference=f"threshold {choice.threshold}, margin {choice.margin} mm")
    ]  # fmt: skip
    for label, lost in lost_of(test, choice.threshold, choice.margin).items():
        for what, part, whole, span in (
            ("voxels", lost.voxels_lost, lost.voxels, lost.voxel_interval),
            ("lesions, wholly", lost.lesions_lost, lost.lesions, lost.lesion_interval),
            ("lesions, in part", lost.lesions_cut, lost.lesions, None),
        ):
            low, high = span or (None, None)
            rows.append(
                Row(
                    f"{name}: {label}, {what} outside the bound",
                    part / whole,
                    low,
                    high,
                    f"{part} of {whole} in {lost.cases} test cases",
                )
            )
    return rows


def _dice(fine: Model, dataset: Dataset) -> float:
    """Of the fine network over every window, so that it is known to be worth bounding."""
    scores = []
    with Predictor(fine, every_window=True, threads=2) as predictor:
        for record in dataset.records:
            if record.split == "test" and record.mask is not None:
                images = images_of(dataset, record, fine.plan)
                truth = dataset.read_mask(record.mask, onto=images[0]).array[0] > 0
                mask = predictor.label(images)[1].mask > 0
                scores.append(2 * (mask & truth).sum() / max(1, mask.sum() + truth.sum()))
    return float(np.mean(scores))


def main() -> None:
    """Train both networks, look both ways, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=list(SETTINGS), default="phantoms")
    parser.add_argument("--budget", default="6m", help="of the fine network")
    parser.add_argument("--share", default="1m", help="of the coarse network")
    options = parser.parse_args()
    settings = SETTINGS[options.data]
    data = _phantoms(WORK / "nodules") if options.data == "phantoms" else DATA / "hippocampus"
    fine = _train(f"{options.data}-fine", data, options.budget, settings["fine"])
    coarse = _train(f"{options.data}-coarse", data, options.share, settings["coarse"])
    (dataset,) = RunFolder(WORK / f"{options.data}-fine").load_splits() or ()
    grid = fine.plan.grid.model_copy(update={"spacing": settings["spacing"]})
    same = Model(fine.path, fine.info, fine.plan.model_copy(update={"grid": grid}))
    rows = [Row("Dice of the fine network over every window, any label", _dice(fine, dataset))]
    rows += _way("a coarse network", coarse, fine, dataset) + _way(
        "the fine network on the coarse grid", same, fine, dataset
    )
    notes = [
        f"Fine: spacing {fine.plan.grid.spacing}, patch {fine.plan.patch}, {options.budget}. "
        f"Coarse: spacing {settings['spacing']}, {options.share}."
    ]
    write_table(f"coarse_to_fine_{options.data}", f"Coarse-to-fine on {options.data}", rows, notes=notes)


if __name__ == "__main__":
    sys.exit(main())
