"""A mask that covers the voxels of its image exactly, with its axes stored in another order or direction.

Programs choose the order in which they store axes. Where both headers say where the voxels lie and these are the same
places, the mask is turned about exactly; nothing is ever resampled, and what lies elsewhere is refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from osler.studies.geometry import Array, axis_codes, flip_and_permute, reordering
from osler.studies.image import Image
from osler.studies.volume import ImageLike, Volume

__all__ = ["corners_apart", "covers_the_same", "laid_onto"]

_SAME_VOXELS = 1e-2
"""Voxels by which the corners may lie apart through the rounding of headers."""


def laid_onto(mask: Image, image: Image) -> Image:
    """The mask with its axes in the order and direction of the image's, and a note of it.

    The mask as it is where it lies elsewhere, where one of the two does not say where it lies, or where the axes are
    the image's already.
    """
    turned = _turned(mask, image)
    if turned is None or corners_apart(turned, image) > _SAME_VOXELS:
        return mask
    before, after = axis_codes(mask.affine), axis_codes(image.affine)
    how = f"{before} instead of {after}" if before != after else "in another order"
    note = f"the mask's axes are stored {how}: they were put into the order of the image's, without resampling"
    return replace(mask, array=np.ascontiguousarray(turned.array), affine=image.affine, notes=(*mask.notes, note))


def covers_the_same(other: ImageLike, image: ImageLike) -> str:
    """What the axes of a grid that differs from an image's have to do with it, in words; "" when nothing.

    Args:
        other: an image or a mask that does not lie on the grid of ``image`` as it is.
        image: what it should lie on.
    """
    other, image = _of(other), _of(image)
    turned = _turned(other, image)
    if turned is None:
        return ""
    stored = f"its axes are stored {axis_codes(other.affine)}, the image's {axis_codes(image.affine)}"
    apart = corners_apart(turned, image)
    if apart <= _SAME_VOXELS:
        return f"it covers the same voxels, but {stored}"
    return f"{stored}, and put into the same order it still lies up to {apart:.3g} voxels away: it is truly mirrored"


def corners_apart(one: Image, other: Image) -> float:
    """How far the corners of two grids of one shape lie apart at most, in voxels of the second."""
    ends = np.array([[0, n - 1] for n in (*one.shape, 1)[:3]], float)
    corners = np.stack([*np.meshgrid(*ends), np.ones((2, 2, 2))]).reshape(4, -1)
    steps: Array = np.linalg.inv(other.affine) @ (one.affine - other.affine) @ corners
    return float(np.abs(steps[:3]).max())


def _of(image: ImageLike) -> Image:
    """With a stand-in for the voxels where these are still in their file: only the grid is looked at."""
    return image.like if isinstance(image, Volume) else image


def _turned(mask: Image, image: Image) -> Image | None:
    """The mask with its axes along the image's, wherever it lies; None when that cannot be or is so already."""
    placed = mask.spacing_known and mask.orientation_known and image.spacing_known and image.orientation_known
    if not placed or mask.dimensions != 3 or image.dimensions != 3:
        return None
    found = reordering(mask.affine, image.affine)
    if found is None:
        return None
    array, affine = flip_and_permute(mask.array, mask.affine, *found)
    return None if array.shape[1:] != image.shape else replace(mask, array=array, affine=affine)
