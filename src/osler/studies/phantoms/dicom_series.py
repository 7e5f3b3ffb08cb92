"""An axial CT as a DICOM series: one file per slice, CT Image Storage, Explicit VR Little Endian."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from osler.errors import StorageError
from osler.studies.geometry import LPS_TO_RAS, Array
from osler.studies.image import Image

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["write_ct_series"]

_INTERCEPT = -1024
_IMPLEMENTATION = "2.25.105187425363428219327516273854"


def write_ct_series(
    image: Image, folder: Path, *, key: str, patient_id: str, equipment: Mapping[str, str]
) -> list[Path]:
    """Write ``image`` slice by slice, the lowest first. The same arguments give the same bytes.

    Args:
        image: (1, I, J, K) in HU; its axes must run to the patient's left, back and head.
        folder: an existing folder.
        key: what all UIDs are made from.
        patient_id: an invented one.
        equipment: attributes by keyword that are the same in every slice.

    Raises:
        StorageError: when a file cannot be written.
    """
    lps = LPS_TO_RAS @ image.affine
    paths = []
    for number in range(image.shape[2]):
        position = lps @ np.array([0, 0, number, 1.0])
        dataset = _slice(image.array[0, :, :, number], image.spacing, position[:3], number, key, equipment)
        dataset.PatientID, dataset.PatientName = patient_id, f"Phantom^{patient_id[-4:]}"
        path = folder / f"slice-{number + 1:04d}.dcm"
        try:
            dataset.save_as(path, enforce_file_format=True)
        except OSError as error:
            raise StorageError.of(error, path) from error
        paths.append(path)
    return paths


def _uid(*parts: object) -> str:
    """A UID under 2.25 (one number of 128 bits) that depends on nothing but ``parts``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _slice(
    pixels: Array, spacing: tuple[float, ...], position: Array, number: int, key: str, equipment: Mapping[str, str]
) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    dataset.file_meta.ImplementationVersionName = "OSLER-PHANTOM"
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = _uid(key, "slice", number)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid(key, "study"), _uid(key, "series")
    dataset.FrameOfReferenceUID = _uid(key, "frame")
    for keyword, value in {**_CONSTANT, **equipment}.items():
        setattr(dataset, keyword, value)
    dataset.InstanceNumber, dataset.Rows, dataset.Columns = number + 1, pixels.shape[1], pixels.shape[0]
    dataset.PixelSpacing = [f"{spacing[1]:.6g}", f"{spacing[0]:.6g}"]  # between rows, then between columns
    dataset.SliceThickness = dataset.SpacingBetweenSlices = f"{spacing[2]:.6g}"
    dataset.ImagePositionPatient = [f"{value:.10g}" for value in position]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.SliceLocation = f"{position[2]:.10g}"
    stored = pixels.T.astype(np.int32) - _INTERCEPT  # (I, J) to rows of the picture
    dataset.PixelData = stored.astype("<u2").tobytes()
    return dataset


_CONSTANT: dict[str, str | int | float | list[str]] = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "StudyDate": "20200101",
    "StudyTime": "120000",
    "AccessionNumber": "",
    "Modality": "CT",
    "ReferringPhysicianName": "",
    "StudyDescription": "Osler chest phantom",
    "SeriesDescription": "Axial chest",
    "PatientBirthDate": "",
    "PatientSex": "O",
    "PatientPosition": "HFS",
    "StudyID": "1",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "PositionReferenceIndicator": "",
    "KVP": "120",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "RescaleIntercept": str(_INTERCEPT),
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "WindowCenter": "40",
    "WindowWidth": "400",
}
