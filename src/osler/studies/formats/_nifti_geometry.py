"""Where the voxels of a NIfTI lie: sform, qform, both, contradicting, or neither.

Source: the NIfTI-1 standard (nifti1.h, "3D image orientation and location in space", methods 1 to 3).

- Method 3 (sform) comes before method 2 (qform), as in nibabel and most other software.
- Both stand for the same space (equal codes) and differ: refused, since one of them is wrong and nothing says which.
- They stand for different spaces (scanner and atlas, say): the sform, unless it mirrors the qform or scales it by
  more than 1 %: then millimetres are no longer the patient's, and the file is refused.
- A qform cannot shear: a sheared sform is compared after taking its shear away.
- Neither: the spacing is all that is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from osler.errors import GeometryError
from osler.studies.formats._volumes import unplaced_affine
from osler.studies.geometry import Array, spacing_of

__all__ = ["affine_of", "times_of", "unsheared"]

_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown is taken as mm; metre, millimetre, micron
_SECONDS_PER_UNIT = {8: 1.0, 16: 1e-3, 24: 1e-6}
_SPACES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI 152", 5: "template"}
_ANGLE = 2e-3  # radians; a qform in single precision is off by up to 6e-4 near half turns
_SHIFT = 0.05  # voxels
_SCALE = 0.01


def affine_of(header: Any, path: Path) -> tuple[Array, bool]:
    """The affine from index to RAS+ mm, and whether the header says where the volume lies.

    Args:
        header: nibabel's header.
        path: named in errors.

    Raises:
        GeometryError: for a spacing, unit, quaternion or matrix that makes no sense, and for contradicting forms.
    """
    sform_code, qform_code = int(header["sform_code"]), int(header["qform_code"])
    factor = _factor(int(header["xyzt_units"]) & 7, path)
    sform = _sform(header, path) if sform_code > 0 else None
    qform = _qform(header, path) if qform_code > 0 else None
    if sform is not None and qform is not None:
        _check_agreement(sform, sform_code, qform, qform_code, path)
    affine = sform if sform is not None else qform
    located = affine is not None
    if affine is None:
        shape = (*header.get_data_shape(), 1, 1, 1)[:3]
        affine = unplaced_affine(shape, [float(step) for step in _steps(header, path)])
    affine = affine.copy()
    affine[:3] *= factor
    return affine, located


def times_of(header: Any, frames: int) -> tuple[float, ...] | None:
    """Seconds of each frame; None unless the header gives a step along the fourth axis and its unit of time."""
    unit = _SECONDS_PER_UNIT.get(int(header["xyzt_units"]) & 56)
    step, offset = float(header["pixdim"][4]), float(header["toffset"])
    if unit is None or frames < 2 or not np.isfinite([step, offset]).all() or step <= 0:
        return None
    return tuple((offset + step * place) * unit for place in range(frames))


def unsheared(affine: Array) -> Array:
    """The affine with its axes turned to the nearest right angles (polar decomposition), lengths and origin kept."""
    lengths = np.array(spacing_of(affine))
    left, _, right = np.linalg.svd(affine[:3, :3] / lengths)
    result = affine.copy()
    result[:3, :3] = left @ right * lengths
    return result


def _factor(code: int, path: Path) -> float:
    if code not in _MM_PER_UNIT:
        raise GeometryError(
            f"{path} gives its lengths in a unit with the code {code}, which NIfTI does not have",
            remedy="set xyzt_units to 2 (mm) if that is what they are",
        )
    return _MM_PER_UNIT[code]


def _steps(header: Any, path: Path) -> Array:
    steps: Array = np.abs(np.array(header["pixdim"][1:4], float))
    used = len(header.get_data_shape())
    steps[min(used, 3) :] = np.where(steps[min(used, 3) :] > 0, steps[min(used, 3) :], 1.0)
    if not np.isfinite(steps).all() or (steps <= 0).any():
        raise GeometryError(
            f"{path} has the spacing {' × '.join(f'{step:g}' for step in steps)}, which is no spacing",
            remedy="write the spacing into pixdim, or the affine into the sform",
        )
    return steps


def _sform(header: Any, path: Path) -> Array:
    affine = np.array(header.get_sform(), float)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise GeometryError(
            f"{path}: the affine of its sform must be finite and invertible",
            remedy="repair it, or set sform_code to 0 where the qform is right",
        )
    return affine


def _qform(header: Any, path: Path) -> Array:
    steps, handedness = _steps(header, path), float(header["pixdim"][0])
    if handedness not in (-1.0, 0.0, 1.0):
        raise GeometryError(
            f"{path}: pixdim[0] of its qform is {handedness:g} and must be 1 or -1, so left and right are not known",
            remedy="set it to 1 or -1, or set qform_code to 0",
        )
    quaternion = np.array([float(header[f"quatern_{letter}"]) for letter in "bcd"])
    offset = np.array([float(header[f"qoffset_{letter}"]) for letter in "xyz"])
    length = float(quaternion @ quaternion)
    if not np.isfinite([*quaternion, *offset]).all() or length > 1 + 1e-5:
        raise GeometryError(
            f"{path}: the quaternion of its qform must be finite and no longer than 1",
            remedy="repair it, or set qform_code to 0",
        )
    real = float(np.sqrt(max(0.0, 1 - length)))
    affine = np.eye(4)
    affine[:3, :3] = nibabel.quaternions.quat2mat([real, *quaternion]) * steps
    affine[:3, 2] *= -1 if handedness < 0 else 1
    affine[:3, 3] = offset
    return affine


def _check_agreement(sform: Array, sform_code: int, qform: Array, qform_code: int, path: Path) -> None:
    if _agree(unsheared(sform), qform):
        return
    spaces = [f"{_SPACES.get(code, 'space')} ({code})" for code in (sform_code, qform_code)]
    if sform_code == qform_code:
        raise GeometryError(
            f"{path}: its sform and its qform both stand for the space {spaces[0]} and say different things",
            remedy="find out which one is right and set the code of the other to 0",
        )
    ratio = np.linalg.det(sform[:3, :3]) / np.linalg.det(qform[:3, :3])
    if abs(ratio - 1) > _SCALE:
        what = "mirrors" if ratio < 0 else f"makes voxels {ratio:.3g} times as large as"
        raise GeometryError(
            f"{path}: its sform, for the space {spaces[0]}, {what} its qform, for the space {spaces[1]}",
            remedy="set the code of the one that is not to be used to 0",
        )


def _agree(first: Array, second: Array) -> bool:
    lengths = np.array(spacing_of(first)), np.array(spacing_of(second))
    if np.abs(lengths[0] / lengths[1] - 1).max() > 1e-3:
        return False
    directions = first[:3, :3] / lengths[0], second[:3, :3] / lengths[1]
    if np.abs(directions[0] - directions[1]).max() > _ANGLE:
        return False
    return bool(np.linalg.norm(first[:3, 3] - second[:3, 3]) <= max(_SHIFT * lengths[0].min(), 1e-3))
