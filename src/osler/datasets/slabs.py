"""Preparation plane by plane: the same numbers as ``preparation.prepare``, without the study in memory twice.

The planes of the last source axis (K, the one whose planes files hold one after the other) are oriented, clipped and
resampled in-plane as they come, and only as many of them are kept as the next slab of the working grid is made of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from osler.datasets.first_pass import Ranges, box_of_planes, oriented_planes, ranges_of
from osler.datasets.intensities import check_not_blank, check_range, to_colours
from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace, check_images
from osler.datasets.trace import trace_of
from osler.errors import PlanError
from osler.studies.geometry import Array
from osler.studies.resample import AxisMap, axis_map
from osler.studies.volume import ImageLike, Pass, passing

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
    """``planes`` are those of the source; ``stored`` is the range of its values and ``shown`` that of the colours made
    of them, as far as they were read."""

    name: str
    planes: Pass
    ranges: Ranges
    stored: tuple[float, float] = (math.inf, -math.inf)
    shown: tuple[float, float] = (math.inf, -math.inf)


class SlabSource:
    """The network's input in slabs. The story: made from a study, which is gone through first where something of all
    of it is asked for (``first_pass``); entered; ``read`` from the first plane to the last; ``check``; left.

    Along ``axis`` planes are counted as the source counts them, also where the working grid runs the other way
    (``reversed``); on the other axes everything is oriented as the plan wants it.

    Args:
        images: as ``prepare``, in memory or on disk.
        plan: as ``prepare``.

    Raises:
        Unsuitable, PlanError: as ``prepare``; PlanError also where ``fits`` says no.
        StudyError: when an image on disk turns out to be damaged.
    """

    def __init__(self, images: Sequence[ImageLike], plan: Plan) -> None:
        check_images(images, plan)
        self.trace = trace_of(images[0], plan.grid)
        if not fits(self.trace, plan):
            raise PlanError("this study cannot be prepared in slabs", remedy="prepare it whole")
        if plan.grid.crop != "none":
            self.trace = trace_of(images[0], plan.grid, cropped=box_of_planes(images, self.trace))
        self.axis = slab_axis(self.trace)
        self.reversed = self.trace.flips[self.axis]
        self.shape = self.trace.working_shape
        self._plan = plan
        self._images = tuple(images)
        self._ranges = [
            ranges_of(image, normalisation, plan.colours, name, self.trace)
            for name, image, normalisation in zip(plan.channels, images, plan.normalisation, strict=True)
        ]
        ways = self.trace.interpolation
        sizes = zip(self.trace.kept_shape, self.shape, ways.there, strict=True)
        self._maps = [axis_map(before, size, order=order, antialias=ways.antialias) for before, size, order in sizes]
        self._kept: Array | None = None  # (C, *in-plane working, source planes), the planes on self.axis
        self._first = 0  # source plane that ``_kept`` begins with
        self._seen = 0  # source planes that were looked at, counted from the first that is kept
        self._channels: list[_Channel] = []
        self._opened = ExitStack()

    def __enter__(self) -> SlabSource:
        with ExitStack() as undo:
            for name, image, ranges in zip(self._plan.channels, self._images, self._ranges, strict=True):
                self._channels.append(_Channel(name, undo.enter_context(passing(image)), ranges))
            self._opened = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channels.clear()
        self._opened.close()

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
        """After the last plane was read: whether the rest of the study is sound too.

        Raises:
            Unsuitable: when a channel was blank, or is so within its limits.
            StudyError: when an image on disk turns out to be damaged.
        """
        self._pass_over(self._maps[self.axis].before)
        for channel in self._channels:
            channel.planes.finish()
            check_range(channel.name, *channel.stored)
            limits = channel.ranges.limits
            lowest, highest = np.clip(channel.shown, limits.low, limits.high, dtype=np.float32, casting="unsafe")
            check_not_blank(channel.name, limits, float(lowest), float(highest))

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

    def _pass_over(self, until: int) -> None:
        """Look at source planes that nothing is made of: what is wrong with them is wrong with the study."""
        for first in range(self._seen, until, _PLANES):
            for channel in self._channels:
                self._source(channel, first, min(first + _PLANES, until))
        self._seen = max(self._seen, until)

    def _in_plane(self, first: int, stop: int) -> Array:
        self._pass_over(first)
        colours, axes = self._plan.colours, [n for n in range(3) if n != self.axis]
        shape = [self._plan.inputs, *self.shape]
        shape[self.axis + 1] = stop - first
        planes = np.empty(shape, np.float32)
        for n, channel in enumerate(self._channels):
            source, limits = self._source(channel, first, stop), channel.ranges.limits
            oriented = oriented_planes(source, self.trace)
            clipped = np.clip(oriented, limits.low, limits.high, dtype=np.float32, casting="unsafe")
            for one in range(len(clipped)):
                planes[n * colours + one if len(clipped) == colours else slice(n * colours, (n + 1) * colours)] = (
                    _in_plane(clipped[one], self._maps, axes)
                )
        self._seen = stop
        return planes

    def _source(self, channel: _Channel, first: int, stop: int) -> Array:
        """(C, I, J, planes) in colours, of the part that is kept."""
        _, across, down, along = self.trace.source_part
        begin = along.start or 0
        planes = channel.planes.read(begin + first, begin + stop)[:, across, down]
        channel.stored = _widened(channel.stored, planes)
        if not all(map(math.isfinite, channel.stored)):
            check_range(channel.name, *channel.stored)
        colours = to_colours(planes, self._plan.colours)
        channel.shown = channel.stored if colours is planes else _widened(channel.shown, colours)
        return colours

    def _normalise(self, slab: Array, start: int, stop: int) -> Array:
        """Scale the working planes ``start`` to ``stop``, in place."""
        colours = self._plan.colours
        for n, channel in enumerate(self._channels):
            part, limits = slab[n * colours : (n + 1) * colours], channel.ranges.limits
            if channel.ranges.bounds is not None:  # a cubic overshoots at edges
                low, high = (self._planes_of(bound, start, stop) for bound in channel.ranges.bounds)
                np.clip(part, low, high, out=part)
            np.subtract(part, np.float32(limits.mean), out=part)
            np.divide(part, np.float32(limits.std), out=part)
        return slab

    def _planes_of(self, bound: Array, start: int, stop: int) -> Array:
        if bound.shape[self.axis + 1] == 1:
            return bound
        return bound[tuple(slice(start, stop) if n == self.axis + 1 else slice(None) for n in range(4))]


def _widened(known: tuple[float, float], values: Array) -> tuple[float, float]:
    """Lowest and highest of all that was seen; either is NaN when any value is."""
    return float(np.minimum(known[0], values.min())), float(np.maximum(known[1], values.max()))


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
