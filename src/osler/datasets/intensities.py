"""How a channel's intensities are brought to the network's range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from osler.datasets.plan import NormalisationPlan
from osler.errors import Unsuitable
from osler.studies.geometry import Array

__all__ = ["Limits", "check_not_blank", "limits_of", "to_colours"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601: how bright a colour looks."""
_PERCENTILE_VOXELS = 1 << 22
"""Percentiles of larger images come from every n-th voxel of each axis."""


@dataclass(frozen=True)
class Limits:
    """How a channel is brought to the network's range, in the image's intensities."""

    low: float
    high: float
    mean: float
    std: float


def to_colours(array: Array, colours: int) -> Array:
    """Make (C, *spatial) of any C that an image may have into (``colours``, *spatial) or, grey, (1, *spatial).

    Colour becomes grey by its luma; grey stays one channel, which broadcasts.

    Raises:
        Unsuitable: when there are neither 1 nor 3 channels.
    """
    if array.shape[0] not in (1, 3):
        raise Unsuitable(
            f"the image has {array.shape[0]} channels, neither 1 (grey) nor 3 (colour)", remedy="save it as grey or RGB"
        )
    if array.shape[0] == 3 and colours == 1:
        return np.tensordot(_LUMA, array.astype(np.float32, copy=False), axes=1)[None]  # (1, *spatial)
    return array


def check_not_blank(name: str, limits: Limits, lowest: float, highest: float) -> None:
    """Whether anything is left of a channel within its limits.

    Raises:
        Unsuitable: when its lowest and highest value are one.
    """
    if lowest == highest:
        raise Unsuitable(
            f"channel {name} is blank: all its values lie at {limits.low:.4g} or below, or at {limits.high:.4g} "
            "or above",
            remedy="check that its intensities are in the units of the training data",
        )


def limits_of(
    array: Array, plan: NormalisationPlan, colours: int, name: str, *, foreground: Array | None = None
) -> Limits:
    """How one channel is clipped and scaled.

    Args:
        array: (C, \\*source shape), as stored; the part of it that is kept where the plan crops.
        plan: of this channel.
        colours: channels of the array that the network sees.
        name: of the channel, for messages.
        foreground: (\\*source shape) bool, the voxels that count; None counts all.

    Raises:
        Unsuitable: when a value is not finite, or all are one.
    """
    lowest, highest = float(array.min()), float(array.max())  # either is NaN when any voxel is
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise Unsuitable(f"channel {name} holds values that are NaN or infinite", remedy="repair or leave out the file")
    if lowest == highest:
        raise Unsuitable(f"channel {name} is blank: every value is {lowest:g}", remedy="leave out the file")
    if plan.kind == "dataset":
        return Limits(plan.low, plan.high, plan.mean, plan.std)
    values = _values_of(array, plan, colours, foreground)
    low, high = float(values.min()), float(values.max())
    if not _is_whole(plan):
        low, high = (float(p) for p in np.percentile(values, (plan.low, plan.high)))
    if low == high:  # nearly everything is one value, as in a picture of a few bright vessels: nothing to cut off
        low, high = lowest, highest
    if plan.kind == "range":
        return Limits(low, high, low, high - low)
    if _is_whole(plan):
        mean, std = _moments(values)
    else:
        clipped = np.clip(values, low, high, dtype=np.float32, casting="unsafe")
        mean, std = float(clipped.mean(dtype=np.float64)), float(clipped.std(dtype=np.float64))
    return Limits(low, high, mean, std if std > 0 else high - low)


def _moments(values: Array) -> tuple[float, float]:
    """Mean and standard deviation in float64, plane by plane, so that nothing of the array's size is allocated."""
    planes = [values[..., n] for n in range(values.shape[-1])] if values.ndim > 2 else [values]
    mean = sum(float(plane.sum(dtype=np.float64)) for plane in planes) / values.size
    squares = sum(float(np.square(plane - np.float64(mean)).sum()) for plane in planes)
    return mean, math.sqrt(squares / values.size)


def _is_whole(plan: NormalisationPlan) -> bool:
    """Whether nothing is cut off; then no voxel may be left out either."""
    return (plan.low, plan.high) == (0, 100)


def _values_of(array: Array, plan: NormalisationPlan, colours: int, foreground: Array | None) -> Array:
    """The intensities that a channel's statistics are of."""
    if foreground is not None:
        return to_colours(array, colours)[:, foreground]
    if _is_whole(plan):
        return to_colours(array, colours)
    step = math.ceil((array[0].size / _PERCENTILE_VOXELS) ** (1 / (array.ndim - 1)))
    return to_colours(array[(slice(None), *(slice(None, None, step),) * (array.ndim - 1))], colours)
