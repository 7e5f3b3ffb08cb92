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


def limits_of(array: Array, plan: NormalisationPlan, colours: int, name: str) -> Limits:
    """How one channel is clipped and scaled.

    Args:
        array: (C, \\*source shape), as stored.
        plan: of this channel.
        colours: channels of the array that the network sees.
        name: of the channel, for messages.

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
    step = math.ceil((array[0].size / _PERCENTILE_VOXELS) ** (1 / (array.ndim - 1)))
    values = to_colours(array[(slice(None), *(slice(None, None, step),) * (array.ndim - 1))], colours)
    low, high = (float(p) for p in np.percentile(values, (plan.low, plan.high)))
    if low == high:  # nearly everything is one value, as in a picture of a few bright vessels: nothing to cut off
        low, high = lowest, highest
    clipped = np.clip(values, low, high, dtype=np.float32, casting="unsafe")
    std = float(clipped.std(dtype=np.float64))
    return Limits(low, high, float(clipped.mean(dtype=np.float64)), std if std > 0 else high - low)
