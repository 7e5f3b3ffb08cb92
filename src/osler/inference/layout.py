"""Where the windows of a study lie that comes slab by slab, and the planes that each layer of them is cut from."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Protocol

import numpy as np

from osler.inference.windows import Weights, shares_of, window_starts
from osler.studies.geometry import Array

__all__ = ["Layer", "Layout", "Slabs", "row_axis"]


def row_axis(axis: int, shape: Sequence[int]) -> int:
    """Along which rows of windows follow each other within a layer: the longest axis but that of the planes."""
    return max((n for n in range(len(shape)) if n != axis), key=lambda n: shape[n])


class Slabs(Protocol):
    """A study as ``blend`` wants it; see ``datasets.slabs.SlabSource``."""

    axis: int
    reversed: bool
    shape: tuple[int, ...]

    def read(self, start: int, stop: int) -> Array:
        """Planes ``start`` to ``stop`` of ``axis``: (C, \\*shape with that many planes) float32."""


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


@dataclass(frozen=True)
class Layout:
    """Where windows lie. ``padded`` is the study with what is missing to one patch, ``low`` how much of it comes first;
    ``layers`` are the starts of windows along ``axis`` as the source counts planes, ``rows`` those along ``row_axis``,
    ``corners`` those on all axes but ``axis``, row by row."""

    axis: int
    row_axis: int
    reversed: bool
    shape: tuple[int, ...]
    patch: tuple[int, ...]
    padded: tuple[int, ...]
    low: tuple[int, ...]
    layers: list[int]
    rows: list[int]
    corners: list[tuple[int, ...]]
    shares: list[dict[int, Array]]

    @classmethod
    def of(cls, source: Slabs, patch: Sequence[int], overlap: float, weights: Weights) -> Layout:
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
        row = row_axis(axis, shape)
        return cls(
            axis,
            row,
            source.reversed,
            shape,
            tuple(patch),
            padded,
            tuple(low),
            starts[axis],
            others[row],
            sorted(product(*others), key=lambda corner: corner[row]),
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
