"""Where DICOM slices lie. In here positions and directions are DICOM's LPS+ millimetres; what leaves is RAS+.

A slice's ``pixel_array[row, column]`` becomes ``array[c, column, row]``: axis I runs along a row of the picture (the
first three numbers of ImageOrientationPatient; its spacing is the second of PixelSpacing), J down the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError
from osler.studies.geometry import LPS_TO_RAS, PICTURE_AFFINE, Array

__all__ = ["Slice", "arrange", "picture_affine", "slice_affine", "slices_of"]

_GAP_TOLERANCE = 0.05  # of the median gap: scanners round positions, a missing slice is a gap of 2
_ANGLE_TOLERANCE = 1e-3  # largest difference of direction cosines within a series
_LETTERS = {"L": (0, -1.0), "R": (0, 1.0), "P": (1, -1.0), "A": (1, 1.0), "F": (2, -1.0), "H": (2, 1.0)}  # RAS+


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of one file. ``position`` (3,) is the centre of its first pixel and ``directions`` (2, 3) the unit
    vectors along a row and down a column, LPS+; ``spacing`` is mm (along a row, down a column); ``place`` is the
    frame's index in its file."""

    path: Path
    place: int
    shape: tuple[int, int]
    position: Array
    directions: Array
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float
    uid: str

    @property
    def normal(self) -> Array:
        """Unit vector perpendicular to the slice, LPS+: row direction × column direction."""
        return np.cross(self.directions[0], self.directions[1])


def slices_of(data: Any, path: Path) -> list[Slice]:
    """The slices of a file, in file order; empty when the file does not say where they lie.

    Args:
        data: its header. Multi-frame files are described by their functional groups, others by the top level.
        path: named in errors.

    Raises:
        GeometryError: when the directions are not perpendicular unit vectors, or the spacing is missing.
    """
    shared = _first(data, "SharedFunctionalGroupsSequence")
    frames = data.get("PerFrameFunctionalGroupsSequence")
    groups = [[frame, shared, data] for frame in frames] if frames else [[data]]
    slices = [_slice(data, group, place, path) for place, group in enumerate(groups)]
    return [one for one in slices if one is not None]


def _slice(data: Any, groups: list[Any], place: int, path: Path) -> Slice | None:
    position = _value(groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _value(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    if not position or not orientation:
        return None
    directions = np.array(orientation, dtype=float).reshape(2, 3)
    lengths, product = np.linalg.norm(directions, axis=1), float(directions[0] @ directions[1])
    if not np.allclose(lengths, 1, atol=1e-2) or abs(product) > 1e-2:
        raise GeometryError(
            f"{path}: ImageOrientationPatient {orientation} is not two perpendicular unit vectors",
            remedy="repair the header at its source",
        )
    spacing = _value(groups, "PixelMeasuresSequence", "PixelSpacing")
    if not spacing or min(float(mm) for mm in spacing) <= 0:
        raise GeometryError(
            f"{path} has a position but no valid PixelSpacing", remedy="repair the header at its source"
        )
    slope = _value(groups, "PixelValueTransformationSequence", "RescaleSlope")
    intercept = _value(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    return Slice(
        path=path,
        place=place,
        shape=(int(data.Rows), int(data.Columns)),
        position=np.array(position, dtype=float),
        directions=directions / lengths[:, None],
        spacing=(float(spacing[1]), float(spacing[0])),
        thickness=float(_value(groups, "PixelMeasuresSequence", "SliceThickness") or 0) or 1.0,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        uid=str(data.get("SOPInstanceUID", "")),
    )


def _value(groups: Sequence[Any], sequence: str, keyword: str) -> Any:
    """An attribute of the frame's own group, else of the shared one, else of the top level."""
    for group in groups:
        if group is None:
            continue
        inner = _first(group, sequence)
        found = (group if inner is None else inner).get(keyword)
        if found is not None:
            return found
    return None


def _first(data: Any, sequence: str) -> Any:
    items = data.get(sequence)
    return items[0] if items else None


def arrange(slices: Sequence[Slice], path: Path) -> tuple[list[Slice], Array]:
    """Slices in order along their normal, and the affine from (I, J, K) to RAS+ mm.

    The third column is the mean step from slice to slice, so a tilted gantry gives an exact, sheared affine.

    Args:
        slices: at least two, of one series.
        path: the file or folder, named in errors.

    Raises:
        GeometryError: when they do not form one evenly spaced stack.
    """
    first = slices[0]
    for other in slices[1:]:
        if other.shape != first.shape:
            raise GeometryError(
                f"{path} mixes slices of {first.shape} and {other.shape} rows and columns",
                remedy="put each series into a folder of its own",
            )
        if np.abs(other.directions - first.directions).max() > _ANGLE_TOLERANCE:
            raise GeometryError(
                f"{path} mixes slices of different orientation", remedy="put localizers into a folder of their own"
            )
        if not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise GeometryError(
                f"{path} mixes pixel spacings {first.spacing} and {other.spacing} mm",
                remedy="put each series into a folder of its own",
            )
    ordered = sorted(slices, key=lambda one: float(one.position @ first.normal))
    positions = np.array([one.position for one in ordered])
    _check_even(positions @ first.normal, path)
    step = (positions[-1] - positions[0]) / (len(ordered) - 1)
    offsets = positions - positions[0] - np.arange(len(ordered))[:, None] * step
    if np.abs(offsets).max() > max(0.25 * float(np.linalg.norm(step)), 0.1):
        raise GeometryError(f"{path}: its slices do not lie on one line", remedy="split it into stacks")
    return ordered, _affine(ordered[0], step)


def _check_even(places: Array, path: Path) -> None:
    """Places (n,) in mm along the normal, ascending."""
    gaps = np.diff(places)
    median = float(np.median(gaps))
    if gaps.min() < max(0.01, 0.01 * median):
        raise GeometryError(
            f"{path} holds two slices at one place ({places[int(gaps.argmin())]:.2f} mm along the stack)",
            remedy="keep one volume per folder: one time point, echo or reconstruction",
        )
    worst = int(np.abs(gaps - median).argmax())
    if abs(gaps[worst] - median) > max(0.01, _GAP_TOLERANCE * median):
        raise GeometryError(
            f"{path}: slices are {median:.2f} mm apart, but {gaps[worst]:.2f} mm between slices {worst + 1} and"
            f" {worst + 2} of {len(places)}",
            remedy="slices are missing or unevenly spaced; export the complete series",
        )


def slice_affine(one: Slice) -> Array:
    """(4, 4) to RAS+ mm of a single slice; the third column is the normal times the slice thickness."""
    return _affine(one, one.normal * one.thickness)


def _affine(origin: Slice, step: Array) -> Array:
    lps = np.eye(4)
    lps[:3, 0] = origin.directions[0] * origin.spacing[0]
    lps[:3, 1] = origin.directions[1] * origin.spacing[1]
    lps[:3, 2] = step
    lps[:3, 3] = origin.position
    return np.asarray(LPS_TO_RAS @ lps)


def picture_affine(data: Any) -> tuple[Array, bool, bool]:
    """Geometry of a single image without a position (X-ray, ultrasound, photograph).

    Spacing: PixelSpacing, else ImagerPixelSpacing (at the detector, so with the magnification of the projection), else
    the calibration of an ultrasound image with one region, or several of the same, in centimetres.
    Orientation: PatientOrientation, else that of ``PICTURE_AFFINE`` as a convention that is marked as not known.

    Returns:
        The (4, 4) affine to RAS+, whether its spacing is known, whether its orientation is known.
    """
    spacing = _projection_spacing(data) or _ultrasound_spacing(data)
    directions = _patient_directions(data)
    affine = PICTURE_AFFINE.copy()
    if directions is not None:
        affine[:3, 0], affine[:3, 1] = directions
        affine[:3, 2] = np.cross(*directions)
    affine[:3, 0] *= spacing[0] if spacing else 1.0
    affine[:3, 1] *= spacing[1] if spacing else 1.0
    return affine, spacing is not None, directions is not None


def _projection_spacing(data: Any) -> tuple[float, float] | None:
    """(along a row, down a column) in mm."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        value = data.get(keyword)
        if value and len(value) == 2 and min(float(mm) for mm in value) > 0:
            return float(value[1]), float(value[0])
    return None


def _ultrasound_spacing(data: Any) -> tuple[float, float] | None:
    regions = data.get("SequenceOfUltrasoundRegions") or []
    found = set()
    for region in regions:
        in_centimetres = region.get("PhysicalUnitsXDirection") == 3 and region.get("PhysicalUnitsYDirection") == 3
        deltas = (abs(float(region.get("PhysicalDeltaX", 0))), abs(float(region.get("PhysicalDeltaY", 0))))
        if not in_centimetres or min(deltas) <= 0:
            return None
        found.add((round(deltas[0] * 10, 6), round(deltas[1] * 10, 6)))
    return found.pop() if len(found) == 1 else None


def _patient_directions(data: Any) -> tuple[Array, Array] | None:
    """Unit vectors, RAS+, along a row and down a column, from the first letters of PatientOrientation."""
    letters = [str(value)[:1] for value in data.get("PatientOrientation") or []]
    if len(letters) != 2 or any(letter not in _LETTERS for letter in letters):
        return None
    (world_i, sign_i), (world_j, sign_j) = _LETTERS[letters[0]], _LETTERS[letters[1]]
    if world_i == world_j:
        return None
    along, down = np.zeros(3), np.zeros(3)
    along[world_i], down[world_j] = sign_i, sign_j
    return along, down
