"""CT of 512×512 and a network of its organs, for benchmarks of whole volumes.

The scan is the real slab of ``ct-organs`` (90 mm with labels of 41 organs), mirrored along the patient until it is long
enough and resampled to a scanner's spacing. The network learns that slab for minutes: whether it would know another
patient is not asked, only that its labels lie as organs do. Heads of other numbers of classes are cut from its head.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np

from _models import untrained
from _runs import DATA, WORK, osler
from _table import QUICK

__all__ = ["ct_of", "model_of"]

_SPACING = (0.8, 0.8, 1.5)
_WORKING = (1.5, 1.5, 1.5)
_SIZE, _SUFFIX = (128, "-quick") if QUICK else (512, "")
_LEARNT_ON = (32, 32, 32) if QUICK else (64, 64, 64)
_PATCH = (48, 48, 48) if QUICK else (96, 96, 96)
_FEATURES = (8, 16, 32, 64, 80) if QUICK else (32, 64, 128, 256, 320)
_STEPS, _CASES, _PLANES = (4, 5, 24) if QUICK else (300, 6, 72)
_NOISE = 15.0
"""Hounsfield units of a scanner's noise: the slab was resampled to 3 mm, which took its own away."""
_NEVER = -30.0
"""The logit of classes that the network does not have."""


def ct_of(slices: int) -> Path:
    """A CT of 512 × 512 × slices, 0.8 × 0.8 × 1.5 mm, as scanners write it."""
    target = WORK / f"organs-ct-{slices}{_SUFFIX}.nii.gz"
    if target.exists():
        return target
    from scipy.ndimage import map_coordinates

    scan, _ = _slab()
    random = np.random.default_rng(0)
    across = [(np.arange(_SIZE) - _SIZE / 2) * _SPACING[0] / 3 + n / 2 for n in scan.shape[:2]]
    planes = np.empty((_SIZE, _SIZE, slices), np.int16, order="F")
    for k in range(slices):
        depth = _mirrored(k * _SPACING[2] / 3, scan.shape[2])
        below = min(int(depth), scan.shape[2] - 2)
        plane = scan[..., below] + (depth - below) * (scan[..., below + 1] - scan[..., below])
        plane = map_coordinates(plane, np.meshgrid(*across, indexing="ij"), order=1, cval=-1000.0)
        planes[::-1, ::-1, k] = (plane + random.normal(0, _NOISE, plane.shape)).clip(-1024, 3000)
    WORK.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(planes, np.diag([-_SPACING[0], -_SPACING[1], _SPACING[2], 1.0])), target)
    return target


def model_of(classes: int) -> Path:
    """A five-level U-Net of 32 to 320 filters that labels the most common organs of the slab, background among the
    classes; where there are more classes than organs, the others have outputs that never win."""
    folder = WORK / f"organs-model-{classes}{_SUFFIX}"
    if (folder / "model.json").exists():
        return folder
    import torch

    from osler.datasets.labels import Label, LabelSet
    from osler.learning.export import load_network
    from osler.models.folder import Model

    trained = Model.open(_trained())
    common = [label.value for label in trained.plan.labels.labels]
    counts = {value: int((_slab()[1] == value).sum()) for value in common}
    kept = sorted(sorted(common, key=lambda value: -counts[value])[: classes - 1])
    outputs = [0, *(1 + common.index(value) for value in kept)]
    free = (value for value in range(1, 255) if value not in kept)
    values = [*kept, *(next(free) for _ in range(classes - 1 - len(kept)))]
    labels = LabelSet(kind="mask", labels=tuple(Label(name=f"organ_{value}", value=value) for value in values))
    plan = trained.plan.model_copy(update={"labels": labels, "patch": _PATCH})
    state = load_network(trained).state_dict()

    def cut(name: str, weights: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        if weights.shape == shape:
            return weights
        more = torch.full((shape[0] - len(outputs), *shape[1:]), _NEVER if weights.ndim == 1 else 0.0)
        return torch.cat([weights[outputs], more])

    return untrained(folder, plan, lambda name, own: cut(name, state[name], own.shape))


def _trained() -> Path:
    """Of the slab from several places, with noise."""
    data, model = WORK / f"organs-data{_SUFFIX}", WORK / f"organs-trained{_SUFFIX}"
    if (model / "model.json").exists():
        return model
    shutil.rmtree(data, ignore_errors=True)
    scan, organs = _slab()
    random = np.random.default_rng(1)
    training = []
    for part in ("imagesTr", "labelsTr"):
        (data / part).mkdir(parents=True)
    for case in range(_CASES):
        name = f"slab_{case}.nii.gz"
        depths = [round(_mirrored(case * 5 + k, scan.shape[2])) for k in range(_PLANES)]
        noisy = scan[..., depths] + random.normal(0, _NOISE / 2, (*scan.shape[:2], _PLANES))
        for part, voxels in (("imagesTr", noisy.astype(np.int16)), ("labelsTr", organs[..., depths])):
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([3.0, 3.0, 3.0, 1.0])), data / part / name)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    named = {str(value): f"organ_{value}" if value else "background" for value in np.unique(organs).tolist()}
    content = {"name": "slab", "modality": {"0": "CT"}, "labels": named, "training": training}
    (data / "dataset.json").write_text(json.dumps(content))
    levels = len(_FEATURES)
    network = {"family": "unet", "features": _FEATURES, "blocks": (1,) * levels}
    network["strides"] = ((1, 1, 1), *((2, 2, 2),) * (levels - 1))
    changes = {"patch": _LEARNT_ON, "batch": 1, "network": network, "grid": {"spacing": _WORKING, "orientation": "RAS"}}
    chosen = WORK / f"organs-plan{_SUFFIX}.json"
    chosen.write_text(json.dumps({**changes, "precision": "bf16", "channels_last": True}))
    arguments = ("--steps", str(_STEPS), "--plan", chosen, "--no-coarse-to-fine", "--patient", r"slab_(\d+)")
    osler("train", data, *arguments, "--output", model, "--force")
    return model


def _slab() -> tuple[np.ndarray, np.ndarray]:
    """The planes of the real CT that have labels, 3 mm, and their labels: its last ones, whatever the affine of the
    labels says, which is that of the whole CT."""
    labels = np.asarray(nibabel.load(DATA / "ct-organs" / "organs.nii.gz").dataobj)
    scan = np.asarray(nibabel.load(DATA / "ct-organs" / "ct.nii.gz").dataobj)[..., -labels.shape[2] :]
    return scan.astype(np.float32).clip(-1024, 3000), labels


def _mirrored(depth: float, planes: int) -> float:
    """A depth in a slab that is followed by its mirror image, again and again."""
    turn = depth % (2 * (planes - 1))
    return min(turn, 2 * (planes - 1) - turn)
