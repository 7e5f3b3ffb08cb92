"""What a DICOM header says about how an image was made, and of which side; identifiers only as digests."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from osler.errors import Unreadable
from osler.studies.formats._dicom_header import read_dataset
from osler.studies.formats.base import reading

__all__ = ["TAGS", "read_tags"]

TAGS: dict[str, str] = {
    "Modality": "modality",
    "Laterality": "side",
    "ImageLaterality": "side",
    "FrameLaterality": "side",
    "BodyPartExamined": "body part",
    "ViewPosition": "view",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "model",
    "MagneticFieldStrength": "field strength",
    "ConvolutionKernel": "kernel",
    "KVP": "voltage",
    "BurnedInAnnotation": "burned-in annotation",
}
"""DICOM keyword and the name under which ``read_tags`` gives its value."""
_DIGESTED = {"PatientID": "patient", "StudyInstanceUID": "study", "SeriesInstanceUID": "series"}
_SALT = secrets.token_bytes(16)
"""Of this process: digests compare within one inspection and never outside it."""


def read_tags(path: Path) -> dict[str, str]:
    """The values of ``TAGS`` that a header holds, and "patient", "study" and "series" as salted digests.

    Args:
        path: a DICOM file, or the folder of a series, of which the first file counts.

    Raises:
        Unreadable: when it is not DICOM.
    """
    file = path if not path.is_dir() else next((f for f in sorted(path.iterdir()) if _may_be_dicom(f)), None)
    if file is None:
        raise Unreadable(f"{path} holds no file", remedy="name a DICOM file or the folder of a series")
    with reading(file, "a DICOM file"):
        data = read_dataset(file, pixels=False)
        values = {name: str(data.get(keyword, "") or "").strip() for keyword, name in TAGS.items()}
        values |= {n: v for k, n in TAGS.items() if n == "side" and (v := str(data.get(k, "") or "").strip())}
        whose = {name: str(data.get(keyword, "") or "").strip() for keyword, name in _DIGESTED.items()}
    values |= {name: hashlib.sha256(_SALT + value.encode()).hexdigest()[:16] for name, value in whose.items() if value}
    return {name: value for name, value in values.items() if value}


def _may_be_dicom(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".")
