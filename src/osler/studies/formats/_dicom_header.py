"""Headers of DICOM files: what indexing, sorting and decoding need, read without the pixels.

A ``Header`` holds plain Python values by DICOM keyword, whichever of the two ways read it: the scanner for usual files,
pydicom for all others and for multi-frame files, whose functional groups it keeps. Both hand the same raw bytes to the
same conversion. Absent and empty attributes are None.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from osler.studies.formats._dicom_scan import scan
from osler.studies.formats.base import has_suffix, peek, reading

__all__ = ["SUFFIXES", "Header", "is_dicom", "read_dataset", "read_header"]

SUFFIXES: tuple[str, ...] = (".dcm", ".dicom", ".ima")

_TEXT, _TEXTS, _NUMBER, _NUMBERS, _US, _FD, _FDS, _FL, _PRESENT = range(9)
_WANTED: dict[int, tuple[str, int]] = {
    0x00020002: ("MediaStorageSOPClassUID", _TEXT),
    0x00080008: ("ImageType", _TEXTS),
    0x00080016: ("SOPClassUID", _TEXT),
    0x00080018: ("SOPInstanceUID", _TEXT),
    0x00080020: ("StudyDate", _TEXT),
    0x00080022: ("AcquisitionDate", _TEXT),
    0x00080023: ("ContentDate", _TEXT),
    0x0008002A: ("AcquisitionDateTime", _TEXT),
    0x00080032: ("AcquisitionTime", _TEXT),
    0x00080033: ("ContentTime", _TEXT),
    0x00080060: ("Modality", _TEXT),
    0x00100010: ("PatientName", _TEXT),
    0x00100020: ("PatientID", _TEXT),
    0x00180050: ("SliceThickness", _NUMBER),
    0x00180060: ("KVP", _NUMBER),
    0x00180081: ("EchoTime", _NUMBER),
    0x00180082: ("InversionTime", _NUMBER),
    0x00180086: ("EchoNumbers", _NUMBER),
    0x00181060: ("TriggerTime", _NUMBER),
    0x00181210: ("ConvolutionKernel", _TEXTS),
    0x00181314: ("FlipAngle", _NUMBER),
    0x00189087: ("DiffusionBValue", _FD),
    0x00189089: ("DiffusionGradientOrientation", _FDS),
    0x00190010: ("_creator0019", _TEXT),
    0x0019100C: ("_siemens_b", _NUMBER),
    0x0019100E: ("_siemens_gradient", _FDS),
    0x0020000D: ("StudyInstanceUID", _TEXT),
    0x0020000E: ("SeriesInstanceUID", _TEXT),
    0x00200011: ("SeriesNumber", _NUMBER),
    0x00200012: ("AcquisitionNumber", _NUMBER),
    0x00200013: ("InstanceNumber", _NUMBER),
    0x00200032: ("ImagePositionPatient", _NUMBERS),
    0x00200037: ("ImageOrientationPatient", _NUMBERS),
    0x00200052: ("FrameOfReferenceUID", _TEXT),
    0x00200100: ("TemporalPositionIdentifier", _NUMBER),
    0x00209056: ("StackID", _TEXT),
    0x20010010: ("_creator2001", _TEXT),
    0x20011003: ("_philips_b", _FL),
    0x00280002: ("SamplesPerPixel", _US),
    0x00280004: ("PhotometricInterpretation", _TEXT),
    0x00280008: ("NumberOfFrames", _NUMBER),
    0x00280010: ("Rows", _US),
    0x00280011: ("Columns", _US),
    0x00280030: ("PixelSpacing", _NUMBERS),
    0x00280100: ("BitsAllocated", _US),
    0x00280101: ("BitsStored", _US),
    0x00280103: ("PixelRepresentation", _US),
    0x00281052: ("RescaleIntercept", _NUMBER),
    0x00281053: ("RescaleSlope", _NUMBER),
    0x00283000: ("ModalityLUTSequence", _PRESENT),
    0x00430010: ("_creator0043", _TEXT),
    0x00431039: ("_ge_b", _NUMBERS),
    0x00541300: ("FrameReferenceTime", _NUMBER),
    0x3004000C: ("GridFrameOffsetVector", _NUMBERS),
    0x3004000E: ("DoseGridScaling", _NUMBER),
    0x52009229: ("SharedFunctionalGroupsSequence", _PRESENT),
    0x52009230: ("PerFrameFunctionalGroupsSequence", _PRESENT),
}
_STRICT = {
    "Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "RescaleIntercept", "RescaleSlope", "GridFrameOffsetVector", "DoseGridScaling",
}  # fmt: skip
_DATA_SET = 0x00080000  # tags below are of the file's meta information
_GROUPS = (0x52009229, 0x52009230)
_BINARY = {_US: ("H", 2), _FD: ("d", 8), _FDS: ("d", 8), _FL: ("f", 4)}


@dataclass(frozen=True, eq=False)
class Header:
    """One file's header.

    Args:
        path: the file.
        syntax: transfer syntax UID.
        values: by keyword; numbers as float, several values as tuple, US as int.
        pixels: (offset, bytes) of uncompressed little endian pixel data in the file; None for any other.
        groups: the whole pydicom data set, for files with functional groups only.
    """

    path: Path
    syntax: str
    values: dict[str, Any] = field(repr=False)
    pixels: tuple[int, int] | None
    groups: Any = field(default=None, repr=False)

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value, or ``default`` when it is absent or empty."""
        found = self.values.get(keyword)
        return default if found is None else found

    @property
    def is_image(self) -> bool:
        """Whether it has rows and columns of pixels."""
        return bool(self.get("Rows")) and bool(self.get("Columns"))

    @property
    def frames(self) -> int:
        """How many frames it holds."""
        return max(int(self.get("NumberOfFrames", 1)), 1)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix or preamble; an index of a medium (DICOMDIR) and hidden files are not."""
    if path.name.startswith(".") or path.name.upper() == "DICOMDIR" or not path.is_file():
        return False
    return has_suffix(path, SUFFIXES) or peek(path, 132)[128:] == b"DICM"


def read_header(path: Path) -> Header:
    """Everything about a file but its pixels.

    Raises:
        Unreadable: when it is not DICOM.
    """
    with reading(path, "a DICOM file"):
        found = scan(path, _WANTED)
        if found is None or any(tag in found.values for tag in _GROUPS):
            return _from_pydicom(path)
        values = {}
        for tag, raw in found.values.items():
            keyword, kind = _WANTED[tag]
            values[keyword] = _lenient(keyword, _convert, raw, kind, "<")
        native = found.pixels if found.pixels and found.pixels[1] >= 0 else None
        return _checked(Header(path, found.syntax, values, native))


def read_dataset(path: Path, *, pixels: bool = True) -> Any:
    """The pydicom data set of a file; deflated ones are inflated up to a limit.

    Raises:
        Unreadable: when it is not DICOM.
    """
    import pydicom

    from osler.studies.formats._dicom_inflate import opened

    with reading(path, "a DICOM file"), opened(path) as stream:
        # force: files from before 1996, and from some archives, lack the preamble.
        force = has_suffix(path, SUFFIXES)
        try:
            data = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=force)
        except pydicom.errors.InvalidDicomError as error:  # these two are of no class that other parsers raise
            raise ValueError("it has no DICOM preamble") from error
        except pydicom.errors.BytesLengthException as error:
            raise ValueError("an element of its header has a length that does not fit its kind") from error
        if stream.missing:
            raise ValueError(f"it is cut off: {stream.missing:,} bytes of a value are missing")
        data.filename = str(path)
        return data


def _from_pydicom(path: Path) -> Header:
    data = read_dataset(path, pixels=False)
    meta: Any = getattr(data, "file_meta", None) or {}
    values = {}
    for tag, (keyword, kind) in _WANTED.items():
        place = meta if tag < _DATA_SET else data
        if tag in place:
            values[keyword] = _lenient(keyword, _from_element, place.get_item(tag), kind)
    groups = data if any(tag in data for tag in _GROUPS) else None
    syntax = str(meta.get("TransferSyntaxUID", "") or "")
    return _checked(Header(path, syntax, values, None, groups))


def _checked(header: Header) -> Header:
    if not any(header.get(keyword) for keyword in ("SOPClassUID", "MediaStorageSOPClassUID", "Rows")):
        raise ValueError("it holds no DICOM object")
    return header


def _lenient(keyword: str, convert: Callable[..., Any], *arguments: Any) -> Any:
    """A converted value; one that is damaged counts as absent, unless a place or a voxel's value depends on it."""
    try:
        return convert(*arguments)
    except ValueError as error:
        if keyword in _STRICT:
            raise ValueError(f"its {keyword} is damaged: {error}") from error
        return None


def _from_element(element: Any, kind: int) -> Any:
    """The value of a pydicom element, raw or already converted."""
    value = element.value
    if kind == _PRESENT:
        return True
    if isinstance(value, bytes):
        return _convert(value, kind, "<" if getattr(element, "is_little_endian", True) else ">")
    if value is None or value == "":
        return None
    several = list(value) if not isinstance(value, str) and hasattr(value, "__len__") else [value]
    return _of_kind(several, kind)


@lru_cache(maxsize=1 << 14)  # most values of a series are equal: one object each, and no second conversion
def _convert(raw: bytes, kind: int, order: str) -> Any:
    if kind == _PRESENT:
        return True
    if kind in _BINARY:
        letter, width = _BINARY[kind]
        count = len(raw) // width
        return _of_kind(list(struct.unpack(f"{order}{count}{letter}", raw[: count * width])), kind)
    text = raw.decode("latin-1").strip(" \0")
    return _of_kind(text.split("\\"), kind) if text else None


def _of_kind(values: list[Any], kind: int) -> Any:
    if not values:
        return None
    if kind == _TEXT:
        return "\\".join(str(value) for value in values).strip(" \0") or None
    if kind == _TEXTS:
        return tuple(str(value).strip(" \0") for value in values)
    if kind == _US:
        return int(values[0])
    numbers = tuple(_number(value) for value in values)
    return numbers if kind in (_NUMBERS, _FDS) else numbers[0]


def _number(value: Any) -> float:
    """A decimal string as a number.

    Raises:
        ValueError: when it is none, or not finite.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"its header holds {value!r} where a number belongs")
    return number
