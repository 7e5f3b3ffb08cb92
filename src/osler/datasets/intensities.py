"""What of a study counts (cropping, foreground), and the limits, mean and spread that its intensities are scaled by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from osler.datasets.plan import NormalisationPlan
from osler.errors import Unsuitable
from osler.studies.geometry import Array

__all__ = ["box_of", "check_values", "filled", "limits"]

_PERCENTILE_VOXELS = 1 << 22
"""Percentiles of larger images come from every n-th voxel."""


def check_values(array: Array, name: str) -> None:
    """Raises:
    Unsuitable: when a channel holds values that are not finite, or only one value.
    """
    lowest, highest = float(array.min()), float(array.max())  # either is NaN when any voxel is
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise Unsuitable(f"channel {name} holds values that are NaN or infinite", remedy="repair or leave out the file")
    if lowest == highest:
        raise Unsuitable(f"channel {name} is blank: every value is {lowest:g}", remedy="leave out the file")


def limits(array: Array, plan: NormalisationPlan) -> tuple[float, float, float, float]:
    """(low, high, mean, std) in the image's intensities; ``array`` has the voxels that count, in any shape."""
    if plan.kind == "dataset":
        return plan.low, plan.high, plan.mean, plan.std
    values = array.reshape(-1)
    whole = (plan.low, plan.high) == (0, 100)
    if whole:  # nothing is cut off, so no voxel may be left out either
        low, high = float(values.min()), float(values.max())
    else:
        values = values[:: -(-values.size // _PERCENTILE_VOXELS)]
        low, high = (float(p) for p in np.percentile(values, (plan.low, plan.high)))
        if low == high:  # nearly everything is one value, as in a picture of a few bright vessels: nothing to cut off
            low, high = float(array.min()), float(array.max())
    if plan.kind == "range":
        return low, high, low, high - low
    clipped = values if whole else np.clip(values, low, high, dtype=np.float32, casting="unsafe")
    std = float(clipped.std(dtype=np.float64))
    return low, high, float(clipped.mean(dtype=np.float64)), std if std > 0 else high - low


def box_of(channels: Sequence[Array]) -> tuple[slice, ...]:
    """The smallest box around all voxels that are not 0 in any channel.

    Args:
        channels: (C, *S) each.

    Raises:
        Unsuitable: when there is no such voxel.
    """
    spatial = channels[0].ndim - 1
    box = []
    for axis in range(spatial):
        others = tuple(n for n in range(spatial + 1) if n != axis + 1)
        occupied = np.flatnonzero(np.any([channel.any(axis=others) for channel in channels], axis=0))
        if not len(occupied):
            raise Unsuitable("the study is blank: every value of every channel is 0", remedy="leave out the file")
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def filled(channels: Sequence[Array]) -> Array:
    """(*S) bool: voxels that are not 0 in any channel, and the holes between them."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(np.any([channel.any(axis=0) for channel in channels], axis=0)))
