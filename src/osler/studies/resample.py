"""Resampling onto another number of voxels, axis by axis, with the outer faces of the image staying where they are.

Output voxel ``o`` of an axis looks at input coordinate ``(o + 0.5) * in / out - 0.5`` (index 0 is the centre of the
first voxel), and what lies outside the image is its nearest voxel: ``scipy.ndimage.zoom(grid_mode=True,
mode="nearest")``. An axis is one sparse matrix, so the cost is (voxels × taps) per axis whatever the dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from osler.errors import GeometryError
from osler.studies.geometry import Array

__all__ = ["Order", "affine_after_resample", "resample"]

Order = Literal[0, 1, 3]

_ANTIALIAS_FROM = 1.5
"""Fewer samples than two thirds of the voxels: below, the interpolation kernel itself is wide enough."""
_SPLINE_PAD = 12
"""Voxels of edge that a cubic spline needs to forget its border: 0.268 ** 12 is 1e-7."""


def resample(
    array: Array, shape: Sequence[int], *, order: Order | Sequence[Order] = 1, antialias: bool = True
) -> Array:
    """Resample every channel of ``array`` to ``shape``.

    Args:
        array: (C, I, J) or (C, I, J, K), any real dtype.
        shape: the spatial shape wanted, one number of voxels per axis, each at least 1.
        order: 0 nearest voxel, 1 linear, 3 cubic B-spline; for all axes, or one per axis.
        antialias: widen the kernel of axes that lose more than a third of their voxels, so that detail which the
            output cannot hold is averaged and not aliased (a tent for order 1, a Keys cubic for order 3).

    Returns:
        (C, *shape) float32; never a view of ``array``.

    Raises:
        GeometryError: when ``shape`` does not fit the array.
    """
    target = tuple(int(n) for n in shape)
    if len(target) != array.ndim - 1 or min(target, default=0) < 1:
        raise GeometryError(f"an array of shape {array.shape} cannot be resampled to {target}")
    orders = (order,) * len(target) if isinstance(order, int) else tuple(order)
    if len(orders) != len(target):
        raise GeometryError(f"{len(orders)} interpolation orders do not fit {len(target)} axes")
    result = np.array(array, dtype=np.float32, order="C")
    # Axes that shrink most go first, so that the others have less to do.
    for axis in sorted(range(len(target)), key=lambda a: (target[a] / array.shape[a + 1], a)):
        if target[axis] != array.shape[axis + 1]:
            result = _resample_axis(result, axis + 1, target[axis], orders[axis], antialias)
    return result


def affine_after_resample(affine: Array, in_shape: Sequence[int], out_shape: Sequence[int]) -> Array:
    """The (4, 4) index to RAS+ mm affine of the resampled grid; the image's outer faces stay where they were.

    Args:
        affine: (4, 4) of the grid before.
        in_shape: spatial shape before, two or three axes.
        out_shape: spatial shape after.
    """
    new_to_old = np.eye(4)
    for axis, (before, after) in enumerate(zip(in_shape, out_shape, strict=True)):
        new_to_old[axis, axis] = before / after
        new_to_old[axis, 3] = 0.5 * before / after - 0.5
    return np.asarray(affine, float) @ new_to_old


def _resample_axis(array: Array, axis: int, size: int, order: Order, antialias: bool) -> Array:
    before = array.shape[axis]
    if order == 0:
        return np.ascontiguousarray(np.take(array, _nearest(before, size), axis=axis))
    if antialias and before / size > _ANTIALIAS_FROM:
        return _multiply(_widened(before, size, order), array, axis)
    if order == 1:
        return _multiply(_linear(before, size), array, axis)
    from scipy.ndimage import spline_filter1d

    width = [(0, 0)] * array.ndim
    width[axis] = (_SPLINE_PAD, _SPLINE_PAD)
    padded = np.pad(array, width, mode="edge")
    coefficients = spline_filter1d(padded, order=3, axis=axis, output=np.float32, mode="mirror")
    return _multiply(_cubic(before, size), coefficients, axis)


def _multiply(matrix: Any, array: Array, axis: int) -> Array:
    """``matrix`` (out, in) times one axis of ``array``."""
    lead = math.prod(array.shape[:axis])
    tail = math.prod(array.shape[axis + 1 :])
    shape = (*array.shape[:axis], matrix.shape[0], *array.shape[axis + 1 :])
    if tail >= 64 or lead == 1:
        blocks = array.reshape(lead, array.shape[axis], tail)
        result = np.empty((lead, matrix.shape[0], tail), np.float32)
        for n in range(lead):
            result[n] = matrix @ blocks[n]
        return result.reshape(shape)
    moved = np.ascontiguousarray(np.moveaxis(array, axis, 0)).reshape(array.shape[axis], -1)
    product = (matrix @ moved).reshape(matrix.shape[0], *array.shape[:axis], *array.shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(product, 0, axis))


def _coordinates(before: int, size: int) -> Array:
    return (np.arange(size) + 0.5) * (before / size) - 0.5


def _nearest(before: int, size: int) -> Array:
    return np.clip(np.floor(_coordinates(before, size) + 0.5), 0, before - 1).astype(np.intp)


def _sparse(weights: Array, columns: Array, width: int) -> Any:
    """A CSR matrix (out, width) from (out, taps) weights and their columns; repeated columns add up."""
    from scipy.sparse import csr_matrix

    size, taps = weights.shape
    rows = np.repeat(np.arange(size), taps)
    return csr_matrix((weights.ravel().astype(np.float32), (rows, columns.ravel())), shape=(size, width))


@lru_cache(maxsize=256)
def _linear(before: int, size: int) -> Any:
    at = np.clip(_coordinates(before, size), 0, before - 1)
    low = np.floor(at).astype(np.intp)
    share = at - low
    columns = np.stack([low, np.minimum(low + 1, before - 1)], axis=1)
    return _sparse(np.stack([1 - share, share], axis=1), columns, before)


@lru_cache(maxsize=256)
def _cubic(before: int, size: int) -> Any:
    """B-spline weights; its columns are the coefficients of the padded axis."""
    at = _coordinates(before, size) + _SPLINE_PAD
    low = np.floor(at).astype(np.intp)
    t = at - low
    weights = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    columns = low[:, None] + np.arange(-1, 3)
    return _sparse(np.stack(weights, axis=1) / 6, columns, before + 2 * _SPLINE_PAD)


@lru_cache(maxsize=256)
def _widened(before: int, size: int, order: Order) -> Any:
    """The kernel stretched by the factor of reduction and cut off at the border, each row summing to one."""
    scale = before / size
    reach = scale * (1 if order == 1 else 2)
    at = _coordinates(before, size)
    columns = np.ceil(at - reach).astype(np.intp)[:, None] + np.arange(math.ceil(2 * reach) + 1)
    distance = np.abs(columns - at[:, None]) / scale
    weights = np.maximum(1 - distance, 0) if order == 1 else _keys(distance)
    weights = np.where((columns >= 0) & (columns < before), weights, 0.0)
    return _sparse(weights / weights.sum(axis=1, keepdims=True), np.clip(columns, 0, before - 1), before)


def _keys(x: Array) -> Array:
    """Keys' cubic convolution kernel (a = -0.5) at distances ``x`` >= 0."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
