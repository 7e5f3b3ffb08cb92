"""How a channel's intensities are brought to the network's range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.plan import NormalisationPlan
from osler.errors import Unsuitable
from osler.studies.geometry import Array

__all__ = [
    "Limits",
    "Moments",
    "check_not_blank",
    "check_range",
    "is_whole",
    "limits_from",
    "limits_of",
    "sample_step",
    "to_colours",
]

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


class Moments:
    """Range, mean and standard deviation of values that come part by part, in float64.

    Parts are put together by Chan, Golub and LeVeque's rule (1979), so that nothing of the study's size is held.
    """

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf
        self.mean, self._squares, self._count = 0.0, 0.0, 0

    @property
    def std(self) -> float:
        """Of the population."""
        return math.sqrt(self._squares / self._count)

    def add(self, values: Array) -> None:
        """A part of any shape, without NaN."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        mean = float(values.sum(dtype=np.float64)) / values.size
        squares = float(np.square(values - np.float64(mean)).sum())
        apart, total = mean - self.mean, self._count + values.size
        self._squares += squares + apart**2 * self._count * values.size / total
        self.mean += apart * values.size / total
        self._count = total


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
    check_range(name, lowest, highest)
    if plan.kind == "dataset":
        return Limits(plan.low, plan.high, plan.mean, plan.std)
    values = _values_of(array, plan, colours, foreground)
    return limits_from(_moments(values) if is_whole(plan) else values, plan, lowest, highest)


def check_range(name: str, lowest: float, highest: float) -> None:
    """Whether a channel's stored values are numbers, and more than one.

    Raises:
        Unsuitable: when they are not.
    """
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise Unsuitable(f"channel {name} holds values that are NaN or infinite", remedy="repair or leave out the file")
    if lowest == highest:
        raise Unsuitable(f"channel {name} is blank: every value is {lowest:g}", remedy="leave out the file")


def limits_from(values: Array | Moments, plan: NormalisationPlan, lowest: float, highest: float) -> Limits:
    """The limits of a channel that is not scaled by the data set's.

    Args:
        values: those that count, or a sample of them; their moments where nothing is cut off.
        plan: of the channel.
        lowest, highest: of all stored values.
    """
    if isinstance(values, Moments):
        low, high = values.low, values.high
    else:
        low, high = (float(p) for p in np.percentile(values, (plan.low, plan.high)))
    if low == high:  # nearly everything is one value, as in a picture of a few bright vessels: nothing to cut off
        low, high = lowest, highest
    if plan.kind == "range":
        return Limits(low, high, low, high - low)
    if isinstance(values, Moments):
        mean, std = values.mean, values.std
    else:
        clipped = np.clip(values, low, high, dtype=np.float32, casting="unsafe")
        mean, std = float(clipped.mean(dtype=np.float64)), float(clipped.std(dtype=np.float64))
    return Limits(low, high, mean, std if std > 0 else high - low)


def _moments(values: Array) -> Moments:
    """Of (C, *spatial), of a volume plane by plane, so that nothing of its size is allocated."""
    moments = Moments()
    for plane in [values[..., n] for n in range(values.shape[-1])] if values.ndim > 3 else [values]:
        moments.add(plane)
    return moments


def is_whole(plan: NormalisationPlan) -> bool:
    """Whether nothing is cut off; then no voxel may be left out either."""
    return (plan.low, plan.high) == (0, 100)


def _values_of(array: Array, plan: NormalisationPlan, colours: int, foreground: Array | None) -> Array:
    """The intensities that a channel's statistics are of."""
    if foreground is not None:
        return to_colours(array, colours)[:, foreground]
    if is_whole(plan):
        return to_colours(array, colours)
    step = sample_step(array.shape[1:])
    return to_colours(array[(slice(None), *(slice(None, None, step),) * (array.ndim - 1))], colours)


def sample_step(shape: Sequence[int]) -> int:
    """Percentiles are those of every n-th voxel along each axis of an image of this spatial shape: n."""
    return math.ceil(math.pow(math.prod(shape) / _PERCENTILE_VOXELS, 1 / len(shape)))
