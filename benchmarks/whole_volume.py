"""A whole CT from file to file: seconds and memory of ``osler predict`` beside a MONAI pipeline on the same weights.

The network is a five-level U-Net of 32 to 320 filters with weights drawn at random: time and memory do not depend on
them, and the masks of the two are compared. ``--slices N`` and ``--classes N`` change the study.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import nibabel
import numpy as np

from _models import untrained
from _runs import PEERS, ROOT, WORK, Run, osler, run
from _table import Row, write_table

SPACING = (0.8, 0.8, 1.5)
WORKING = (1.5, 1.5, 1.5)
PATCH = (96, 96, 96)
FEATURES = (32, 64, 128, 256, 320)


def ct_of(slices: int) -> Path:
    """A CT of 512 × 512 × slices: a body of smooth tissue in noisy air, as scanners write it."""
    target = WORK / f"ct-{slices}.nii.gz"
    if target.exists():
        return target
    random = np.random.default_rng(0)
    coarse = random.normal(0, 120, (18, 18, slices // 20 + 4))
    x, y = np.meshgrid(np.linspace(-1, 1, 512), np.linspace(-1, 1, 512), indexing="ij")
    body = (x / 0.78) ** 2 + (y / 0.58) ** 2 < 1
    planes = np.empty((512, 512, slices), np.int16, order="F")
    from scipy.ndimage import zoom

    tissue = zoom(coarse, (512 / 18, 512 / 18, slices / coarse.shape[2]), order=1)
    for k in range(slices):
        plane = np.where(body, 40 + tissue[..., k], -1000) + random.normal(0, 20, (512, 512))
        planes[..., k] = plane.clip(-1024, 3000)
    nibabel.save(nibabel.Nifti1Image(planes, np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])), target)
    return target


def model_of(classes: int) -> Path:
    """A model folder as training writes it, with weights drawn at random."""
    folder = WORK / f"volume-model-{classes}"
    if (folder / "model.json").exists():
        return folder
    from osler.datasets.labels import Label, LabelSet
    from osler.datasets.plan import (
        AugmentationPlan,
        GridPlan,
        LossPlan,
        NetworkPlan,
        NormalisationPlan,
        OptimiserPlan,
        Plan,
    )

    plan = Plan(
        task="segment",
        dimensions=3,
        channels=("image",),
        labels=LabelSet(kind="mask", labels=tuple(Label(name=f"organ_{n}", value=n) for n in range(1, classes))),
        modality="CT",
        grid=GridPlan(resize="spacing", spacing=WORKING, orientation="RAS"),
        normalisation=(NormalisationPlan(kind="dataset", low=-950.0, high=400.0, mean=0.0, std=200.0),),
        patch=PATCH,
        batch=1,
        network=NetworkPlan(
            family="unet", features=FEATURES, strides=((1, 1, 1), *((2, 2, 2),) * 4), blocks=(1, 1, 1, 1, 1)
        ),
        loss=LossPlan(name="dice_cross_entropy"),
        optimiser=OptimiserPlan(),
        augmentation=AugmentationPlan(flips=(False, False, False)),
        steps=1,
    )
    return untrained(folder, plan)


def _dice(one: Path, other: Path, classes: int) -> float:
    first, second = (np.asarray(nibabel.load(path).dataobj) for path in (one, other))
    scores = []
    for value in range(1, classes):
        a, b = first == value, second == value
        if a.any() or b.any():
            scores.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
    return float(np.mean(scores))


def _rows(what: str, ours: Run, theirs: Run | None, must: str, limit: str) -> list[Row]:
    beside = {} if theirs is None else {"peer": theirs.seconds}
    memory = {} if theirs is None else {"peer": theirs.peak_mb / 1000}
    return [
        Row(f"{what}: seconds", ours.seconds, unit="s", must_reach=must, **beside),
        Row(f"{what}: peak memory", ours.peak_mb / 1000, unit="GB", must_reach=limit, **memory),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--classes", type=int, default=25)
    parser.add_argument("--no-peer", action="store_true")
    chosen = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    scan, model = ct_of(chosen.slices), model_of(chosen.classes)
    rows: list[Row] = []
    theirs, mask = None, WORK / "monai-mask.nii.gz"
    if PEERS:
        script = ROOT / "benchmarks" / "peers" / "monai_volume.py"
        theirs = run([sys.executable, script, model, scan, mask])
    for precision in ("bf16", "float32"):
        target = WORK / f"volume-{precision}"
        ours = osler("predict", model, scan, "--output", target, "--force", "--precision", precision)
        must = "4 times faster" if precision == "bf16" else ""
        rows += _rows(f"Osler in {precision}", ours, theirs, must, "2.5 GB" if precision == "bf16" else "")
        if theirs is not None:
            found = target / scan.name.removesuffix(".nii.gz") / "mask.nii.gz"
            rows.append(Row(f"Osler in {precision}: times faster", theirs.seconds / ours.seconds))
            rows.append(
                Row(f"Osler in {precision}: mean Dice with the peer's mask", _dice(found, mask, chosen.classes))
            )
    write_table(
        f"whole_volume_{chosen.slices}_{chosen.classes}",
        f"512×512×{chosen.slices} CT, {chosen.classes} classes, file to file, 2 threads",
        rows,
        peer="MONAI: LoadImage, Spacing, sliding_window_inference (eager float32), Invert, arg-max, save",
    )
