"""``OutlineContrast``: by how much a mask's outline stands out in its image, there and at places beside it.

The image just inside of the outline is compared with the image just outside of it, while the mask is moved over the
plane. Where a mask fits, the contrast is highest near its own place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from osler.studies.geometry import Array
from osler.studies.image import Image

__all__ = ["REACH", "OutlineContrast", "outlines_of"]

REACH = 8
"""Steps by which a mask is moved each way."""
_ACROSS = 16
"""Steps from one end of a mask to the other, about: a step is so many voxels."""
_BAND = 5
"""Steps over which the mask is smoothed: half of it, each way from the outline, is compared."""
_FEWEST = 24
"""Voxels of a mask's plane below which it has no outline to speak of."""
_FLAT = 6
"""Voxels along one axis below which a plane shows no outline along it."""


@dataclass(frozen=True)
class OutlineContrast:
    """Of one plane of a mask.

    Args:
        axes: the two axes of the file that span the plane, 0 is I.
        step: voxels from one place to the next.
        contrast: (17, 17) float32, mean inside the outline less mean outside of it, in the image's units, with the mask
            moved by -8 to 8 steps along the first axis (rows) and the second.
    """

    axes: tuple[int, int]
    step: int
    contrast: Array


def outlines_of(image: Image, mask: Image) -> tuple[OutlineContrast, ...]:
    """Of a picture one; of a volume its planes across K and across I where the mask is largest.

    Labels count together. A plane is left out where the mask is too small.

    Args:
        image: finite; its first channel is looked at.
        mask: on the image's grid, 0 is background.
    """
    grey, label = image.array[0], mask.array[0]
    if image.dimensions == 2:
        return _of_plane(grey, label > 0, (0, 1))
    inside = label > 0
    found: tuple[OutlineContrast, ...] = ()
    for across, axes in ((2, (0, 1)), (0, (1, 2))):
        place = int(np.count_nonzero(inside, axis=axes).argmax())
        found += _of_plane(np.moveaxis(grey, across, 0)[place], np.moveaxis(inside, across, 0)[place], axes)
    return found


def _of_plane(grey: Array, inside: Array, axes: tuple[int, int]) -> tuple[OutlineContrast, ...]:
    from scipy.ndimage import uniform_filter

    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    area = np.count_nonzero(inside)
    if area < _FEWEST or min(inside.shape) < _FLAT:
        return ()
    step = max(1, round(sqrt(area) / _ACROSS))
    margin = _BAND // 2
    around = [_indices(found, step, margin + REACH, n) for found, n in zip((rows, columns), grey.shape, strict=True)]
    inner = slice(REACH, -REACH)
    covered = _blocks(inside[np.ix_(*around)], step)[inner, inner]
    kernel = covered - uniform_filter(
        covered, _BAND, mode="nearest"
    )  # positive inside of the outline, negative outside
    weight = float(kernel[kernel > 0].sum())
    if weight <= 0:  # the mask fills the plane
        return ()
    windows = np.lib.stride_tricks.sliding_window_view(_blocks(grey[np.ix_(*around)], step), kernel.shape)
    contrast = np.einsum("abij,ij->ab", windows, kernel / weight)
    return (OutlineContrast(axes, step, contrast.astype(np.float32)),)


def _indices(found: Array, step: int, margin: int, count: int) -> Array:
    """Voxels in whole steps from ``margin`` steps before the first to as many behind the last; the border goes on."""
    length = -(-(int(found[-1]) - int(found[0]) + 1) // step)
    start = int(found[0]) - margin * step
    return np.clip(np.arange(start, start + (length + 2 * margin) * step), 0, count - 1)


def _blocks(plane: Array, step: int) -> Array:
    """Means of step × step voxels."""
    if step == 1:
        return plane.astype(np.float32)
    rows, columns = plane.shape[0] // step, plane.shape[1] // step
    return np.asarray(plane.reshape(rows, step, columns, step).mean(axis=(1, 3), dtype=np.float32))
