"""What has to be known of a whole study before its first plane is prepared, gathered plane by plane.

Most studies need nothing: limits of the data set are in the plan. A pass through the planes is needed for the crop, for
percentiles and moments of the study itself, and for the range of values where cubic interpolation without averaging
must not overshoot it. What is found is the same as of the study whole in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.intensities import (
    Limits,
    Moments,
    check_range,
    is_whole,
    limits_from,
    limits_of,
    sample_step,
    to_colours,
)
from osler.datasets.overshoot import bounds_within, extremes_of, overshoot_bounds
from osler.datasets.plan import NormalisationPlan
from osler.datasets.trace import Trace
from osler.errors import Unsuitable
from osler.studies.geometry import Array
from osler.studies.volume import ImageLike, Volume, blocks_of, passing

__all__ = ["Ranges", "box_of_planes", "oriented_planes", "ranges_of"]


@dataclass(frozen=True)
class Ranges:
    """How a channel is scaled, and the bounds of its interpolated voxels (None where they cannot overshoot)."""

    limits: Limits
    bounds: tuple[Array, Array] | None


def oriented_planes(planes: Array, trace: Trace) -> Array:
    """(C, I, J, planes) to the working order of axes, a view; the planes are counted as the source counts them."""
    last = len(trace.order) - 1
    moved = np.transpose(planes, (0, *(axis + 1 for axis in trace.order)))
    flips = [flip and axis != last for flip, axis in zip(trace.flips, trace.order, strict=True)]
    return moved[(slice(None), *(slice(None, None, -1) if flip else slice(None) for flip in flips))]


def box_of_planes(images: Sequence[ImageLike], trace: Trace) -> tuple[slice, ...]:
    """``cropping.box_of`` of the oriented images, which need not be in memory.

    Raises:
        Unsuitable: when there is no voxel that is not 0.
    """
    occupied = [np.zeros(size, bool) for size in trace.source_shape]
    for image in images:
        with passing(image) as planes:
            for start, block in blocks_of(planes, trace.source_shape[2]):
                there: Array = np.any(block, axis=0)
                occupied[0] |= there.any(axis=(1, 2))
                occupied[1] |= there.any(axis=(0, 2))
                occupied[2][start : start + there.shape[2]] |= there.any(axis=(0, 1))
    if not occupied[0].any():
        raise Unsuitable("the study is blank: every value of every channel is 0", remedy="leave out the file")
    box = []
    for axis, flip in zip(trace.order, trace.flips, strict=True):
        here = np.flatnonzero(occupied[axis][::-1] if flip else occupied[axis])
        box.append(slice(int(here[0]), int(here[-1]) + 1))
    return tuple(box)


def ranges_of(image: ImageLike, plan: NormalisationPlan, colours: int, name: str, trace: Trace) -> Ranges:
    """Limits and bounds of one channel; a volume is only read where something of the whole of it is asked for.

    Args:
        image: the channel.
        plan: how it is normalised.
        colours: channels of it that the network sees.
        name: for messages.
        trace: of the study, with its crop.

    Raises:
        Unsuitable: when statistics are asked for and a value is not finite, or all are one.
        StudyError: when the volume turns out to be damaged.
    """
    bounded = 3 in trace.interpolation.there
    if isinstance(image, Volume):
        return _of_volume(image, plan, name, trace, bounded=bounded and not trace.interpolation.antialias)
    array = image.array[trace.source_part]
    limits = _of_data_set(plan) or limits_of(array, plan, colours, name)
    if not bounded:
        return Ranges(limits, None)
    return Ranges(limits, overshoot_bounds(oriented_planes(to_colours(array, colours), trace), trace, limits))


def _of_data_set(plan: NormalisationPlan) -> Limits | None:
    return Limits(plan.low, plan.high, plan.mean, plan.std) if plan.kind == "dataset" else None


def _of_volume(volume: Volume, plan: NormalisationPlan, name: str, trace: Trace, *, bounded: bool) -> Ranges:
    limits = _of_data_set(plan)
    averaged = 3 in trace.interpolation.there and trace.interpolation.antialias
    if limits is None or bounded:
        statistics = _Statistics(plan, trace, name)
        extremes = []
        for start, kept in _kept_blocks(volume, trace):
            statistics.add(start, kept)
            if bounded:
                extremes.append(extremes_of(oriented_planes(kept, trace), trace))
        limits = limits or statistics.limits()
        if bounded:
            return Ranges(limits, bounds_within(_joined(extremes, trace), trace, limits))
    nothing = np.zeros((1, 1, 1, 1))
    return Ranges(limits, overshoot_bounds(nothing, trace, limits) if averaged else None)


def _kept_blocks(volume: Volume, trace: Trace) -> Iterator[tuple[int, Array]]:
    """First plane and voxels (1, I, J, n) of the part that is kept, planes counted from its first."""
    _, across, down, along = trace.source_part
    first, last, _ = along.indices(trace.source_shape[2])
    with volume.open() as planes:
        for start, block in blocks_of(planes, trace.source_shape[2]):
            low, high = max(first, start), min(last, start + block.shape[3])
            if low < high:
                yield low - first, block[:, across, down, low - start : high - start]


def _joined(extremes: Sequence[tuple[Array, Array]], trace: Trace) -> tuple[Array, Array]:
    """Those of all blocks as those of the whole."""
    lowest, highest = zip(*extremes, strict=True)
    axis = trace.order.index(len(trace.order) - 1)  # working axis of the planes
    if trace.interpolation.there[axis] == 0:
        return np.concatenate(lowest, axis=axis + 1), np.concatenate(highest, axis=axis + 1)
    return np.minimum.reduce(lowest), np.maximum.reduce(highest)


class _Statistics:
    """What the limits of a channel are made of: the same sample, or the same moments, as of the whole array."""

    def __init__(self, plan: NormalisationPlan, trace: Trace, name: str) -> None:
        self._plan, self._name = plan, name
        self._lowest, self._highest = np.inf, -np.inf
        self._moments = Moments()
        kept = [trace.kept_shape[trace.order.index(axis)] for axis in range(3)]  # as the source counts
        self._step = sample_step(kept)
        self._shape = tuple(-(-size // self._step) for size in kept)
        self._sample: Array | None = None

    def add(self, start: int, planes: Array) -> None:
        """(1, I, J, n) of the part that is kept."""
        lowest, highest = float(planes.min()), float(planes.max())
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            check_range(self._name, lowest, highest)
        self._lowest, self._highest = min(self._lowest, lowest), max(self._highest, highest)
        if self._plan.kind == "dataset":
            return
        if is_whole(self._plan):
            for n in range(planes.shape[3]):
                self._moments.add(planes[..., n])
            return
        if self._sample is None:
            self._sample = np.empty((1, *self._shape), planes.dtype, order="F")
        first = -start % self._step
        taken = planes[:, :: self._step, :: self._step, first :: self._step]
        place = (start + first) // self._step
        self._sample[..., place : place + taken.shape[3]] = taken

    def limits(self) -> Limits:
        """After the last plane.

        Raises:
            Unsuitable: when all values are one.
        """
        check_range(self._name, self._lowest, self._highest)
        values = self._moments if self._sample is None else self._sample
        return limits_from(values, self._plan, self._lowest, self._highest)
