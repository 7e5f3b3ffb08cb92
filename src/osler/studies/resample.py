"""Resampling onto another number of voxels, axis by axis, with the outer faces of the image staying where they are.

Output voxel ``o`` of an axis looks at input coordinate ``(o + 0.5) * in / out - 0.5`` (index 0 is the centre of the
first voxel), and what lies outside the image is its nearest voxel: ``scipy.ndimage.zoom(grid_mode=True,
mode="nearest")``.

An axis is one banded matrix, ``AxisMap``. It is applied as a handful of small dense products, each over the inputs that
a block of outputs needs: matrix products run at the speed of the processor, while sparse ones and recursive spline
filters run at the speed of one load after the other. Any range of outputs can be had from the inputs it needs alone, so
an image can be resampled while it is still being read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from osler.errors import GeometryError
from osler.studies.geometry import Array

__all__ = ["AxisMap", "Order", "affine_after_resample", "axis_map", "resample"]

Order = Literal[0, 1, 3]

_ANTIALIAS_FROM = 1.5
"""Fewer samples than two thirds of the voxels: below, the interpolation kernel itself is wide enough."""
_SPLINE_PAD = 12
"""Voxels of edge that a cubic spline needs to forget its border: 0.268 ** 12 is 1e-7."""
_NOTHING = 1e-7
"""Weights below this are left out of a spline's row."""
_BLOCK = 64
"""Outputs whose inputs are multiplied together: wider blocks multiply more zeros, narrower ones waste the caches."""


class AxisMap:
    """One axis from ``before`` inputs to ``size`` outputs, each a weighted sum of neighbouring inputs.

    Args:
        weights: (size, taps) float; those of inputs that do not exist are 0.
        first: (size,) index of the input that the first tap of each row looks at.
        before: number of inputs.
    """

    def __init__(self, weights: Array, first: Array, before: int) -> None:
        self.before, self.size = before, len(weights)
        self._weights = weights.astype(np.float32)
        taps = weights.shape[1]
        used = weights != 0
        low = np.maximum(first + used.argmax(axis=1), 0)
        high = np.minimum(first + taps - used[:, ::-1].argmax(axis=1), before)
        # Weights that are left out would let a later output need an earlier input: whoever reads on has dropped it.
        self._low = np.minimum.accumulate(low[::-1])[::-1]
        self._high = np.maximum.accumulate(high)
        self._first = first
        self._blocks = [(o, min(o + _BLOCK, self.size)) for o in range(0, self.size, _BLOCK)]
        self._matrices = [self.matrix(*block) for block in self._blocks]

    def needs(self, start: int, stop: int) -> tuple[int, int]:
        """The range of inputs that outputs ``start`` to ``stop`` are made of."""
        return int(self._low[start:stop].min()), int(self._high[start:stop].max())

    def matrix(self, start: int, stop: int) -> Array:
        """(stop - start, inputs of ``needs``) float32."""
        low, high = self.needs(start, stop)
        dense = np.zeros((stop - start, high - low), np.float32)
        columns = self._first[start:stop, None] + np.arange(self._weights.shape[1]) - low
        rows, taps = np.nonzero((columns >= 0) & (columns < high - low))
        dense[rows, columns[rows, taps]] = self._weights[start:stop][rows, taps]
        return dense

    def apply(self, array: Array, axis: int) -> Array:
        """``array`` float32 with its ``axis`` of ``before`` mapped to ``size``; a new array in C order."""
        shape = (*array.shape[:axis], self.size, *array.shape[axis + 1 :])
        lead, tail = math.prod(array.shape[:axis]), math.prod(array.shape[axis + 1 :])
        source = np.ascontiguousarray(array).reshape(lead, self.before, tail)
        result = np.empty((lead, self.size, tail), np.float32)
        for (start, stop), matrix in zip(self._blocks, self._matrices, strict=True):
            low, high = self.needs(start, stop)
            if tail == 1:
                np.matmul(source[:, low:high, 0], matrix.T, out=result[:, start:stop, 0])
            else:
                np.matmul(matrix, source[:, low:high], out=result[:, start:stop])
        return result.reshape(shape)


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
    pairs = enumerate(zip(array.shape[1:], target, orders, strict=True))
    maps = {n: axis_map(before, size, order=one, antialias=antialias) for n, (before, size, one) in pairs}
    result = np.empty((len(array), *target), np.float32)
    for n, channel in enumerate(array):
        result[n] = _resample_channel(channel, maps)
    return result


def _resample_channel(channel: Array, maps: dict[int, AxisMap]) -> Array:
    result = np.asarray(channel, np.float32)
    # Axes that shrink most go first, so that the others have less to do.
    for axis in sorted(maps, key=lambda a: (maps[a].size / maps[a].before, -a)):
        if maps[axis].size != maps[axis].before:
            result = maps[axis].apply(result, axis)
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


@lru_cache(maxsize=256)
def axis_map(before: int, size: int, *, order: Order = 1, antialias: bool = True) -> AxisMap:
    """The map of one axis; arguments as ``resample``."""
    if order == 0:
        return AxisMap(np.ones((size, 1)), _nearest(before, size), before)
    if antialias and before / size > _ANTIALIAS_FROM:
        return _widened(before, size, order)
    return _linear(before, size) if order == 1 else _cubic(before, size)


def _coordinates(before: int, size: int) -> Array:
    return (np.arange(size) + 0.5) * (before / size) - 0.5


def _nearest(before: int, size: int) -> Array:
    return np.clip(np.floor(_coordinates(before, size) + 0.5), 0, before - 1).astype(np.intp)


def _linear(before: int, size: int) -> AxisMap:
    at = np.clip(_coordinates(before, size), 0, before - 1)
    low = np.floor(at).astype(np.intp)
    share = at - low
    return AxisMap(np.stack([1 - share, share], axis=1), low, before)


def _cubic(before: int, size: int) -> AxisMap:
    """Cubic B-spline weights times the filter that makes coefficients of samples, applied to each unit vector."""
    from scipy.ndimage import spline_filter1d

    units = np.pad(np.eye(before), ((_SPLINE_PAD, _SPLINE_PAD), (0, 0)), mode="edge")
    coefficients = spline_filter1d(units, order=3, axis=0, mode="mirror")  # (before + 2 pads, before)
    at = _coordinates(before, size) + _SPLINE_PAD
    low = np.floor(at).astype(np.intp)
    t = at - low
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    dense = np.einsum("ot,oti->oi", weights, coefficients[low[:, None] + np.arange(-1, 3)])
    return _banded(np.where(np.abs(dense) > _NOTHING, dense, 0.0))


def _banded(dense: Array) -> AxisMap:
    """From (size, before) to the rows' bands."""
    before = dense.shape[1]
    used = dense != 0
    first = used.argmax(axis=1)
    taps = int((before - used[:, ::-1].argmax(axis=1) - first).max())
    columns = first[:, None] + np.arange(taps)
    weights = np.take_along_axis(dense, np.minimum(columns, before - 1), axis=1)
    return AxisMap(np.where(columns < before, weights, 0.0), first, before)


def _widened(before: int, size: int, order: Order) -> AxisMap:
    """The kernel stretched by the factor of reduction and cut off at the border, each row summing to one."""
    scale = before / size
    reach = scale * (1 if order == 1 else 2)
    at = _coordinates(before, size)
    first = np.ceil(at - reach).astype(np.intp)
    columns = first[:, None] + np.arange(math.ceil(2 * reach) + 1)
    distance = np.abs(columns - at[:, None]) / scale
    weights = np.maximum(1 - distance, 0) if order == 1 else _keys(distance)
    weights = np.where((columns >= 0) & (columns < before), weights, 0.0)
    return AxisMap(weights / weights.sum(axis=1, keepdims=True), first, before)


def _keys(x: Array) -> Array:
    """Keys' cubic convolution kernel (a = -0.5) at distances ``x`` >= 0."""
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
