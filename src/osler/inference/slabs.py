"""Sliding windows over a study that comes slab by slab; what no later window touches is given away at once.

What is blended is what the network gives before its last layer, or after it: that layer is linear in each voxel, so
blending and applying it can change places, and one blends whichever has fewer channels. Only one patch length of
blended planes is held, in a ring, so memory depends on the patch and the in-plane size and not on the number of planes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Protocol

import numpy as np

from osler.inference.windows import Weights, shares_of, window_starts
from osler.studies.geometry import Array

__all__ = ["Inputs", "Layer", "Select", "Slab", "Slabs", "blend"]

Inputs = Callable[[Generator[Array, None, None]], Iterator[Array]]
_CACHED = 1 << 16
"""Values of one channel that are weighted at once: what lies in a core's own cache between two passes over it."""
_SMALL = 1 << 19
"""Values of a window that are not worth handing to threads."""


class Slabs(Protocol):
    """A study as ``blend`` wants it; see ``datasets.slabs.SlabSource``."""

    axis: int
    reversed: bool
    shape: tuple[int, ...]

    def read(self, start: int, stop: int) -> Array:
        """Planes ``start`` to ``stop`` of ``axis``: (C, \\*shape with that many planes) float32."""


@dataclass(frozen=True)
class Slab:
    """Blended values (F, \\*shape) of the working planes from ``start`` on, counted as the source counts them.

    ``unseen`` (\\*shape) bool are voxels of windows that were not run: they are background whatever ``values`` says;
    None where all windows are run. Both are views: they hold until the next slab is asked for.
    """

    start: int
    values: Array
    unseen: Array | None = None


@dataclass(frozen=True)
class Layer:
    """The windows that begin at one plane, before they are run.

    Args:
        planes: (C, \\*padded) float32, one patch length on ``axis``: what the windows are cut from.
        axis: along which slabs follow each other.
        start: where the windows begin on it, as the source counts planes; below 0 in padding.
        corners: where they begin in ``planes``; 0 on ``axis``.
        patch: shape of a window.
        low: padding before the study's first voxel, per axis.
        shape: of the study.
    """

    planes: Array
    axis: int
    start: int
    corners: Sequence[tuple[int, ...]]
    patch: tuple[int, ...]
    low: tuple[int, ...]
    shape: tuple[int, ...]

    def box(self, corner: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Start and stop of a window per axis, as voxels of the study; what lies in padding is left out."""
        starts = [
            self.start if n == self.axis else c - low for n, (c, low) in enumerate(zip(corner, self.low, strict=True))
        ]
        return tuple(
            (min(max(start, 0), size - 1), max(min(start + length, size), 1))
            for start, length, size in zip(starts, self.patch, self.shape, strict=True)
        )


Select = Callable[[Layer], Sequence[bool]]
"""Which windows of a layer are run, in the order of its corners; asked once per layer, from the first to the last."""


def blend(
    source: Slabs,
    patch: Sequence[int],
    run: Callable[[Array], Array],
    *,
    overlap: float = 0.5,
    batch: int = 1,
    weights: Weights = "floored",
    select: Select | None = None,
    channels: int = 0,
    inputs: Inputs | None = None,
    executor: Executor | None = None,
) -> Iterator[Slab]:
    """Run a network over a study, window by window and layer by layer, and blend what it gives.

    Args:
        source: the study; it is read once from its first plane to its last.
        patch: shape of a window.
        run: maps a batch (B, C, \\*patch) to (B, F, \\*patch) float32 that it does not use again.
        overlap: least fraction of a window that its neighbour covers too.
        batch: windows per call; the result does not depend on it.
        weights: how windows that overlap share a voxel.
        select: which windows to run; None runs all.
        channels: F, needed where ``select`` is given, because it may leave out all windows.
        inputs: what takes the planes of one layer after the other and hands them on, perhaps ahead of time.
        executor: where channels are added up; None adds them one by one.

    Yields:
        Slabs that follow each other and together are the whole study.

    Raises:
        PlanError: when patch or overlap are out of range.
    """
    layout = _Layout.of(source, patch, overlap, weights)
    ring = None if select is None else _Ring(channels, layout, executor, marking=True)
    layers = layout.inputs(source)
    for number, planes in enumerate(layers if inputs is None else inputs(layers)):
        start = layout.layers[number]
        chosen = layout.corners
        if select is not None and ring is not None:
            kept = select(layout.layer(planes, start))
            chosen = [corner for corner, keep in zip(layout.corners, kept, strict=True) if keep]
            ring.mark(start, [corner for corner, keep in zip(layout.corners, kept, strict=True) if not keep])
        for corners in _groups(chosen, batch):
            found = run(np.stack([layout.window(planes, corner) for corner in corners]))
            if ring is None:
                ring = _Ring(found.shape[1], layout, executor)
            for corner, values in zip(corners, found, strict=True):
                ring.add(start, corner, values)
            del found, values  # before the next answers, which are as large
        if ring is None:
            return
        following = layout.layers[number + 1] if number + 1 < len(layout.layers) else layout.padded[layout.axis]
        yield from ring.take(start, following)


@dataclass(frozen=True)
class _Layout:
    """Where windows lie. ``padded`` is the study with what is missing to one patch, ``low`` how much of it comes first;
    ``layers`` are the starts of windows along ``axis`` as the source counts planes, ``corners`` those on the others."""

    axis: int
    reversed: bool
    shape: tuple[int, ...]
    patch: tuple[int, ...]
    padded: tuple[int, ...]
    low: tuple[int, ...]
    layers: list[int]
    corners: list[tuple[int, ...]]
    shares: list[dict[int, Array]]

    @classmethod
    def of(cls, source: Slabs, patch: Sequence[int], overlap: float, weights: Weights) -> _Layout:
        axis, shape = source.axis, source.shape
        padded = tuple(max(s, p) for s, p in zip(shape, patch, strict=True))
        low = [(full - s) // 2 for full, s in zip(padded, shape, strict=True)]
        starts = window_starts(padded, patch, overlap)
        shares = [shares_of(s, p, n, weights) for s, p, n in zip(starts, patch, padded, strict=True)]
        if source.reversed:  # windows lie where they would lie on the oriented grid
            low[axis] = padded[axis] - shape[axis] - low[axis]
            last = padded[axis] - patch[axis]
            starts[axis] = sorted(last - start for start in starts[axis])
            shares[axis] = {last - start: np.flip(share) for start, share in shares[axis].items()}
        others = [[0] if n == axis else s for n, s in enumerate(starts)]
        return cls(
            axis,
            source.reversed,
            shape,
            tuple(patch),
            padded,
            tuple(low),
            starts[axis],
            list(product(*others)),
            shares,
        )

    def inputs(self, source: Slabs) -> Generator[Array, None, None]:
        r"""(C, \*padded, patch length on the axis) of one layer after the other."""
        planes: Array | None = None
        for number in range(len(self.layers)):
            planes = self.input_of(source, planes, number)
            yield planes

    def input_of(self, source: Slabs, before: Array | None, number: int) -> Array:
        """The planes of a layer, in-plane padding included; those that the layer before had are moved."""
        start, length = self.layers[number], self.patch[self.axis]
        known = 0 if before is None else self.layers[number - 1] + length - start
        parts = [] if before is None or known <= 0 else [self._along(before, slice(length - known, length))]
        parts.append(self._read(source, start + max(known, 0), start + length))
        return np.concatenate(parts, axis=self.axis + 1) if len(parts) > 1 else parts[0]

    def _read(self, source: Slabs, start: int, stop: int) -> Array:
        low, size = self.low[self.axis], self.shape[self.axis]
        first, last = max(start - low, 0), min(stop - low, size)
        slab = source.read(first, last)
        widths = [(low, full - s - low) for low, full, s in zip(self.low, self.padded, self.shape, strict=True)]
        widths[self.axis] = (first + low - start, stop - last - low)
        return np.pad(slab, [(0, 0), *widths]) if any(w != (0, 0) for w in widths) else slab

    def _along(self, array: Array, part: slice) -> Array:
        return array[tuple(part if n == self.axis + 1 else slice(None) for n in range(array.ndim))]

    def window(self, planes: Array, corner: tuple[int, ...]) -> Array:
        """(C, \\*patch), oriented as the network wants it."""
        place = tuple(slice(c, c + p) for c, p in zip(corner, self.patch, strict=True))
        found = planes[(slice(None), *place)]
        return np.flip(found, self.axis + 1) if self.reversed else found

    def layer(self, planes: Array, start: int) -> Layer:
        """What ``select`` is asked about."""
        begin = start - self.low[self.axis]
        return Layer(planes, self.axis, begin, self.corners, self.patch, self.low, self.shape)

    def weights(self, start: int, corner: tuple[int, ...]) -> Array:
        """(\\*patch) of a window; those of all windows sum to one everywhere."""
        places = [start if n == self.axis else c for n, c in enumerate(corner)]
        return reduce(np.multiply.outer, (share[place] for share, place in zip(self.shares, places, strict=True)))


class _Ring:
    """Blended planes of one patch length; plane n lies at n modulo that length. With ``marking`` also which voxels lie
    in a window that was not run."""

    def __init__(self, channels: int, layout: _Layout, executor: Executor | None, *, marking: bool = False) -> None:
        self._layout = layout
        self._length = layout.patch[layout.axis]
        shape = tuple(self._length if n == layout.axis else size for n, size in enumerate(layout.padded))
        self._values = np.zeros((channels, *shape), np.float32)
        self._unseen = np.zeros(shape, np.bool_) if marking else None
        self._each: Callable[..., Iterator[None]] = map if executor is None else executor.map

    def add(self, start: int, corner: tuple[int, ...], values: Array) -> None:
        r"""Add a window (F, \*patch) of the layer that begins at ``start``, weighted."""
        layout, axis = self._layout, self._layout.axis
        if layout.reversed:
            values = np.flip(values, axis + 1)
        weights = layout.weights(start, corner)
        places = [slice(c, c + p) for c, p in zip(corner, layout.patch, strict=True)]
        pieces = [
            piece
            for own, rings in self._pieces(start, start + self._length)
            for piece in _cut(places, axis, own, rings)
        ]

        def add_channel(channel: Array, blended: Array) -> None:
            for here, there in pieces:
                blended[there] += channel[here] * weights[here]

        each = map if values.size < _SMALL else self._each
        for _ in each(add_channel, values, self._values):
            pass

    def mark(self, start: int, corners: Sequence[tuple[int, ...]]) -> None:
        """Windows of the layer that begins at ``start`` are not run."""
        if self._unseen is None:
            return
        for corner in corners:
            place = [slice(c, c + p) for c, p in zip(corner, self._layout.patch, strict=True)]
            for _, rings in self._pieces(start, start + self._length):
                place[self._layout.axis] = rings
                self._unseen[tuple(place)] = True

    def take(self, start: int, stop: int) -> Iterator[Slab]:
        """The planes from ``start`` to ``stop``, padding left out; their places are free afterwards."""
        layout, axis = self._layout, self._layout.axis
        low, size = layout.low[axis], layout.shape[axis]
        place = [slice(low, low + n) for low, n in zip(layout.low, layout.shape, strict=True)]
        first, last = max(start, low), min(stop, low + size)
        for own, rings in self._pieces(first, last) if last > first else ():
            place[axis] = rings
            unseen = None if self._unseen is None else self._unseen[tuple(place)]
            yield Slab(first - low + own.start, self._values[(slice(None), *place)], unseen)
        for _, rings in self._pieces(start, stop):
            whole = [slice(None)] * len(place)
            whole[axis] = rings
            self._values[(slice(None), *whole)] = 0
            if self._unseen is not None:
                self._unseen[tuple(whole)] = False

    def _pieces(self, start: int, stop: int) -> list[tuple[slice, slice]]:
        """The planes as at most two stretches: where they lie among themselves, and in the ring."""
        first, count = start % self._length, stop - start
        here = min(count, self._length - first)
        pieces = [(slice(0, here), slice(first, first + here))]
        return pieces if here == count else [*pieces, (slice(here, count), slice(0, count - here))]


def _cut(
    places: Sequence[slice], axis: int, own: slice, rings: slice
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Where pieces of a window lie in it and in the ring, each small enough for the cache.

    Args:
        places: of the window on the other axes.
        axis: that of the planes.
        own: planes of the window.
        rings: the same planes in the ring.
    """
    sizes = [part.stop - part.start for part in (*places[:axis], own, *places[axis + 1 :])]
    rows = max(1, _CACHED // int(np.prod(sizes[1:])))
    for first in range(0, sizes[0], rows):
        count = min(rows, sizes[0] - first)
        here, there = [slice(0, size) for size in sizes], list(places)
        here[axis], there[axis] = own, rings
        here[0] = slice(here[0].start + first, here[0].start + first + count)
        there[0] = slice(there[0].start + first, there[0].start + first + count)
        yield tuple(here), tuple(there)


def _groups(items: list[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
