"""Geometry conventions, stated once, and the few operations that depend on them.

- Voxel axes are I, J, K: ``array[c, i, j, k]``. Index 0 is the centre of the first voxel.
- World coordinates are RAS+ millimetres: x grows to the patient's Right, y to Anterior, z to Superior.
- An affine is 4×4 and maps ``(i, j, k, 1)`` to ``(x, y, z, 1)``.
- A 2D image is ``array[c, i, j]``: I runs along a row of the picture (to the viewer's right), J down the picture.
  Its affine is 4×4 too, with the slice normal as third column.
- A picture without geometry (a PNG) gets ``PICTURE_AFFINE``: viewer's right is the patient's left, down is inferior,
  as in a radiograph; its spacing is unknown and one unit is one pixel.
- DICOM is LPS+: ``LPS_TO_RAS`` converts at the format's door.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from osler.errors import GeometryError

__all__ = [
    "LPS_TO_RAS",
    "PICTURE_AFFINE",
    "Array",
    "axis_codes",
    "check_affine",
    "flip_and_permute",
    "orientation_transform",
    "reordering",
    "spacing_of",
    "volume_per_voxel",
]

Array = npt.NDArray[Any]

LPS_TO_RAS: Array = np.diag([-1.0, -1.0, 1.0, 1.0])
PICTURE_AFFINE: Array = np.array([[-1.0, 0, 0, 0], [0, 0, 1.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1.0]])
_FARTHEST = 1e9  # mm (or pixels): beyond it distances overflow, and nothing of a patient is there
_PARALLEL = 1e-3
"""By how much of a voxel a step along one grid may miss the next voxel of the other."""
_CODES = (("L", "R"), ("P", "A"), ("I", "S"))


def check_affine(affine: Array) -> Array:
    """An affine as (4, 4) float64, when voxels can lie where it says.

    Raises:
        GeometryError: when it is not (4, 4), not finite or not invertible, or leads farther than 1,000 km.
    """
    affine = np.asarray(affine, dtype=np.float64)
    sound = affine.shape == (4, 4) and bool(np.isfinite(affine).all() and np.abs(affine).max() <= _FARTHEST)
    if not sound or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise GeometryError(
            "the affine must be a finite, invertible 4×4 matrix",
            remedy="the file's header does not say where the voxels lie; repair it at its source",
        )
    return affine


def spacing_of(affine: Array) -> tuple[float, float, float]:
    """Millimetres from one voxel centre to the next along I, J, K: the lengths of the affine's columns.

    Args:
        affine: (4, 4), index to RAS+ mm.
    """
    lengths = np.sqrt((np.asarray(affine, float)[:3, :3] ** 2).sum(axis=0))
    return (float(lengths[0]), float(lengths[1]), float(lengths[2]))


def volume_per_voxel(affine: Array) -> float:
    """Cubic millimetres of one voxel (4×4 affine); exact for sheared affines too."""
    return float(abs(np.linalg.det(np.asarray(affine, float)[:3, :3])))


def _closest_world_axes(affine: Array) -> list[tuple[int, int]]:
    """For each of I, J, K the world axis (0 x, 1 y, 2 z) it is closest to, and the sign; each world axis used once."""
    directions = np.asarray(affine, float)[:3, :3] / np.maximum(np.array(spacing_of(affine)), 1e-12)
    result: list[tuple[int, int]] = [(0, 1)] * 3
    remaining = np.abs(directions)
    for _ in range(3):
        world, index = np.unravel_index(int(np.argmax(remaining)), (3, 3))
        result[int(index)] = (int(world), 1 if directions[world, index] >= 0 else -1)
        remaining[world, :] = -1
        remaining[:, index] = -1
    return result


def axis_codes(affine: Array) -> str:
    """The anatomical direction in which I, J, K grow, e.g. ``"RAS"`` or ``"LPS"``."""
    return "".join(_CODES[world][sign > 0] for world, sign in _closest_world_axes(affine))


def orientation_transform(affine: Array, codes: str) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """How to permute and flip voxel axes so that they grow towards ``codes``.

    Args:
        affine: (4, 4), index to RAS+ mm.
        codes: three letters such as ``"RAS"``.

    Returns:
        ``(order, flips)``: new axis n is old axis ``order[n]``, reversed when ``flips[n]``.
    """
    current = _closest_world_axes(affine)
    order, flips = [], []
    for letter in codes:
        world = next(w for w, pair in enumerate(_CODES) if letter in pair)
        old = next(a for a, (w, _) in enumerate(current) if w == world)
        order.append(old)
        flips.append(_CODES[world][current[old][1] > 0] != letter)
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])


def flip_and_permute(
    array: Array, affine: Array, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> tuple[Array, Array]:
    """Apply an orientation transform to voxels and affine; world coordinates of every voxel stay the same.

    Args:
        array: (C, I, J, K).
        affine: (4, 4), index to RAS+ mm.
        order: new axis n is old axis ``order[n]``.
        flips: new axis n is reversed.

    Returns:
        A view of ``array`` and the new (4, 4) affine.
    """
    moved = np.transpose(array, (0, *(a + 1 for a in order)))
    moved = moved[(slice(None), *(slice(None, None, -1) if f else slice(None) for f in flips))]
    new_to_old = np.zeros((4, 4))
    new_to_old[3, 3] = 1
    for new, old in enumerate(order):
        new_to_old[old, new] = -1 if flips[new] else 1
        if flips[new]:
            new_to_old[old, 3] = array.shape[old + 1] - 1
    return moved, np.asarray(affine, float) @ new_to_old


def reordering(affine: Array, onto: Array) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]] | None:
    """How to permute and reverse voxel axes so that they run along those of another grid with the same spacing.

    Args:
        affine: (4, 4), index to RAS+ mm.
        onto: (4, 4) of the other grid.

    Returns:
        ``order`` and ``flips`` as ``flip_and_permute`` takes them; None when the axes do not run along those of the
        other grid, are of another spacing, or are in the same order already.
    """
    steps = np.linalg.inv(np.asarray(onto, float)[:3, :3]) @ np.asarray(affine, float)[:3, :3]
    whole = np.rint(steps)
    if np.abs(steps - whole).max() > _PARALLEL or (np.abs(whole).sum(axis=0) != 1).any():
        return None
    if (np.abs(whole).sum(axis=1) != 1).any() or (whole == np.eye(3)).all():
        return None
    order = np.abs(whole).argmax(axis=1).tolist()
    flips = [bool(whole[new, old] < 0) for new, old in enumerate(order)]
    return (order[0], order[1], order[2]), (flips[0], flips[1], flips[2])
