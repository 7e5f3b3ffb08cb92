"""Polygons to voxels of one slice.

The rule: a voxel belongs to a region when its centre lies inside the outline or on it. Where several outlines of one
region lie on a slice, inside is what an odd number of them enclose (even-odd, exclusive or), so an outline within
another is a hole. Over structures larger than a few voxels this is unbiased: a voxel that is cut is counted when its
centre is in. Outlines that run through the centres of the outermost voxels, as tracers of pixels write them, give back
exactly these voxels; that is why the outline itself counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.studies.geometry import Array

__all__ = ["ON_OUTLINE", "area", "enclosed", "rasterise"]

ON_OUTLINE = 0.01
"""Voxels within which a centre lies on an outline: contours are written in decimals of a millimetre."""


def rasterise(polygons: Sequence[Array], shape: tuple[int, int]) -> Array:
    """The voxels of a region on one slice.

    Args:
        polygons: each (N, 2): corners (i, j) in voxels, 0 being the centre of the first; closed by themselves.
        shape: (I, J) of the slice.

    Returns:
        (I, J) bool.
    """
    outline = np.zeros(shape, bool)
    for polygon in polygons:
        _mark_outline(polygon, np.roll(polygon, -1, axis=0), outline)
    return enclosed(polygons, shape) | outline


def enclosed(polygons: Sequence[Array], shape: tuple[int, int]) -> Array:
    """As ``rasterise``, but a centre on an outline belongs to one side of it only: regions side by side share none."""
    toggles = np.zeros((shape[0] + 1, shape[1]), bool)
    for polygon in polygons:
        _toggle(polygon, np.roll(polygon, -1, axis=0), toggles)
    return np.asarray(np.logical_xor.accumulate(toggles[:-1], axis=0))


def area(polygon: Array) -> float:
    """The area that a polygon (N, 2) encloses, in squares of its unit (shoelace formula); unsigned."""
    i, j = polygon[:, 0], polygon[:, 1]
    return float(abs(i @ np.roll(j, -1) - j @ np.roll(i, -1)) / 2)


def _toggle(start: Array, end: Array, toggles: Array) -> None:
    """Flip each row j at the first i beyond each edge that crosses it.

    An edge holds its lower end and not its upper one, so a corner on a row is crossed once; it is computed from its
    lower end, so two outlines that share it cross at the same place.
    """
    upwards = (end[:, 1] > start[:, 1])[:, None]
    low, high = np.where(upwards, start, end), np.where(upwards, end, start)
    first = np.maximum(np.ceil(low[:, 1]), 0).astype(int)
    last = np.minimum(np.ceil(high[:, 1]), toggles.shape[1]).astype(int)  # not included
    edge, row = _spread(first, last)
    share = (row - low[edge, 1]) / (high[edge, 1] - low[edge, 1])
    crossing = low[edge, 0] + share * (high[edge, 0] - low[edge, 0])
    beyond = np.clip(np.ceil(crossing), 0, len(toggles) - 1).astype(int)
    np.logical_xor.at(toggles, (beyond, row), True)


def _mark_outline(start: Array, end: Array, outline: Array) -> None:
    """Mark the centres on an edge; along the axis on which it is longer each has at most one."""
    for axis in (0, 1):
        other = 1 - axis
        along = np.abs(end - start)[:, axis]
        longer = along >= np.abs(end - start)[:, other] if axis == 0 else along > np.abs(end - start)[:, other]
        one, two = start[longer], end[longer]
        low, high = np.minimum(one[:, axis], two[:, axis]), np.maximum(one[:, axis], two[:, axis])
        first = np.maximum(np.ceil(low - ON_OUTLINE), 0).astype(int)
        last = np.minimum(np.floor(high + ON_OUTLINE) + 1, outline.shape[axis]).astype(int)
        edge, place = _spread(first, last)
        length = two[edge, axis] - one[edge, axis]
        share = np.divide(place - one[edge, axis], length, out=np.zeros(len(edge)), where=np.abs(length) > 1e-12)
        across = one[edge, other] + np.clip(share, 0, 1) * (two[edge, other] - one[edge, other])
        near = np.rint(across).astype(int)
        on = (np.abs(across - near) <= ON_OUTLINE) & (near >= 0) & (near < outline.shape[other])
        indices = (place[on], near[on]) if axis == 0 else (near[on], place[on])
        outline[indices] = True


def _spread(first: Array, last: Array) -> tuple[Array, Array]:
    """Which edge, and which whole number from its ``first`` up to but not including its ``last``."""
    counts = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return edge, np.repeat(first, counts) + within
