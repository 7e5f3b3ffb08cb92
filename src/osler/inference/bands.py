"""What is blended of a study while windows still add to it: rows of planes, each given away as soon as it is final.

Layers of windows follow each other along one axis, and rows of windows along another within a layer. Of a layer, a band
of rows is final once the next row of windows begins beyond it; of its planes, those before the next layer. So all
planes of a patch are held only for the rows that the windows at work touch, and for the others only the planes that the
next layer adds to. These wait in the type of what is added: where the network answers in bfloat16, sums that wait are
bfloat16 as well, which is off by no more than the answers are; they are added up in float32.
"""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from osler.inference.layout import Layout
from osler.studies.geometry import Array

__all__ = ["Bands", "Block"]

_Each = Callable[..., Iterator[None]]

_CACHED = 1 << 16
"""Values of one channel that are weighted at once: what lies in a core's own cache between two passes over it."""
_MOST_ROWS = 24
"""Rows of a band: while it gives planes back it is there twice."""
_SMALL = 1 << 19
"""Values of a window that are not worth handing to threads."""
_OWN = {} if sys.platform == "win32" else {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}
"""How memory is asked for that nobody else shares, which is also the faster kind."""


@dataclass(frozen=True)
class Block:
    """Blended values (F, \\*S) of the working voxels from ``origin`` on, its plane counted as the source counts them.

    ``unseen`` (\\*S) bool are voxels of windows that were not run: they are background whatever ``values`` says; None
    where all windows are run. Both are views: they hold until the next block is asked for.
    """

    origin: tuple[int, ...]
    values: Array
    unseen: Array | None = None

    @property
    def place(self) -> tuple[slice, ...]:
        """Its voxels in the study."""
        return tuple(slice(o, o + n) for o, n in zip(self.origin, self.values.shape[1:], strict=True))


class Bands:
    """The story: of each layer, windows are added row by row, and ``finish`` gives what no later one touches.

    Args:
        channels: F.
        layout: of the windows.
        executor: where channels are added up; None adds them one by one.
        marking: keep which voxels lie in a window that was not run.
    """

    def __init__(self, channels: int, layout: Layout, executor: Executor | None, *, marking: bool = False) -> None:
        self._layout, self._channels, self._marking = layout, channels, marking
        edges = [*layout.rows, layout.padded[layout.row_axis]]
        self._bands = [
            _Band(first, min(first + _MOST_ROWS, last))
            for begin, last in pairwise(edges)
            for first in range(begin, last, _MOST_ROWS)
        ]
        self._each: _Each = map if executor is None else executor.map
        self._start = self._following = self._finished = 0
        self._left_out: Sequence[tuple[int, ...]] = ()
        self._dtype: np.dtype[Any] = np.dtype(np.float32)

    def begin(self, start: int, following: int, left_out: Sequence[tuple[int, ...]] = ()) -> None:
        """A layer of windows at ``start``, the next one at ``following``; ``left_out`` are not run."""
        self._start, self._following, self._left_out, self._finished = start, following, left_out, 0

    def add(self, corner: tuple[int, ...], values: Array) -> None:
        r"""Add a window (F, \*patch) of the layer, weighted."""
        layout, self._dtype = self._layout, values.dtype
        if layout.reversed:
            values = np.flip(values, layout.axis + 1)
        weights = layout.weights(self._start, corner)
        for band, here, there in self._touched(corner):
            blended = self._open(band)
            pieces = list(_cut(here, there))

            def add_channel(channel: Array, sums: Array, pieces: list[_Pair] = pieces) -> None:
                for own, other in pieces:
                    sums[other] += channel[own].astype(np.float32, copy=False) * weights[own]

            each = map if values.size < _SMALL else self._each
            for _ in each(add_channel, values, blended):
                pass

    def finish(self, row: int) -> Iterator[Block]:
        """Bands of the layer that no window from ``row`` on touches, with the planes before the next layer."""
        while self._finished < len(self._bands) and self._bands[self._finished].last <= row:
            band = self._bands[self._finished]
            self._open(band)
            block = self._block(band)
            if block is not None:
                yield block
            del block  # or it would hold the planes that are given back here
            band.forget(self._layout.axis, self._following, self._dtype, self._each)
            self._finished += 1

    def _open(self, band: _Band) -> Array:
        """Its values (F, \\*S), of all planes of the layer."""
        layout, start = self._layout, self._start
        length = layout.patch[layout.axis]
        opened = band.opened(layout.axis, start, length)
        if opened is not None:
            return opened
        shape = list(layout.padded)
        shape[layout.axis], shape[layout.row_axis] = length, band.last - band.first
        values = band.extend(layout.axis, start, (self._channels, *shape), self._each, marking=self._marking)
        if band.unseen is not None:
            for corner in self._left_out:
                for other, _, there in self._touched(corner):
                    if other is band:
                        band.unseen[there] = True
        return values

    def _touched(self, corner: tuple[int, ...]) -> Iterator[tuple[_Band, tuple[slice, ...], tuple[slice, ...]]]:
        """Bands that a window of the layer touches, with what they share: in the window, and in the band."""
        layout, row = self._layout, self._layout.row_axis
        for band in self._bands:
            first, last = max(band.first, corner[row]), min(band.last, corner[row] + layout.patch[row])
            if first < last:
                here = [slice(0, length) for length in layout.patch]
                there = [slice(c, c + length) for c, length in zip(corner, layout.patch, strict=True)]
                here[row] = slice(first - corner[row], last - corner[row])
                there[row] = slice(first - band.first, last - band.first)
                yield band, tuple(here), tuple(there)

    def _block(self, band: _Band) -> Block | None:
        """What is final of a band, padding left out; None where that is nothing."""
        layout = self._layout
        begins, ends = [0] * len(layout.padded), list(layout.padded)
        begins[layout.row_axis], ends[layout.row_axis] = band.first, band.last
        begins[layout.axis], ends[layout.axis] = self._start, self._following
        first = [max(begin, low) for begin, low in zip(begins, layout.low, strict=True)]
        last = [min(end, low + size) for end, low, size in zip(ends, layout.low, layout.shape, strict=True)]
        if band.values is None or any(one >= other for one, other in zip(first, last, strict=True)):
            return None
        place = tuple(slice(a - begin, b - begin) for a, b, begin in zip(first, last, begins, strict=True))
        origin = tuple(a - low for a, low in zip(first, layout.low, strict=True))
        unseen = None if band.unseen is None else band.unseen[place]
        return Block(origin, band.values[(slice(None), *place)], unseen)


class _Band:
    """Rows ``first`` to ``last`` of the planes from ``plane`` on: ``values`` (F, \\*S), and ``unseen`` (\\*S) bool."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last, self.plane = first, last, 0
        self.values: Array | None = None
        self.unseen: Array | None = None

    def opened(self, axis: int, start: int, length: int) -> Array | None:
        """Its values, float32, where all of these planes are there to be added to; else None."""
        values = self.values
        there = values is not None and self.plane == start and values.shape[axis + 1] == length
        return values if there else None

    def extend(self, axis: int, start: int, shape: tuple[int, ...], each: _Each, *, marking: bool) -> Array:
        """To planes from ``start`` on, ``shape`` in all; new ones are zero."""
        before, marked, plane = self.values, self.unseen, self.plane
        values = self.values = _zeros(shape, np.dtype(np.float32))
        self.plane = start
        self.unseen = np.zeros(shape[1:], np.bool_) if marking else None
        if before is not None:
            known = slice(start - plane, None)
            count = before.shape[axis + 1] - known.start
            _copy(_planes(values, axis + 1, slice(0, count)), _planes(before, axis + 1, known), each)
            if marked is not None and self.unseen is not None:
                _planes(self.unseen, axis, slice(0, count))[...] = _planes(marked, axis, known)
        return values

    def forget(self, axis: int, following: int, dtype: np.dtype[Any], each: _Each) -> None:
        """Keep the planes from ``following`` on, as ``dtype``, and the memory of no others."""
        if self.values is None:
            return
        kept = slice(following - self.plane, None)
        if kept.start >= self.values.shape[axis + 1]:
            self.values = self.unseen = None
            return
        waiting = _planes(self.values, axis + 1, kept)
        self.values = _zeros(waiting.shape, dtype)
        _copy(self.values, waiting, each)
        self.unseen = None if self.unseen is None else _planes(self.unseen, axis, kept).copy()
        self.plane = following


_Pair = tuple[tuple[slice, ...], tuple[slice, ...]]


def _copy(target: Array, source: Array, each: _Each) -> None:
    """Channel by channel, to another type where they differ."""
    for _ in each(lambda to, what: np.copyto(to, what, casting="unsafe"), target, source):
        pass


def _zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Zeros in memory of their own, which goes back to the system with them. What is allocated in the usual way stays
    with the process when it is of some megabytes: the gaps that bands of changing size leave came to 250 MB."""
    count = int(np.prod(shape))
    room = mmap.mmap(-1, max(1, count * dtype.itemsize), **_OWN)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # as NumPy asks for its large arrays
        room.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(room, dtype, count=count).reshape(shape)


def _planes(array: Array, axis: int, part: slice) -> Array:
    return array[(slice(None),) * axis + (part,)]


def _cut(here: Sequence[slice], there: Sequence[slice]) -> Iterator[_Pair]:
    """Two equal boxes as pairs of pieces, each small enough for the cache."""
    sizes = [part.stop - part.start for part in here]
    rows = max(1, _CACHED // int(np.prod(sizes[1:])))
    for first in range(0, sizes[0], rows):
        count = min(rows, sizes[0] - first)
        own, other = ((slice(box[0].start + first, box[0].start + first + count), *box[1:]) for box in (here, there))
        yield own, other
