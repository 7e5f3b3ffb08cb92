"""Preparation plane by plane: the same numbers as ``preparation.prepare``, without the study in memory twice.

The planes of the last source axis (K, the one whose planes files hold one after the other) are oriented, clipped and
resampled in-plane as they come, and only as many of them are kept as the next slab of the working grid is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.intensities import Limits, check_not_blank, limits_of, to_colours
from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace, check_images, trace_of
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
    """Whether a study can be prepared in slabs: it is 3D, was not tilted, and is not padded to a shape."""
    return plan.dimensions == 3 and plan.grid.resize == "spacing" and trace.upright is None


@dataclass
class _Channel:
    name: str
    image: Image
    limits: Limits
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
        self.trace = trace_of(images[0], plan.grid)
        if not fits(self.trace, plan):
            raise PlanError("this study cannot be prepared in slabs", remedy="prepare it whole")
        self.axis = slab_axis(self.trace)
        self.reversed = self.trace.flips[self.axis]
        self.shape = self.trace.working_shape
        self._plan = plan
        self._channels = [
            _Channel(name, image, limits_of(image.array, normalisation, plan.colours, name))
            for name, image, normalisation in zip(plan.channels, images, plan.normalisation, strict=True)
        ]
        pairs = zip(self.trace.oriented_shape, self.shape, strict=True)
        self._maps = [axis_map(before, size, order=plan.grid.order) for before, size in pairs]
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
        return self._normalise(kept.copy() if same else _multiply(along.matrix(start, stop), kept, self.axis + 1))

    def check(self) -> None:
        """After the last plane was read.

        Raises:
            Unsuitable: when a channel was blank within its limits.
        """
        for channel in self._channels:
            check_not_blank(channel.name, channel.limits, channel.lowest, channel.highest)

    def _extend(self, low: int, high: int) -> Array:
        """Source planes ``low`` to ``high``, oriented, clipped and resampled in-plane."""
        parts = []
        done = low
        if self._kept is not None:
            done = self._first + self._kept.shape[self.axis + 1]
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
            source = to_colours(channel.image.array[..., first:stop], colours)
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

    def _normalise(self, slab: Array) -> Array:
        colours = self._plan.colours
        for n, channel in enumerate(self._channels):
            part, limits = slab[n * colours : (n + 1) * colours], channel.limits
            if self._plan.grid.order == 3:  # a cubic overshoots at edges
                np.clip(part, limits.low, limits.high, out=part)
            np.subtract(part, np.float32(limits.mean), out=part)
            np.divide(part, np.float32(limits.std), out=part)
        return slab


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
