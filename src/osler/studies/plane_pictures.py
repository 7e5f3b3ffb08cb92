"""The picture of a volume and its mask that are both on disk: the same as ``pictures.overlay`` draws of arrays.

Which planes are shown is known from counts of labelled voxels along each axis. One pass through the image and the mask
takes these planes out, and what the window is made of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from osler.studies.geometry import Array, flip_and_permute
from osler.studies.pictures import drawn
from osler.studies.views import (
    AIR,
    BRIGHTNESS,
    View,
    chosen_planes,
    cut_view,
    display_axes,
    percentile_window,
    sample_stride,
    through_curve,
    window_from,
)
from osler.studies.volume import ImageLike, alike, blocks_of, passing

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["overlay_of_planes"]


def overlay_of_planes(
    image: ImageLike,
    mask: ImageLike,
    labels: Mapping[int, str],
    counts: Sequence[Array],
    *,
    caption: str = "",
    lines: Sequence[str] = (),
) -> PIL.Image.Image:
    """As ``pictures.overlay`` without a truth.

    Args:
        image: 3D.
        mask: label values on its grid, 0 is background.
        labels: name by mask value.
        counts: voxels of any label at each index of I, J and K.
        caption: the study's name.
        lines: what was answered.

    Raises:
        StudyError: when either turns out to be damaged.
    """
    shown = _Displayed(image, counts)
    pixels, values = _Cut(image, shown.places), _Cut(mask, shown.places)
    window = _Window(image)
    with passing(image) as voxels, passing(mask) as classes:
        both = zip(blocks_of(voxels, image.shape[2]), blocks_of(classes, image.shape[2]), strict=True)
        for (start, block), (_, mask_block) in both:
            pixels.add(start, block)
            values.add(start, mask_block)
            window.add(start, block, mask_block)
    views = [
        shown.view(image, number, pixels.planes[axis], values.planes[axis]) for number, axis in enumerate(shown.axes)
    ]
    names = {value: name for value, name in labels.items() if value != 0}
    return drawn(image, views, window.chosen(), names, caption=caption, lines=lines)


class _Displayed:
    """Which planes are shown, and how: ``axes`` of the source that they are perpendicular to, ``places`` along all."""

    def __init__(self, image: ImageLike, counts: Sequence[Array]) -> None:
        self._order, self._flips, self._codes, self._spacing = display_axes(image)
        self._planes = chosen_planes([image.shape[axis] for axis in self._order], self._spacing)
        self.axes = [self._order[plane[0]] for plane in self._planes]
        self.places = [0, 0, 0]
        self._shown: list[tuple[int, int]] = []
        for plane in self._planes:
            axis, flipped = self._order[plane[0]], self._flips[plane[0]]
            count = counts[axis][::-1] if flipped else counts[axis]
            place = int(count.argmax()) if count.any() else count.size // 2
            self._shown.append((place, count.size))
            self.places[axis] = count.size - 1 - place if flipped else place

    def view(self, image: ImageLike, number: int, pixels: Array, mask: Array) -> View:
        """Of the plane with this number, from (C, I, J, K) of size 1 along its axis."""
        own = through_curve(alike(image, pixels))
        turned, affine = flip_and_permute(own.array, image.affine, self._order, self._flips)
        labels, _ = flip_and_permute(mask, affine, self._order, self._flips)
        plane, place = self._planes[number], self._shown[number]
        return cut_view(turned[0], [labels[0], None, None], self._codes, self._spacing, plane, place)


class _Cut:
    """``planes[axis]``: (C, I, J, K) of size 1 along the axis, taken out of blocks of planes of K."""

    def __init__(self, image: ImageLike, places: Sequence[int]) -> None:
        self._shape, self._places = image.shape, places
        self.planes: list[Array] = []

    def add(self, start: int, block: Array) -> None:
        stop = start + block.shape[3]
        if not self.planes:
            shapes = [[1 if n == axis else size for n, size in enumerate(self._shape)] for axis in range(3)]
            self.planes = [np.empty((block.shape[0], *shape), block.dtype) for shape in shapes]
        across, down, along = self._places
        self.planes[0][..., start:stop] = block[:, across : across + 1]
        self.planes[1][..., start:stop] = block[:, :, down : down + 1]
        if start <= along < stop:
            self.planes[2][...] = block[..., along - start : along - start + 1]


class _Window:
    """What ``views.window_of`` asks of the voxels, gathered block by block."""

    def __init__(self, image: ImageLike) -> None:
        self._image = image
        self._straight = image.curve is None or image.channels != 1
        of_ct = image.modality == "CT" or image.units == "HU"
        self._asks_air = self._straight and of_ct and image.window is None
        self._asks_sample = self._straight and not of_ct
        self._sample: list[Array] = []
        self._inside, self._below, self._under, self._over = 0, 0, -np.inf, np.inf

    def add(self, start: int, block: Array, mask: Array) -> None:
        """(C, I, J, n) and (1, I, J, n) of the planes from ``start`` on."""
        if self._asks_air:
            self._add_inside(block[0][mask[0] > 0])
        if self._asks_sample:
            self._sample.append(self._taken(start, block[0]))

    def chosen(self) -> tuple[float, float]:
        """(centre, width)."""
        if not self._straight:
            return BRIGHTNESS
        return window_from(self._image, self._on_air, lambda: percentile_window(np.concatenate(self._sample)))

    def _add_inside(self, values: Array) -> None:
        below = values[values < AIR]
        above = values[values >= AIR]
        self._inside += values.size
        self._below += below.size
        self._under = max(self._under, float(below.max(initial=-np.inf)))
        self._over = min(self._over, float(above.min(initial=np.inf)))

    def _on_air(self) -> bool:
        """Whether the median is below: the mean of the two in the middle, where their number is even."""
        if 2 * self._below != self._inside:
            return 2 * self._below > self._inside
        return self._inside > 0 and (self._under + self._over) / 2 < AIR

    def _taken(self, start: int, block: Array) -> Array:
        """Those voxels of (I, J, n) that are every n-th of the volume, counted along K, then J, then I."""
        rows, columns, depth = self._image.shape
        stride = sample_stride(rows * columns * depth)
        found = []
        for n in range(block.shape[2]):
            taken = _multiples(depth, start + n, stride)
            if taken is not None:
                found.append(block[..., n].ravel()[taken])
        return np.concatenate(found) if found else np.empty(0, block.dtype)


def _multiples(depth: int, plane: int, stride: int) -> slice | None:
    """Of the voxels q of a plane, which have the number ``q * depth + plane`` in the volume, those whose number is a
    multiple of ``stride``; None when there is none."""
    common = math.gcd(depth, stride)
    if plane % common:
        return None
    period = stride // common
    return slice(-(plane // common) * pow(depth // common, -1, period) % period, None, period)
