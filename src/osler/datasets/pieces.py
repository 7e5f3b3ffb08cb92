"""``Pieces``: the shape of one label in one mask: its connected pieces, centre, and contact with the border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.datasets.problem import Box
from osler.studies.geometry import Array
from osler.studies.image import Image

__all__ = ["Pieces", "pieces_of"]

_MOST = 20
"""Stray pieces whose place is kept."""


@dataclass(frozen=True)
class Pieces:
    """One label in one mask; diagonal neighbours are one piece.

    Args:
        sizes: voxels of each piece, largest first.
        strays: boxes of the pieces after the first, up to 20.
        centre: of the whole label, RAS+ mm; () where the file does not say where its voxels lie.
        sides: sides of the image that it touches, "I low" to "K high"; an axis of one voxel has none.
    """

    sizes: tuple[int, ...]
    strays: tuple[Box, ...]
    centre: tuple[float, ...]
    sides: tuple[str, ...]


def pieces_of(mask: Image) -> dict[int, Pieces]:
    """Each label of a mask, by its value in the file.

    Args:
        mask: (1, I, J[, K]), whole numbers; 0 is background.
    """
    from scipy.ndimage import find_objects

    array = mask.array[0]
    values = np.flatnonzero(np.bincount(array.ravel())) if array.dtype == np.uint8 else np.unique(array)
    ranked = array if array.dtype == np.uint8 else np.searchsorted(values, array).astype(np.int32) + 1
    boxes = find_objects(ranked)
    found = {}
    for place, value in enumerate(values.tolist()):
        box = boxes[value - 1 if array.dtype == np.uint8 else place] if value > 0 or array.dtype != np.uint8 else None
        if value != 0 and box is not None:
            found[int(value)] = _in_box(array[box] == value, tuple(part.start for part in box), mask)
    return found


def _in_box(label: Array, start: tuple[int, ...], mask: Image) -> Pieces:
    """``label`` is the label alone, cut to its bounding box, which begins at ``start``."""
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as connect

    numbers, count = connect(label, np.ones((3,) * label.ndim, bool))
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    boxes = find_objects(numbers)
    strays = [
        Box(
            channel="mask",
            start=tuple(low + part.start for low, part in zip(start, boxes[place], strict=True)),
            stop=tuple(low + part.stop for low, part in zip(start, boxes[place], strict=True)),
        )
        for place in order[1 : _MOST + 1].tolist()
    ]
    return Pieces(
        sizes=tuple(sizes[order].tolist()),
        strays=tuple(strays),
        centre=_centre(label, start, mask),
        sides=_sides(label.shape, start, mask.shape),
    )


def _centre(label: Array, start: tuple[int, ...], mask: Image) -> tuple[float, ...]:
    if not (mask.spacing_known and mask.orientation_known):
        return ()
    others = [tuple(a for a in range(label.ndim) if a != axis) for axis in range(label.ndim)]
    counts = [label.sum(axis=axes) for axes in others]
    middle = [low + float((c * np.arange(len(c))).sum() / c.sum()) for low, c in zip(start, counts, strict=True)]
    index = np.array([*[*middle, 0.0][:3], 1.0])
    return tuple((mask.affine @ index)[:3].tolist())


def _sides(size: tuple[int, ...], start: tuple[int, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
    found = []
    for axis, low, extent, whole in zip("IJK", start, size, shape, strict=False):
        found += [f"{axis} low"] if low == 0 and whole > 1 else []
        found += [f"{axis} high"] if low + extent == whole and whole > 1 else []
    return tuple(found)
