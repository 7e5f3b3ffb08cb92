"""Flat pictures out of an image, for what is measured in two dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.studies.geometry import Array
from osler.studies.image import Image

__all__ = ["Plane", "grey_of", "moving_extreme", "planes", "reduced", "slice_axis"]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601: how bright a colour looks."""
_COARSER = 1.2
"""A spacing this many times the others' is the distance between slices."""


@dataclass(frozen=True)
class Plane:
    """A cut through an image: ``pixels`` (rows, columns) float32.

    Columns run along image axis ``across``, rows along ``down`` (0 is I). ``axis`` is the one cut through and ``index``
    where (0-based); both None for a picture.
    """

    pixels: Array
    across: int
    down: int
    axis: int | None = None
    index: int | None = None

    def box(self, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """``start`` and ``stop`` (exclusive) along the image's axes of a part of this plane."""
        ends = {self.across: columns, self.down: rows}
        if self.axis is not None and self.index is not None:
            ends[self.axis] = (self.index, self.index + 1)
        ordered = [ends[axis] for axis in sorted(ends)]
        return tuple(low for low, _ in ordered), tuple(high for _, high in ordered)


def slice_axis(image: Image) -> int:
    """The axis that slices follow one another along: that of the coarsest spacing, else the shortest, else the last."""
    spacing, shape = np.array(image.spacing), np.array(image.shape)
    if spacing.max() > _COARSER * np.median(spacing):
        return int(spacing.argmax())
    return int(2 - shape[::-1].argmin())


def planes(image: Image, count: int) -> list[Plane]:
    """The picture itself, or ``count`` slices of a volume, evenly spaced about its middle half.

    Colour becomes grey. A volume of fewer slices gives those that it has.
    """
    if image.dimensions == 2:
        return [Plane(grey_of(image.array).T, 0, 1)]
    axis = slice_axis(image)
    across, down = (a for a in range(3) if a != axis)
    size = image.shape[axis]
    places = np.unique(np.linspace(size / 4, 3 * size / 4, 2 * count + 1)[1::2].astype(int).clip(0, size - 1))
    return [
        Plane(grey_of(np.take(image.array, place, axis=axis + 1)).T, across, down, axis, int(place)) for place in places
    ]


def grey_of(array: Array) -> Array:
    """(C, rows, columns) to (rows, columns) float32: the luma of three channels, the first of others."""
    if array.shape[0] == 3:
        return np.tensordot(_LUMA, array.astype(np.float32), axes=1)
    return np.asarray(array[0], np.float32)


def reduced(pixels: Array, most: int) -> tuple[Array, int]:
    """A picture of at most ``most`` pixels a side, each the mean of a square of ``factor``, and that factor."""
    factor = -(-max(pixels.shape) // most)
    if factor == 1:
        return pixels, 1
    rows, columns = (max(1, n // factor) for n in pixels.shape)
    whole = pixels[: rows * factor, : columns * factor]
    if min(pixels.shape) < factor:
        return pixels[::factor, ::factor], factor
    return whole.reshape(rows, factor, columns, factor).mean(axis=(1, 3)), factor


def moving_extreme(pixels: Array, size: int, function: np.ufunc) -> Array:
    """The minimum (``np.minimum``) or maximum over a square of odd ``size`` about each pixel, edges repeated.

    The same as ``scipy.ndimage.minimum_filter``, and twenty times as fast: ever longer runs out of two shorter ones.
    """
    result = np.pad(pixels, size // 2, mode="edge")
    for axis in (0, 1):
        length = 1
        while length < size:
            step = min(length, size - length)
            low = [slice(None), slice(None)]
            high = [slice(None), slice(None)]
            low[axis], high[axis] = slice(0, -step), slice(step, None)
            result = function(result[tuple(low)], result[tuple(high)])
            length += step
    return result
