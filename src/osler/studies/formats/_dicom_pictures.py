"""Geometry of DICOM images without a position in the patient: radiographs, ultrasound, photographs, slides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from osler.studies.formats._dicom_facts import first_item
from osler.studies.geometry import PICTURE_AFFINE, Array

__all__ = ["PictureGeometry", "picture_geometry"]

_LETTERS = {"L": (0, -1.0), "R": (0, 1.0), "P": (1, -1.0), "A": (1, 1.0), "F": (2, -1.0), "H": (2, 1.0)}  # RAS+
_PROJECTIONS = ("CR", "DX", "RG", "MG", "XA", "RF", "IO", "PX")
_CENTIMETRE = 3  # PhysicalUnitsXDirection of an ultrasound region (PS3.3 C.8.5.5.1.15)
_LARGEST_FACTOR = 10.0  # magnification: a larger one is no measurement of a person


@dataclass(frozen=True, eq=False)
class PictureGeometry:
    """What a header says of an image without a position.

    Args:
        affine: (4, 4), index to RAS+ mm.
        spacing_known: False when one unit is a pixel.
        orientation_known: whether PatientOrientation says where the axes run.
        notes: where the spacing comes from, when there is more than one answer.
    """

    affine: Array
    spacing_known: bool
    orientation_known: bool
    notes: tuple[str, ...]


def picture_geometry(data: Any) -> PictureGeometry:
    """Spacing and orientation.

    Spacing of a projection is that in the patient where the header allows (PS3.3 10.7.1): PixelSpacing when it was
    calibrated, that is when it differs from ImagerPixelSpacing or says so; else the spacing at the detector divided by
    the radiographic magnification, when that is given. Of other images it is PixelSpacing, else the calibration of an
    ultrasound image with one region, or several of the same. Orientation: PatientOrientation, else that of
    ``PICTURE_AFFINE`` as a convention that is marked as not known.

    Args:
        data: a pydicom data set.
    """
    spacing, note = _projection(data) if data.get("Modality") in _PROJECTIONS else _plain(data)
    directions = _patient_directions(data)
    affine = PICTURE_AFFINE.copy()
    if directions is not None:
        affine[:3, 0], affine[:3, 1] = directions
        affine[:3, 2] = np.cross(*directions)
    affine[:3, 0] *= spacing[0] if spacing else 1.0
    affine[:3, 1] *= spacing[1] if spacing else 1.0
    notes = tuple(filter(None, (note, "" if spacing else _aspect(data))))
    return PictureGeometry(affine, spacing is not None, directions is not None, notes)


def _aspect(data: Any) -> str:
    """What PixelAspectRatio (height to width, PS3.3 C.7.6.3.1.7) says of an image without a spacing; "" of squares."""
    try:
        down, along = (float(value) for value in data.get("PixelAspectRatio") or (1, 1))
    except (TypeError, ValueError):  # not two numbers
        return ""
    if down == along or min(down, along) <= 0:
        return ""
    return (
        f"its pixels are {down / along:.3g} times as high as wide (PixelAspectRatio), and it is read and shown as if"
        " they were square"
    )


def _plain(data: Any) -> tuple[tuple[float, float] | None, str]:
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        found = _pair(data, keyword)
        if found:
            return found, "" if keyword == "PixelSpacing" else f"spacing is {keyword}"
    measures = first_item(first_item(data, "SharedFunctionalGroupsSequence") or {}, "PixelMeasuresSequence")
    if measures is not None and _pair(measures, "PixelSpacing"):
        return _pair(measures, "PixelSpacing"), ""
    return _ultrasound(data), ""


def _projection(data: Any) -> tuple[tuple[float, float] | None, str]:
    pixel, imager = _pair(data, "PixelSpacing"), _pair(data, "ImagerPixelSpacing")
    kind = str(data.get("PixelSpacingCalibrationType", "") or "")
    if pixel and (kind or (imager and not np.allclose(pixel, imager, rtol=1e-4))):
        how = {"GEOMETRY": " by geometry", "FIDUCIAL": " by an object of known size"}.get(kind, "")
        return pixel, f"spacing is PixelSpacing, calibrated{how} to the patient"
    if imager is None:
        other = pixel or _pair(data, "NominalScannedPixelSpacing")
        return other, "spacing is PixelSpacing; the header does not say whether it is in the patient" if pixel else ""
    factor, source = _magnification(data)
    if factor is None:
        return imager, "spacing is at the detector (ImagerPixelSpacing): sizes in the patient are smaller"
    return (
        (imager[0] / factor, imager[1] / factor),
        f"spacing is ImagerPixelSpacing divided by the magnification {factor:.4g} ({source})",
    )


def _magnification(data: Any) -> tuple[float | None, str]:
    stated = _positive(data, "EstimatedRadiographicMagnificationFactor")
    if stated and 1 <= stated <= _LARGEST_FACTOR:
        return stated, "EstimatedRadiographicMagnificationFactor"
    detector, patient = _positive(data, "DistanceSourceToDetector"), _positive(data, "DistanceSourceToPatient")
    if detector and patient and 1 <= detector / patient <= _LARGEST_FACTOR:
        return detector / patient, "DistanceSourceToDetector by DistanceSourceToPatient"
    return None, ""


def _positive(data: Any, keyword: str) -> float | None:
    value = data.get(keyword)
    return float(value) if value not in (None, "") and float(value) > 0 else None


def _pair(data: Any, keyword: str) -> tuple[float, float] | None:
    """(along a row, down a column) in mm; DICOM has them the other way round."""
    value = data.get(keyword)
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != 2:
        return None
    down, along = (float(mm) for mm in value)
    return (along, down) if min(along, down) > 0 and np.isfinite([along, down]).all() else None


def _ultrasound(data: Any) -> tuple[float, float] | None:
    found = set()
    for region in data.get("SequenceOfUltrasoundRegions") or []:
        units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
        deltas = (abs(float(region.get("PhysicalDeltaX", 0))), abs(float(region.get("PhysicalDeltaY", 0))))
        if units != (_CENTIMETRE, _CENTIMETRE) or min(deltas) <= 0:
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
