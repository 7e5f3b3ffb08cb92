"""Where DICOM slices lie. In here positions and directions are DICOM's LPS+ millimetres; what leaves is RAS+.

A slice's ``pixel_array[row, column]`` becomes ``array[c, column, row]``: axis I runs along a row of the picture (the
first three numbers of ImageOrientationPatient; its spacing is the second of PixelSpacing), J down the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError
from osler.studies.formats._dicom_facts import Facts, first_item, frame_facts, header_facts
from osler.studies.formats._dicom_header import Header
from osler.studies.geometry import LPS_TO_RAS, Array

__all__ = ["Slice", "arrange", "slice_affine", "slices_of", "unevenness"]

_GAP_TOLERANCE = 0.05  # of the median gap: scanners round positions, a missing slice is a gap of 2
_SAME_PLACE = 1e-3  # mm along the normal
_TILT = 0.1  # mm: by how much the last slice of a stack has to lie beside the normal through the first to be tilted


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of one file. ``position`` (3,) is the centre of its first pixel and ``directions`` (2, 3) the unit
    vectors along a row and down a column, LPS+; ``spacing`` is mm (along a row, down a column); ``place`` is the
    frame's index in its file; ``facts`` tell it from others at the same place."""

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
    facts: Facts = field(default_factory=dict)

    @property
    def normal(self) -> Array:
        """Unit vector perpendicular to the slice, LPS+: row direction × column direction."""
        return _cross(self.directions[0], self.directions[1])


def slices_of(header: Header) -> list[Slice]:
    """The slices of a file, in file order; empty when the file does not say where its frames lie.

    Multi-frame files are described by their functional groups (PS3.3 C.7.6.16), dose grids by the offsets of their
    frames (PS3.3 C.8.8.3.2), all others by the top level, which holds for a single frame only.

    Raises:
        GeometryError: when the directions are not perpendicular unit vectors, the spacing is missing, there is not one
            description per frame, or the picture is a mosaic of slices.
    """
    if "MOSAIC" in (header.get("ImageType") or ()):
        raise GeometryError(
            f"{header.path} is a mosaic: the slices of a volume as tiles of one picture, whose places stand in a header"
            " that is private to Siemens",
            remedy="export it as single slices or as an enhanced multi-frame file, or convert it with dcm2niix",
        )
    if header.groups is not None:
        return _of_groups(header)
    if header.frames == 1:
        one = _slice(header, [header], 0, header_facts(header))
        return [one] if one else []
    return _of_dose(header) if header.get("GridFrameOffsetVector") else []


def _of_groups(header: Header) -> list[Slice]:
    data = header.groups
    shared, frames = first_item(data, "SharedFunctionalGroupsSequence"), data.get("PerFrameFunctionalGroupsSequence")
    if not frames and header.frames > 1:
        return []  # tiles of a slide, and films whose frames share everything
    own = list(frames) if frames else [None]
    if len(own) != header.frames:
        raise GeometryError(
            f"{header.path} holds {header.frames} frames and describes {len(own)}",
            remedy="export it again from its source",
        )
    slices = [
        _slice(header, [frame, shared, header], place, frame_facts([frame, shared])) for place, frame in enumerate(own)
    ]
    return [one for one in slices if one is not None]


def _of_dose(header: Header) -> list[Slice]:
    """The planes of a dose grid: offsets along the normal from the first plane."""
    offsets = header.get("GridFrameOffsetVector")
    first = _slice(header, [header], 0, {})
    if first is None:
        return []
    if len(offsets) != header.frames or offsets[0] != 0:
        raise GeometryError(
            f"{header.path} has {header.frames} frames and {len(offsets)} offsets, the first {offsets[0]:g} and not 0",
            remedy="export it again with relative offsets (GridFrameOffsetVector)",
        )
    return [
        Slice(
            path=first.path, place=place, shape=first.shape, position=first.position + offset * first.normal,
            directions=first.directions, spacing=first.spacing, thickness=first.thickness,
            slope=first.slope, intercept=first.intercept, uid=first.uid,
        )
        for place, offset in enumerate(offsets)
    ]  # fmt: skip


def _slice(header: Header, groups: list[Any], place: int, facts: Facts) -> Slice | None:
    position = _value(groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _value(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    if not position or not orientation:
        return None
    if len(position) != 3 or len(orientation) != 6:
        raise GeometryError(
            f"{header.path} has {len(position)} numbers of position and {len(orientation)} of orientation, not 3 and 6",
            remedy="repair the header at its source",
        )
    spacing = _value(groups, "PixelMeasuresSequence", "PixelSpacing")
    if not spacing or len(spacing) != 2 or min(float(mm) for mm in spacing) <= 0:
        raise GeometryError(
            f"{header.path} has a position but no valid PixelSpacing", remedy="repair the header at its source"
        )
    slope = _value(groups, "PixelValueTransformationSequence", "RescaleSlope")
    if slope is None:
        slope = header.get("DoseGridScaling")
    intercept = _value(groups, "PixelValueTransformationSequence", "RescaleIntercept")
    return Slice(
        path=header.path,
        place=place,
        shape=(int(header.get("Rows", 0)), int(header.get("Columns", 0))),
        position=np.array(position, dtype=float),
        directions=_directions(orientation, header.path),
        spacing=(float(spacing[1]), float(spacing[0])),
        thickness=abs(float(_value(groups, "PixelMeasuresSequence", "SliceThickness") or 0)) or 1.0,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        uid=str(header.get("SOPInstanceUID", "")),
        facts=facts,
    )


def _directions(orientation: Sequence[Any], path: Path) -> Array:
    """(2, 3) unit vectors."""
    directions = np.array(orientation, dtype=float).reshape(2, 3)
    lengths, product = np.sqrt((directions**2).sum(axis=1)), float(directions[0] @ directions[1])
    if not (abs(lengths - 1) < 1e-2).all() or abs(product) > 1e-2:
        raise GeometryError(
            f"{path}: ImageOrientationPatient {[float(value) for value in orientation]} is not two perpendicular unit"
            " vectors",
            remedy="repair the header at its source",
        )
    return np.asarray(directions / lengths[:, None])


def _value(groups: Sequence[Any], sequence: str, keyword: str) -> Any:
    """An attribute of the frame's own group, else of the shared one, else of the top level."""
    for group in groups:
        if group is None:
            continue
        inner = None if isinstance(group, Header) else first_item(group, sequence)
        found = (group if inner is None else inner).get(keyword)
        if found is not None:
            return found
    return None


def _cross(one: Array, other: Array) -> Array:
    """``np.cross`` of two vectors, without what makes it slow."""
    (a, b, c), (d, e, f) = one, other
    return np.array([b * f - c * e, c * d - a * f, a * e - b * d])


def unevenness(slices: Sequence[Slice]) -> str:
    """Why slices do not form one evenly spaced stack, in words; "" when they do.

    Args:
        slices: of one shape, orientation and spacing, in any order.
    """
    if len(slices) < 2:
        return ""
    ordered = sorted(slices, key=lambda one: float(one.position @ slices[0].normal))
    positions = np.array([one.position for one in ordered])
    return _gaps(positions @ slices[0].normal) or _sideways(positions)


def _gaps(places: Array) -> str:
    gaps = np.diff(places)
    if gaps.min() < _SAME_PLACE:
        return f"two slices at one place, {places[int(np.argmin(gaps))]:.2f} mm along their normal"
    median = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - median)))
    if abs(gaps[worst] - median) <= max(_GAP_TOLERANCE * median, 1e-3):
        return ""
    ratio = gaps[worst] / median
    missing = round(ratio) - 1 if abs(ratio - round(ratio)) <= _GAP_TOLERANCE and round(ratio) > 1 else 0
    guess = f", so {missing} {'is' if missing == 1 else 'are'} missing there" if missing else ""
    return (
        f"slices are {median:.2f} mm apart, but {gaps[worst]:.2f} mm between slices {worst + 1} and {worst + 2} of"
        f" {len(places)}{guess}"
    )


def _sideways(positions: Array) -> str:
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    offsets = positions - positions[0] - np.arange(len(positions))[:, None] * step
    apart = float(np.sqrt((offsets**2).sum(axis=1)).max())
    if apart <= max(_GAP_TOLERANCE * float(np.linalg.norm(step)), 0.1):
        return ""
    return f"its slices do not lie on one line: one is {apart:.2f} mm off it"


def arrange(slices: Sequence[Slice], path: Path) -> tuple[list[Slice], Array, float]:
    """Slices in order along their normal, the affine from (I, J, K) to RAS+ mm, and the tilt of the gantry.

    The third column is the mean step from slice to slice, so a tilted gantry gives an exact, sheared affine.

    Args:
        slices: at least two, of one shape, orientation and spacing.
        path: the file or folder, named in errors.

    Returns:
        Slices, (4, 4), and the angle between step and normal in degrees, 0 when it makes no difference.

    Raises:
        GeometryError: when they do not form one evenly spaced stack.
    """
    problem = unevenness(slices)
    if problem:
        raise GeometryError(f"{path}: {problem}", remedy="export the complete series, without copies and other series")
    first = slices[0]
    ordered = sorted(slices, key=lambda one: float(one.position @ first.normal))
    step = (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)
    along = float(step @ first.normal)
    beside = float(np.linalg.norm(step - along * first.normal))
    tilt = float(np.degrees(np.arctan2(beside, along))) if beside * (len(ordered) - 1) > _TILT else 0.0
    return ordered, _affine(ordered[0], step), tilt


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
