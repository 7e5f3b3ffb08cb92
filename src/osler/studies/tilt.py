"""Stacks whose slices lie beside each other: a CT with a tilted gantry. Shearing them upright, and back.

The affine of such a stack is sheared: its third column, the step from slice to slice, is not along the normal of the
slices. Every voxel is where it belongs, but whatever takes the array for a right-angled grid sees a sheared patient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from osler.studies.geometry import Array

__all__ = ["Upright", "made_tilted", "made_upright", "upright_of"]

_LEAST = 0.5  # voxels that the last slice has to lie beside the first
_SKEW = 1e-3  # cosine between I and J: more is a shear within the slices, which no scanner makes


@dataclass(frozen=True)
class Upright:
    """The right-angled grid of a tilted stack: same voxels in the plane, more of them, same number of slices.

    Args:
        shape: (I, J, K) of the upright grid.
        affine: (4, 4), index to RAS+ mm, of the upright grid.
        tilted_shape: (I, J, K) of the stack.
        shifts: (K, 2) voxels along I and J from an index of the stack to that of the upright grid.
    """

    shape: tuple[int, int, int]
    affine: Array = field(repr=False)
    tilted_shape: tuple[int, int, int]
    shifts: Array = field(repr=False)


def upright_of(shape: tuple[int, ...], affine: Array) -> Upright | None:
    """The upright grid that holds a whole tilted stack; None when it is upright already, or sheared otherwise.

    Args:
        shape: (I, J, K).
        affine: (4, 4), index to RAS+ mm.
    """
    if len(shape) != 3:
        return None
    first, second, step = (np.asarray(affine, float)[:3, axis] for axis in range(3))
    lengths = np.array([first @ first, second @ second])
    if abs(float(first @ second)) > _SKEW * math.sqrt(float(lengths.prod())):
        return None
    beside = np.array([step @ first, step @ second]) / lengths  # voxels per slice
    if float(np.abs(beside).max()) * (shape[2] - 1) < _LEAST:
        return None
    shifts = np.arange(shape[2])[:, None] * beside
    shifts -= shifts.min(axis=0)
    extent = np.ceil(shifts.max(axis=0) - 1e-6).astype(int)
    upright = np.array(affine, float)
    upright[:3, 2] = step - beside[0] * first - beside[1] * second
    # Index (0, 0, 0) of the upright grid lies where the stack's first slice would have index -shifts[0].
    upright[:3, 3] -= shifts[0, 0] * first + shifts[0, 1] * second
    full = (shape[0] + int(extent[0]), shape[1] + int(extent[1]), shape[2])
    return Upright(full, upright, (shape[0], shape[1], shape[2]), shifts)


def made_upright(array: Array, grid: Upright, *, labels: bool = False) -> Array:
    """A stack on its upright grid.

    Args:
        array: (C, *grid.tilted_shape).
        grid: from ``upright_of``.
        labels: take the nearest voxel, 0 outside; otherwise interpolate, the array's smallest value outside.

    Returns:
        (C, *grid.shape); float32 when interpolated.
    """
    outside = 0 if labels else array.min()
    result = np.full((len(array), *grid.shape), outside, array.dtype if labels else np.float32)
    for k, (along, down) in enumerate(grid.shifts):
        placed = _moved(array[..., k], float(along), 1, grid.shape[0], outside, labels)
        result[..., k] = _moved(placed, float(down), 2, grid.shape[1], outside, labels)
    return result


def made_tilted(array: Array, grid: Upright, *, labels: bool = False) -> Array:
    """What lies on the upright grid, on the stack's own again; arguments as ``made_upright``, the other way round."""
    result = np.empty((len(array), *grid.tilted_shape), array.dtype if labels else np.float32)
    for k, (along, down) in enumerate(grid.shifts):
        placed = _moved(array[..., k], -float(along), 1, grid.tilted_shape[0], 0, labels)
        result[..., k] = _moved(placed, -float(down), 2, grid.tilted_shape[1], 0, labels)
    return result


def _moved(array: Array, shift: float, axis: int, size: int, outside: float, labels: bool) -> Array:
    """One axis of ``array`` moved by ``shift`` voxels onto ``size`` voxels: ``out[n] = array[n - shift]``."""
    if labels:
        return _placed(array, round(shift), axis, size, outside)
    whole = math.floor(shift)
    share = shift - whole
    near = _placed(array, whole, axis, size, outside).astype(np.float32)
    if share < 1e-6:
        return near
    return near * np.float32(1 - share) + _placed(array, whole + 1, axis, size, outside) * np.float32(share)


def _placed(array: Array, start: int, axis: int, size: int, outside: float) -> Array:
    """``array`` laid on ``size`` voxels of ``outside``, its first one at ``start`` (which may be negative)."""
    shape = list(array.shape)
    shape[axis] = size
    result = np.full(shape, outside, array.dtype)
    low, high = max(start, 0), min(start + array.shape[axis], size)
    if low < high:
        target: list[slice] = [slice(None)] * array.ndim
        source = list(target)
        target[axis], source[axis] = slice(low, high), slice(low - start, high - start)
        result[tuple(target)] = array[tuple(source)]
    return result
