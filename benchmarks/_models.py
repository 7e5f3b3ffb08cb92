"""Models and studies that several benchmarks need: made once into the work folder and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from _runs import DATA, WORK, osler
from _table import QUICK

if TYPE_CHECKING:
    import torch

    from osler.datasets.plan import Plan

__all__ = [
    "dice",
    "five_level_int8",
    "five_level_unet",
    "hippocampus_model",
    "hippocampus_plan",
    "mosaic",
    "nnunet_model",
    "resnet18",
    "scan_of_64",
    "untrained",
]

_SIZE = (96, 96, 64) if QUICK else (256, 256, 128)
_MOSAIC = (80, 84, 60) if QUICK else (260, 252, 120)  # MONAI places the same windows of 40×56×40
_MOSAIC_TILE = (20, 28, 20) if QUICK else (26, 42, 24)  # to its very rim: nnU-Net's plan crops zeros off
_PATCH = (64, 64, 64)
_TILE = (32, 48, 32)  # of a hippocampus volume
_TILED, _TILES = (96, 96, 96), 18
_TILED_PATIENT = ("--patient", r"tiled_(\d+)")
_STEPS = 4 if QUICK else 300
_CASES = 4 if QUICK else 8
_FEATURES = (8, 16, 32, 64, 80) if QUICK else (32, 64, 128, 256, 320)
_SUFFIX = "-quick" if QUICK else ""


def five_level_unet() -> tuple[Path, Path, Path]:
    """A residual U-Net of 32 to 320 filters trained for minutes on hippocampi side by side; others as a volume of
    256×256×128; their mask."""
    data, model = WORK / f"tiled{_SUFFIX}", WORK / f"five-levels{_SUFFIX}"
    sources = _hippocampi()
    seen, unseen = sources[: _CASES * _TILES], sources[_CASES * _TILES :]
    for number in range(_CASES):
        part = seen[number * _TILES : (number + 1) * _TILES]
        _side_by_side(
            part, _TILED, data / "images" / f"tiled_{number}.nii.gz", data / "masks" / f"tiled_{number}.nii.gz"
        )
    image, mask = (WORK / f"unseen-tiled{_SUFFIX}{what}.nii.gz" for what in ("", "-mask"))
    _side_by_side(unseen, _SIZE, image, mask)
    if not (model / "model.json").exists():
        levels = len(_FEATURES)
        network = {"family": "unet", "features": _FEATURES, "blocks": (1,) * levels}
        network["strides"] = ((1, 1, 1), *((2, 2, 2),) * (levels - 1))
        changes = {"patch": _PATCH, "batch": 1, "network": network, "grid": {"spacing": (1.0, 1.0, 1.0)}}
        chosen = WORK / "five-levels.json"
        chosen.write_text(json.dumps({**changes, "precision": "bf16", "channels_last": True}))
        arguments = ("--steps", str(_STEPS), "--plan", chosen, "--output", model, "--force", *_TILED_PATIENT)
        osler("train", data, *arguments)
    return model, image, mask


def five_level_int8() -> Path:
    """The same with the 8-bit graph that ``osler compress`` ships of it."""
    parent, model = five_level_unet()[0], WORK / f"five-levels-int8{_SUFFIX}"
    if not (model / "model.json").exists():
        osler("compress", parent, WORK / f"tiled{_SUFFIX}", "--int8", "--output", model, "--force", *_TILED_PATIENT)
    return model


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over the labels that either has."""
    scores = []
    for value in sorted({*np.unique(one), *np.unique(other)} - {0}):
        a, b = one == value, other == value
        scores.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
    return float(np.mean(scores)) if scores else 1.0


def nnunet_model() -> Path:
    """The trained nnU-Net of the shared data, converted."""
    model = WORK / "nnunet-converted"
    if not (model / "model.json").exists():
        osler("convert", DATA / "nnunet-hippocampus", "--output", model, "--force")
    return model


def mosaic() -> tuple[Path, Path]:
    """Real hippocampus volumes side by side, 260×252×120, and their masks."""
    image, mask = WORK / f"mosaic-full{_SUFFIX}.nii.gz", WORK / f"mosaic-full{_SUFFIX}-mask.nii.gz"
    _side_by_side(_hippocampi(), _MOSAIC, image, mask, tile=_MOSAIC_TILE)
    return image, mask


def _hippocampi() -> list[Path]:
    return sorted((DATA / "hippocampus" / "imagesTr").glob("*.nii.gz"))


def _side_by_side(
    sources: list[Path], size: tuple[int, ...], image: Path, mask: Path, *, tile: tuple[int, ...] = _TILE
) -> None:
    """A volume of whole tiles, each the corner of a source, and its mask; unless they are there."""
    if mask.exists():
        return
    volumes = [np.zeros(size, np.float32), np.zeros(size, np.uint8)]
    starts = [range(0, side - length + 1, length) for side, length in zip(size, tile, strict=True)]
    places = [(i, j, k) for i in starts[0] for j in starts[1] for k in starts[2]]
    for number, start in enumerate(places):
        source = sources[number % len(sources)]
        for volume, path in zip(volumes, (source, source.parents[1] / "labelsTr" / source.name), strict=True):
            part = np.asarray(nibabel.load(path).dataobj)[tuple(slice(0, length) for length in tile)]
            part = part / max(float(np.percentile(part, 99)), 1e-6) if volume.dtype == np.float32 else part
            volume[tuple(slice(s, s + n) for s, n in zip(start, part.shape, strict=True))] = part
    for volume, target in zip(volumes, (image, mask), strict=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), target)


def hippocampus_plan() -> Path:
    """What ``osler train`` plans for the hippocampus in 15 minutes on this machine, as a file."""
    target = WORK / "hippocampus-plan.json"
    if not target.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        length = ("--steps", "4") if QUICK else ("--budget", "15m")
        planned = osler("train", DATA / "hippocampus", *length, "--plan-only", "--output", WORK / "hippocampus-plan")
        plan = {**planned.record["plan"], "budget_s": None, "steps": 4}
        target.write_text(json.dumps(plan))
    return target


def hippocampus_model() -> Path:
    """That plan after a few steps: for what a prediction takes, not for its scores."""
    model = WORK / "hippocampus-steps"
    if not (model / "model.json").exists():
        length = ("--steps", "4", "--plan", hippocampus_plan())
        osler("train", DATA / "hippocampus", *length, "--output", model, "--force")
    return model


def scan_of_64() -> Path:
    """A NIfTI of 64³ voxels of 1 mm."""
    target = WORK / "scan-64.nii.gz"
    if not target.exists():
        random = np.random.default_rng(0)
        from scipy.ndimage import gaussian_filter

        voxels = (gaussian_filter(random.normal(0, 1, (64, 64, 64)), 3) * 2000 + 300).clip(0, 1000)
        WORK.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), np.eye(4)), target)
    return target


def resnet18(classes: int = 2) -> Path:
    """A residual network for pictures of 224×224: eight blocks after a stem, 64 to 512 filters, weights at random."""
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

    folder = WORK / "resnet18"
    if (folder / "model.json").exists():
        return folder
    plan = Plan(
        task="classify",
        dimensions=2,
        channels=("image",),
        labels=LabelSet(kind="classes", labels=tuple(Label(name=f"class_{n}", value=n) for n in range(classes))),
        grid=GridPlan(resize="stretch", shape=(224, 224), spacing_known=False),
        normalisation=(NormalisationPlan(kind="range", low=0.0, high=100.0),),
        patch=(224, 224),
        batch=32,
        network=NetworkPlan(
            family="encoder",
            features=(64, 64, 128, 256, 512),
            strides=((2, 2),) * 5,
            blocks=(1, 2, 2, 2, 2),
            normalisation="batch",
        ),
        loss=LossPlan(name="cross_entropy"),
        optimiser=OptimiserPlan(),
        augmentation=AugmentationPlan(flips=(False, False)),
        steps=1,
    )
    return untrained(folder, plan)


def untrained(folder: Path, plan: Plan, weights: Callable[[str, torch.Tensor], torch.Tensor] | None = None) -> Path:
    """A model folder as training writes it, with weights drawn at random: for time and memory, not for scores.

    ``weights`` gives others, by name and what was drawn.
    """
    import torch

    from osler.learning.export import export_member
    from osler.learning.networks import build_network
    from osler.models.folder import DataSummary, ModelInfo, seal

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    network = build_network(plan)
    if weights is not None:
        network.load_state_dict({name: weights(name, drawn) for name, drawn in network.state_dict().items()})
    member = export_member(network, plan, folder, 0, steps=0, fold=None)
    (folder / "plan.json").write_text(plan.model_dump_json(indent=1))
    info = ModelInfo(
        osler_version="0",
        name=folder.name,
        created="2026-11-21",
        intended_use="benchmark of time and memory",
        members=(member,),
        data=DataSummary(name="none"),
    )
    seal(folder, info)
    return folder
