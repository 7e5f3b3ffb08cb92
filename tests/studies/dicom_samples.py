"""Small DICOM files with known geometry, written by pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def make_slice(
    pixels: np.ndarray,
    position: Sequence[float] | None = (0, 0, 0),
    *,
    series: str = "1.2.3",
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.5, 0.8),
    **attributes: Any,
) -> Dataset:
    """A grey data set of ``pixels`` (rows, columns); ``spacing`` is (between rows, between columns) in mm."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series, "1.2", "1.4"
    data.PatientID, data.PatientName, data.Modality = "secret-id", "Secret^Name", "CT"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = list(spacing), 1, -1024
    if position is not None:
        data.ImagePositionPatient, data.ImageOrientationPatient = list(position), list(orientation)
    data.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(data, keyword, value)
    return data


def save(data: Dataset, path: Path) -> Path:
    """Write one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def write_series(
    folder: Path, places: Sequence[float], *, series: str = "1.2.3", shape: tuple[int, int] = (4, 6)
) -> Path:
    """Axial slices at heights ``places`` (mm, LPS z), in that order; slice n is filled with the value n."""
    for number, z in enumerate(places):
        pixels = np.full(shape, number, dtype=np.int16)
        save(make_slice(pixels, (-10, -20, z), series=series), folder / f"slice{number:02}.dcm")
    return folder
