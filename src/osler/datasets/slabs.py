"""Preparation plane by plane: the same numbers as ``preparation.prepare``, without the study in memory twice.

The planes of the last source axis (K, the one whose planes files hold one after the other) are oriented, clipped and
resampled in-plane as they come, and only as many of them are kept as the next slab of the working grid is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.intensities import Limits, check_not_blank, limits_of, to_colours
from osler.datasets.overshoot import overshoot_bounds
from osler.datasets.plan import NormalisationPlan, Plan
from osler.datasets.preparation import Trace, check_images, cropped_trace
from osler.errors import PlanError
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.resample import AxisMap, axis_map

__all__ = ["SlabSource", "fits", "slab_axis"]

_PLANES = 16
"""Source planes that are prepared at once."""


def slab_axis(trace: Trace) -> int:
    """The working axis along which slabs follow each other: that of the source's last axis."""
    return trace.order.index(len(trace.order) - 1)


def fits(trace: Trace, plan: Plan) -> bool:
    """Whether a study can be prepared in slabs: it is 3D, was not tilted, is not padded to a shape, and needs nothing
    of the whole study but its range and its moments."""
    if plan.dimensions != 3 or plan.grid.resize != "spacing" or trace.upright is not None:
        return False
    if any(one.over == "nonzero" for one in plan.normalisation):  # holes are filled in the whole study
        return False
    axis, ways = slab_axis(trace), trace.interpolation
    # The nearest of two voxels that are equally near is another one where planes are counted from the other end.
    return not (trace.flips[axis] and 0 in (ways.there[axis], ways.back[axis]))


@dataclass
class _Channel:
    """``array`` is the part of the source that is kept; ``bounds`` are those of interpolated voxels, planes on the slab
    axis."""

    name: str
    array: Array
    limits: Limits
    bounds: tuple[Array, Array]
    lowest: float = float("inf")
    highest: float = float("-inf")


class SlabSource:
    """The network's input in slabs. The story: made from a study, ``read`` from the first plane to the last, ``check``.

    Along ``axis`` planes are counted as the source counts them, also where the working grid runs the other way
    (``reversed``); on the other axes everything is oriented as the plan wants it.

    Args:
        images: as ``prepare``.
        plan: as ``prepare``.

    Raises:
        Unsuitable, PlanError: as ``prepare``; PlanError also where ``fits`` says no.
    """

    def __init__(self, images: Sequence[Image], plan: Plan) -> None:
        check_images(images, plan)
        self.trace = cropped_trace(images, plan)
        if not fits(self.trace, plan):
            raise PlanError("this study cannot be prepared in slabs", remedy="prepare it whole")
        self.axis = slab_axis(self.trace)
        self.reversed = self.trace.flips[self.axis]
        self.shape = self.trace.working_shape
        self._plan = plan
        self._channels = [
            self._channel(name, image, normalisation)
            for name, image, normalisation in zip(plan.channels, images, plan.normalisation, strict=True)
        ]
        ways = self.trace.interpolation
        sizes = zip(self.trace.kept_shape, self.shape, ways.there, strict=True)
        self._maps = [axis_map(before, size, order=order, antialias=ways.antialias) for before, size, order in sizes]
        self._kept: Array | None = None  # (C, *in-plane working, source planes), the planes on self.axis
        self._first = 0  # source plane that ``_kept`` begins with

    def read(self, start: int, stop: int) -> Array:
        """Working planes ``start`` to ``stop``: (C, \\*working, the planes on ``axis``) float32, normalised.

        Each call begins where the one before began or later.
        """
        along = self._maps[self.axis]
        low, high = along.needs(start, stop)
        kept = self._extend(low, high)
        same = along.size == along.before
        slab = kept.copy() if same else _multiply(along.matrix(start, stop), kept, self.axis + 1)
        return self._normalise(slab, start, stop)

    def check(self) -> None:
        """After the last plane was read.

        Raises:
            Unsuitable: when a channel was blank within its limits.
        """
        for channel in self._channels:
            check_not_blank(channel.name, channel.limits, channel.lowest, channel.highest)

    def _channel(self, name: str, image: Image, normalisation: NormalisationPlan) -> _Channel:
        array = image.array[self.trace.source_part]
        limits = limits_of(array, normalisation, self._plan.colours, name)
        bounds = overshoot_bounds(self._orient(to_colours(array, self._plan.colours)), self.trace, limits)
        return _Channel(name, array, limits, bounds)

    def _extend(self, low: int, high: int) -> Array:
        """Source planes ``low`` to ``high``, oriented, clipped and resampled in-plane."""
        parts = []
        done = low
        if self._kept is not None:
            done = max(low, self._first + self._kept.shape[self.axis + 1])  # thinning out leaves planes unread
            keep = [slice(None)] * 4
            keep[self.axis + 1] = slice(low - self._first, None)
            parts.append(self._kept[tuple(keep)])
        for first in range(done, high, _PLANES):
            parts.append(self._in_plane(first, min(first + _PLANES, high)))
        self._kept = np.concatenate(parts, axis=self.axis + 1) if len(parts) > 1 else parts[0]
        self._first = low
        stop = [slice(None)] * 4
        stop[self.axis + 1] = slice(0, high - low)
        return self._kept[tuple(stop)]

    def _in_plane(self, first: int, stop: int) -> Array:
        colours, axes = self._plan.colours, [n for n in range(3) if n != self.axis]
        shape = [self._plan.inputs, *self.shape]
        shape[self.axis + 1] = stop - first
        planes = np.empty(shape, np.float32)
        for n, channel in enumerate(self._channels):
            source = to_colours(channel.array[..., first:stop], colours)
            limits = channel.limits
            clipped = np.clip(self._orient(source), limits.low, limits.high, dtype=np.float32, casting="unsafe")
            channel.lowest = min(channel.lowest, float(clipped.min()))
            channel.highest = max(channel.highest, float(clipped.max()))
            for one in range(len(clipped)):
                planes[n * colours + one if len(clipped) == colours else slice(n * colours, (n + 1) * colours)] = (
                    _in_plane(clipped[one], self._maps, axes)
                )
        return planes

    def _orient(self, planes: Array) -> Array:
        """(C, I, J, planes) to the working order of axes, the planes as the source counts them."""
        moved = np.transpose(planes, (0, *(a + 1 for a in self.trace.order)))
        flips = [flip and n != self.axis for n, flip in enumerate(self.trace.flips)]
        return moved[(slice(None), *(slice(None, None, -1) if flip else slice(None) for flip in flips))]

    def _normalise(self, slab: Array, start: int, stop: int) -> Array:
        """Scale the working planes ``start`` to ``stop``, in place."""
        colours = self._plan.colours
        for n, channel in enumerate(self._channels):
            part, limits = slab[n * colours : (n + 1) * colours], channel.limits
            if 3 in self.trace.interpolation.there:  # a cubic overshoots at edges
                low, high = (self._planes_of(bound, start, stop) for bound in channel.bounds)
                np.clip(part, low, high, out=part)
            np.subtract(part, np.float32(limits.mean), out=part)
            np.divide(part, np.float32(limits.std), out=part)
        return slab

    def _planes_of(self, bound: Array, start: int, stop: int) -> Array:
        if bound.shape[self.axis + 1] == 1:
            return bound
        return bound[tuple(slice(start, stop) if n == self.axis + 1 else slice(None) for n in range(4))]


def _in_plane(channel: Array, maps: Sequence[AxisMap], axes: Sequence[int]) -> Array:
    """(\\*oriented) to (\\*working) on the two axes; those that shrink most first."""
    for axis in sorted(axes, key=lambda a: (maps[a].size / maps[a].before, -a)):
        if maps[axis].size != maps[axis].before:
            channel = maps[axis].apply(channel, axis)
    return channel


def _multiply(matrix: Array, array: Array, axis: int) -> Array:
    """``matrix`` (out, in) times one axis of ``array``."""
    moved = np.moveaxis(array, axis, -1)
    return np.ascontiguousarray(np.moveaxis(moved @ matrix.T, -1, axis))
