"""What every DICOM file of a phantom has: its file meta information, UIDs made from a key, an invented patient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import StorageError
from osler.studies.geometry import Array
from osler.studies.phantoms.files import uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["new_dataset", "place", "put_pixels", "save"]

_IMPLEMENTATION = "2.25.105187425363428219327516273854"
_COMMON: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "StudyDate": "20200101",
    "StudyTime": "120000",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "StudyID": "1",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "PositionReferenceIndicator": "",
}


def new_dataset(
    sop_class: str, *, key: str, series: str, instance: object, patient_id: str, attributes: Mapping[str, Any]
) -> Dataset:
    """A data set with its file meta information (Explicit VR Little Endian) and everything but pixels and place.

    Args:
        sop_class: the UID of its SOP class.
        key: what all UIDs are made from: one key is one study.
        series: names the series within the study.
        instance: names the instance within the series.
        patient_id: an invented one.
        attributes: by keyword; these win over what every file has.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    dataset.file_meta.ImplementationVersionName = "OSLER-PHANTOM"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(key, series, "instance", instance)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(key, "study"), uid(key, series, "series")
    dataset.FrameOfReferenceUID = uid(key, "frame")
    dataset.PatientID, dataset.PatientName = patient_id, f"Phantom^{patient_id[-4:]}"
    for keyword, value in {**_COMMON, **attributes}.items():
        setattr(dataset, keyword, value)
    return dataset


def place(dataset: Dataset, lps: Array, slice_: int, thickness: float) -> None:
    """Say where the slice lies.

    Args:
        dataset: changed in place.
        lps: (4, 4), index to LPS+ mm; its columns are perpendicular.
        slice_: index along K.
        thickness: mm.
    """
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :2] / spacing[:2]
    dataset.PixelSpacing = [f"{spacing[1]:.6g}", f"{spacing[0]:.6g}"]  # between rows, then between columns
    dataset.SliceThickness = f"{thickness:.6g}"
    dataset.SpacingBetweenSlices = f"{spacing[2]:.6g}"
    position = lps @ np.array([0, 0, slice_, 1.0])
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position[:3]]
    dataset.ImageOrientationPatient = [f"{value:.10g}" for value in directions.T.ravel()]


def put_pixels(dataset: Dataset, stored: Array, *, bits: int = 12) -> None:
    """Put (I, J) whole numbers from 0 into the data set as rows of unsigned 16-bit pixels, ``bits`` of them used."""
    dataset.Rows, dataset.Columns = stored.shape[1], stored.shape[0]
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.PixelRepresentation = 1, 16, 0
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelData = np.ascontiguousarray(stored.T).astype("<u2").tobytes()


def save(dataset: Dataset, path: Path) -> Path:
    """Write the file; its folder is made where it was missing.

    Raises:
        StorageError: when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
    except OSError as error:
        raise StorageError.of(error, path) from error
    return path
