"""DICOM series, SEG and RTSTRUCT files with known geometry, written by pydicom from the definitions of the standard.

Nothing here uses Osler's code, so that a mistake there cannot hide behind the same mistake here. Positions are LPS+ mm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP_CLASS = "1.2.840.10008.5.1.4.1.1.66.7"
RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, -0.8)  # 3-4-5 triangles: unit vectors at a right angle


@dataclass(frozen=True)
class Series:
    """A series of slices: ``place(i, j, k)`` is the LPS+ position of column i, row j, slice k."""

    folder: Path
    shape: tuple[int, int, int]
    orientation: tuple[float, ...]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    uid: str
    frame: str
    patient: str
    study: str
    instances: tuple[str, ...]

    def place(self, i: Any, j: Any, k: Any) -> np.ndarray:
        """(..., 3) LPS+ mm of fractional columns, rows and slices."""
        row, column = np.array(self.orientation[:3], float), np.array(self.orientation[3:], float)
        steps = np.stack(np.broadcast_arrays(i, j, k), axis=-1) * np.array(self.spacing)
        return np.array(self.origin) + steps @ np.stack([row, column, np.cross(row, column)])


def write_series(
    folder: Path,
    shape: tuple[int, int, int] = (12, 10, 5),
    *,
    orientation: Sequence[float] = AXIAL,
    spacing: tuple[float, float, float] = (0.8, 0.5, 2.0),
    origin: tuple[float, float, float] = (-30.0, -40.0, 100.0),
    order: Sequence[int] | None = None,
    patient: str = "patient-1",
    frame: str | None = None,
    study: str = "1.2.3.4",
) -> Series:
    """Slices of noise; ``order`` says which slice each file (by name) holds. ``spacing`` is along i, j, k in mm."""
    instances = tuple(generate_uid() for _ in range(shape[2]))
    made = Series(
        folder,
        shape,
        tuple(orientation),
        spacing,
        origin,
        generate_uid(),
        frame or generate_uid(),
        patient,
        study,
        instances,
    )
    rng = np.random.default_rng(sum(shape))
    for number, k in enumerate(order or range(shape[2])):
        pixels = rng.integers(0, 1000, (shape[1], shape[0])).astype(np.int16)
        data = _new("1.2.840.10008.5.1.4.1.1.2", "CT", made, uid=instances[k])
        data.SeriesInstanceUID, data.FrameOfReferenceUID = made.uid, made.frame
        data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = *pixels.shape, 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept, data.SliceThickness = 1, -1024, spacing[2]
        data.PixelSpacing, data.ImageOrientationPatient = [spacing[1], spacing[0]], list(orientation)
        data.ImagePositionPatient, data.PixelData = made.place(0, 0, k).tolist(), pixels.tobytes()
        _saved(data, folder / f"i{number:03}.dcm", {})
    return made


def write_rtstruct(
    path: Path,
    series: Series,
    structures: Mapping[str, Sequence[tuple[str, np.ndarray, int | None]]],
    *,
    references: bool = True,
    **changes: Any,
) -> Path:
    """A structure set: per name, contours as (type, points (N, 3) LPS+, slice that it names or None)."""
    data = _new(RTSTRUCT_CLASS, "RTSTRUCT", series)
    data.FrameOfReferenceUID = series.frame
    data.ReferencedFrameOfReferenceSequence = [_item(FrameOfReferenceUID=series.frame)]
    if references:
        named = _item(SeriesInstanceUID=series.uid, ContourImageSequence=[_reference(uid) for uid in series.instances])
        study = _item(ReferencedSOPInstanceUID=series.study, RTReferencedSeriesSequence=[named])
        data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence = [study]
    data.StructureSetROISequence, data.ROIContourSequence, data.RTROIObservationsSequence = [], [], []
    for number, (name, contours) in enumerate(structures.items(), 1):
        data.StructureSetROISequence.append(
            _item(ROINumber=number, ReferencedFrameOfReferenceUID=series.frame, ROIName=name)
        )
        data.ROIContourSequence.append(
            _item(ReferencedROINumber=number, ContourSequence=[_contour(*contour, series) for contour in contours])
        )
        data.RTROIObservationsSequence.append(_item(ObservationNumber=number, ReferencedROINumber=number))
    return _saved(data, path, changes)


def write_seg(
    path: Path,
    series: Series,
    masks: Mapping[str, np.ndarray],
    *,
    kind: str = "BINARY",
    codes: Mapping[str, tuple[str, str, str]] | None = None,
    frames: Sequence[tuple[str, int]] | None = None,
    sources: bool = True,
    maximum: int = 255,
    **changes: Any,
) -> Path:
    """A segmentation of masks (I, J, K); fractions from 0 to 1 when fractional; empty slices have no frame.

    Args:
        path: where to write it.
        series: that it refers to.
        masks: by label, in the order of the segments' numbers.
        kind: SegmentationType.
        codes: property type by label: value, scheme, meaning.
        frames: label and slice of each frame, in the order of the file; None takes all in order.
        sources: whether each frame names the slice that it was drawn on.
        maximum: MaximumFractionalValue.
        **changes: attributes of the data set.
    """
    data = _new(LABELMAP_CLASS if kind == "LABELMAP" else SEG_CLASS, "SEG", series)
    data.FrameOfReferenceUID, data.SegmentationType = series.frame, kind
    data.Rows, data.Columns = series.shape[1], series.shape[0]
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated = data.BitsStored = 1 if kind == "BINARY" else 8
    data.HighBit = data.BitsStored - 1
    if kind == "FRACTIONAL":
        data.SegmentationFractionalType, data.MaximumFractionalValue = "OCCUPANCY", maximum
    data.SegmentSequence = [_segment(number, name, (codes or {}).get(name)) for number, name in enumerate(masks, 1)]
    data.ReferencedSeriesSequence = [
        _item(SeriesInstanceUID=series.uid, ReferencedInstanceSequence=[_reference(uid) for uid in series.instances])
    ]
    orientation = _item(ImageOrientationPatient=list(series.orientation))
    measures = _item(
        PixelSpacing=[series.spacing[1], series.spacing[0]],
        SliceThickness=series.spacing[2],
        SpacingBetweenSlices=series.spacing[2],
    )
    data.SharedFunctionalGroupsSequence = [
        _item(PlaneOrientationSequence=[orientation], PixelMeasuresSequence=[measures])
    ]
    numbers = {name: number for number, name in enumerate(masks, 1)}
    pixels = []
    data.PerFrameFunctionalGroupsSequence = []
    for name, k in frames or _all_frames(masks, kind):
        data.PerFrameFunctionalGroupsSequence.append(_frame(series, k, numbers.get(name), sources=sources))
        pixels.append(_pixels(masks, name, k, kind, maximum))
    data.NumberOfFrames = len(pixels)
    stored = np.stack(pixels)
    data.PixelData = np.packbits(stored.ravel(), bitorder="little").tobytes() if kind == "BINARY" else stored.tobytes()
    if len(data.PixelData) % 2:
        data.PixelData += b"\0"
    return _saved(data, path, changes)


def _all_frames(masks: Mapping[str, np.ndarray], kind: str) -> list[tuple[str, int]]:
    depth = next(iter(masks.values())).shape[2]
    if kind == "LABELMAP":
        return [("", k) for k in range(depth)]
    return [(name, k) for name, mask in masks.items() for k in range(depth) if mask[..., k].any()]


def _pixels(masks: Mapping[str, np.ndarray], name: str, k: int, kind: str, maximum: int) -> np.ndarray:
    """(rows, columns) uint8."""
    if kind == "LABELMAP":
        return sum(mask[..., k].T.astype(np.uint8) * number for number, mask in enumerate(masks.values(), 1))
    mask = masks[name][..., k].T
    return np.rint(mask * maximum).astype(np.uint8) if kind == "FRACTIONAL" else mask.astype(np.uint8)


def _frame(series: Series, k: int, number: int | None, *, sources: bool) -> Dataset:
    frame = _item(PlanePositionSequence=[_item(ImagePositionPatient=series.place(0, 0, k).tolist())])
    if number is not None:
        frame.SegmentIdentificationSequence = [_item(ReferencedSegmentNumber=number)]
    if sources:
        frame.DerivationImageSequence = [_item(SourceImageSequence=[_reference(series.instances[k])])]
    return frame


def _segment(number: int, name: str, code: tuple[str, str, str] | None) -> Dataset:
    value, scheme, meaning = code or ("85756007", "SCT", "Tissue")
    coded = _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)
    category = _item(CodeValue="123037004", CodingSchemeDesignator="SCT", CodeMeaning="Anatomical Structure")
    return _item(
        SegmentNumber=number,
        SegmentLabel=name,
        SegmentAlgorithmType="MANUAL",
        SegmentedPropertyCategoryCodeSequence=[category],
        SegmentedPropertyTypeCodeSequence=[coded],
    )


def _contour(kind: str, points: np.ndarray, k: int | None, series: Series) -> Dataset:
    numbers = [f"{value:.10g}"[:16] for value in np.asarray(points, float).ravel()]
    contour = _item(ContourGeometricType=kind, NumberOfContourPoints=len(numbers) // 3, ContourData=numbers)
    if k is not None:
        contour.ContourImageSequence = [_reference(series.instances[k])]
    return contour


def _reference(uid: str) -> Dataset:
    return _item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=uid)


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _new(sop_class: str, modality: str, series: Series, uid: str | None = None) -> Dataset:
    data = _item(
        SOPClassUID=sop_class,
        SOPInstanceUID=uid or generate_uid(),
        Modality=modality,
        PatientID=series.patient,
        PatientName="Secret^Name",
        StudyInstanceUID=series.study,
        SeriesInstanceUID=generate_uid(),
    )
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def _saved(data: Dataset, path: Path, changes: Mapping[str, Any]) -> Path:
    for keyword, value in changes.items():
        setattr(data, keyword, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path
