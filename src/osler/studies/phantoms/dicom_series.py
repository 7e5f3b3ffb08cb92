"""Volumes as DICOM series: one file per slice, Explicit VR Little Endian. CT and MR differ in their attributes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osler.studies.geometry import LPS_TO_RAS
from osler.studies.image import Image
from osler.studies.phantoms.dicom_files import new_dataset, place, put_pixels, save

__all__ = ["write_ct_series", "write_mr_series"]

_INTERCEPT = -1024


def write_ct_series(
    image: Image, folder: Path, *, key: str, patient_id: str, equipment: Mapping[str, Any]
) -> list[Path]:
    """Write a CT slice by slice, the lowest first. The same arguments give the same bytes.

    Args:
        image: (1, I, J, K) in HU.
        folder: where the files go.
        key: what all UIDs are made from.
        patient_id: an invented one.
        equipment: attributes by keyword that are the same in every slice.

    Raises:
        StorageError: when a file cannot be written.
    """
    from pydicom.uid import CTImageStorage

    common = {**_CT, **equipment}
    stored = image.array[0].astype(np.int32) - _INTERCEPT
    return _write(image, stored, folder, sop_class=CTImageStorage, key=key, patient_id=patient_id, common=common)


def write_mr_series(
    image: Image,
    folder: Path,
    *,
    key: str,
    series: str,
    patient_id: str,
    common: Mapping[str, Any],
    first: int = 0,
    thickness: float | None = None,
) -> list[Path]:
    """Write an MR slice by slice. The same arguments give the same bytes.

    Args:
        image: (1, I, J, K), whole numbers from 0 to 4095.
        folder: where the files go.
        key: what the UIDs are made from: the same for all series of a study.
        series: names this series.
        patient_id: an invented one.
        common: attributes by keyword that are the same in every slice: the sequence, the equipment, a trigger time.
        first: instances that the series has already, for one of several frames.
        thickness: mm, where slices do not touch; None: the distance between them.

    Raises:
        StorageError: when a file cannot be written.
    """
    from pydicom.uid import MRImageStorage

    return _write(
        image,
        image.array[0],
        folder,
        sop_class=MRImageStorage,
        key=key,
        patient_id=patient_id,
        common={**_MR, **common},
        series=series,
        first=first,
        thickness=thickness,
    )


def _write(
    image: Image,
    stored: Any,
    folder: Path,
    *,
    sop_class: str,
    key: str,
    patient_id: str,
    common: Mapping[str, Any],
    series: str = "",
    first: int = 0,
    thickness: float | None = None,
) -> list[Path]:
    lps = LPS_TO_RAS @ image.affine
    paths = []
    for slice_ in range(image.shape[2]):
        number = first + slice_
        dataset = new_dataset(
            sop_class, key=key, series=series, instance=number, patient_id=patient_id, attributes=common
        )
        dataset.InstanceNumber = number + 1
        place(dataset, lps, slice_, image.spacing[2] if thickness is None else thickness)
        normal = np.cross(lps[:3, 0], lps[:3, 1])
        dataset.SliceLocation = f"{lps[:3] @ [0, 0, slice_, 1.0] @ normal / np.linalg.norm(normal):.10g}"
        put_pixels(dataset, stored[:, :, slice_])
        paths.append(save(dataset, folder / f"slice-{number + 1:04d}.dcm"))
    return paths


_CT: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "Modality": "CT",
    "StudyDescription": "Osler chest phantom",
    "SeriesDescription": "Axial chest",
    "PatientPosition": "HFS",
    "KVP": "120",
    "PhotometricInterpretation": "MONOCHROME2",
    "RescaleIntercept": str(_INTERCEPT),
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "WindowCenter": "40",
    "WindowWidth": "400",
}
_MR: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "M"],
    "Modality": "MR",
    "PatientPosition": "HFS",
    "PhotometricInterpretation": "MONOCHROME2",
    "MagneticFieldStrength": "1.5",
    "EchoTrainLength": "1",
}
