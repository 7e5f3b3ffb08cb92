"""DICOM: a folder that directly holds one series, a single image, or an enhanced multi-frame file.

Rules:
- A stack is sorted by position and must be evenly spaced, of one orientation, shape and SeriesInstanceUID (all empty
  counts as one); otherwise it is refused, never repaired. A single image is 2D, ``(C, I, J)``.
- Values are after the modality transformation: int16 where they fit and are whole, else int32 or float32; CT is in HU.
- MONOCHROME1 is inverted, except for CT, PT and NM, whose values are quantities and not shades.
- Colour becomes RGB; equal channels become one.
- A cine or other multi-frame file without slice positions, and a segmentation, is refused.
- Identifiers are only returned by ``read_identifiers``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError, Unreadable, Unsuitable
from osler.studies.formats._dicom_geometry import Slice, arrange, picture_affine, slice_affine, slices_of
from osler.studies.formats._dicom_pixels import decode
from osler.studies.formats.base import as_labels, has_suffix, peek, reading
from osler.studies.geometry import Array
from osler.studies.image import Image, Source
from osler.studies.study import Identifiers

__all__ = ["NAME", "SUFFIXES", "read", "read_identifiers", "read_labels", "series_keys", "sniff"]

NAME: str = "dicom"
SUFFIXES: tuple[str, ...] = (".dcm", ".dicom")
_QUANTITIES = ("CT", "PT", "NM")
_SERIES_TAGS: list[Any] = ["SeriesInstanceUID", "ImagePositionPatient", "PerFrameFunctionalGroupsSequence"]


def sniff(path: Path) -> bool:
    """Whether a file is DICOM (by its preamble or suffix), or a folder directly holds such files."""
    if path.is_dir():
        return any(_is_dicom(file) for file in sorted(path.iterdir()))
    return _is_dicom(path)


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a series as (C, I, J, K) or an image as (C, I, J). ``key`` and ``index`` have no meaning here.

    Raises:
        Unreadable: damaged, cut off, or without pixels.
        GeometryError: when the files do not form one evenly spaced stack.
        Unsuitable: a segmentation, or frames that are not slices.
    """
    files = _files_of(path)
    headers = [_read_header(file) for file in files]
    _check_one_series(headers, path)
    slices = [one for header, file in zip(headers, files, strict=True) for one in slices_of(header, file)]
    frames = sum(int(header.get("NumberOfFrames", 1) or 1) for header in headers)
    if frames == 1:
        return _read_single(files[0], slices)
    if len(slices) != frames:
        kind = "images" if len(files) > 1 else "frames"
        raise GeometryError(
            f"{path} holds {frames} {kind} and a position for {len(slices)} of them, so they are no volume",
            remedy="give single images one by one; films are not supported yet",
        )
    ordered, affine = arrange(slices, path)
    middle = headers[files.index(ordered[len(ordered) // 2].path)]  # the end slices often show little, in a poor window
    return _make_image(middle, _read_stack(ordered), affine, ordered)


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a series whose values are label numbers; see ``as_labels``."""
    return as_labels(read(path), path)


def read_identifiers(path: str | Path) -> Identifiers:
    """Who a DICOM file or series is of. The result's repr shows nothing.

    Raises:
        Unreadable: when it is not DICOM.
    """
    data = _read_header(_files_of(Path(path))[0])
    return Identifiers(
        patient_id=str(data.get("PatientID", "") or ""),
        patient_name=str(data.get("PatientName", "") or ""),
        birth_date=str(data.get("PatientBirthDate", "") or ""),
        accession_number=str(data.get("AccessionNumber", "") or ""),
        study_uid=str(data.get("StudyInstanceUID", "") or ""),
        study_date=str(data.get("StudyDate", "") or ""),
    )


def series_keys(folder: Path) -> dict[Path, tuple[str, bool]]:
    """For each DICOM file directly in a folder: its SeriesInstanceUID and whether it has a position in the patient.

    A file that cannot be read gets ``("", True)``: reading it as part of the series reports it.
    """
    import pydicom

    keys = {}
    for file in _dicom_files(folder):
        try:
            with reading(file, "a DICOM file"):
                header = pydicom.dcmread(
                    file, stop_before_pixels=True, force=has_suffix(file, SUFFIXES), specific_tags=_SERIES_TAGS
                )
        except Unreadable:
            keys[file] = ("", True)
            continue
        positioned = "ImagePositionPatient" in header or "PerFrameFunctionalGroupsSequence" in header
        keys[file] = (str(header.get("SeriesInstanceUID", "")), positioned)
    return keys


def _is_dicom(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    return has_suffix(path, SUFFIXES) or (path.name.upper() != "DICOMDIR" and peek(path, 132)[128:] == b"DICM")


def _dicom_files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if _is_dicom(file)]


def _files_of(path: Path) -> list[Path]:
    return _dicom_files(path) if path.is_dir() else [path]


def _read_header(path: Path) -> Any:
    """Everything before the pixels.

    Raises:
        Unreadable: when it is not DICOM, or has no pixels.
    """
    import pydicom

    with reading(path, "a DICOM file"):
        # force: files from before 1996, and from some archives, lack the preamble.
        data = pydicom.dcmread(path, stop_before_pixels=True, force=has_suffix(path, SUFFIXES))
        if "SOPClassUID" not in data and "Rows" not in data:
            raise ValueError("it holds no DICOM image")
        if data.get("Modality") == "SEG":
            raise Unsuitable(f"{path} is a DICOM segmentation, not an image", remedy="give the series it was drawn on")
        if "Rows" not in data or "Columns" not in data:
            raise Unreadable(
                f"{path} has no pixels (its modality is {data.get('Modality', 'not given')})", remedy="give an image"
            )
        return data


def _check_one_series(headers: list[Any], path: Path) -> None:
    count = len({str(header.get("SeriesInstanceUID", "")) for header in headers})
    if count > 1:
        raise GeometryError(
            f"{path} holds {count} series in {len(headers)} files", remedy="put each series into a folder of its own"
        )


def _read_frames(path: Path) -> tuple[Any, Array]:
    """A whole data set and its stored values: (frames, rows, columns[, 3]), MONOCHROME1 inverted."""
    import pydicom

    with reading(path, "a DICOM file"):
        data = pydicom.dcmread(path, force=has_suffix(path, SUFFIXES))
        frames = decode(data)
        if _is_inverted(data):
            frames = frames.dtype.type(_stored_sum(data)) - frames
        if data.get("ModalityLUTSequence"):
            from pydicom.pixels.processing import apply_modality_lut

            frames = np.asarray(apply_modality_lut(frames, data))
        return data, frames


def _read_single(path: Path, slices: list[Slice]) -> Image:
    data, frames = _read_frames(path)
    if slices:
        values = _rescale(frames, [slices[0].slope], [slices[0].intercept])
        return _make_image(data, values, slice_affine(slices[0]), slices)
    slope, intercept = _number(data, "RescaleSlope", 1.0), _number(data, "RescaleIntercept", 0.0)
    affine, spacing_known, orientation_known = picture_affine(data)
    image = _make_image(data, _rescale(frames, [slope], [intercept]), affine, slices)
    source = Source((path,), NAME, {**image.source.uids, "SOPInstanceUID": (str(data.get("SOPInstanceUID", "")),)})
    return replace(image, spacing_known=spacing_known, orientation_known=orientation_known, source=source)


def _read_stack(ordered: list[Slice]) -> Array:
    """Rescaled values (slices, rows, columns[, 3]) of slices in order; one file is decoded at a time."""
    first = ordered[0].path
    _, frames = _read_frames(first)
    if len({one.path for one in ordered}) == 1:
        stored = frames[[one.place for one in ordered]]
    else:
        stored = np.empty((len(ordered), *frames.shape[1:]), dtype=frames.dtype)
        for place, one in enumerate(ordered):
            if one.path != first:
                _, frames = _read_frames(one.path)
            if frames.dtype != stored.dtype or frames.shape[1:] != stored.shape[1:]:
                raise GeometryError(
                    f"{one.path} holds {frames.dtype} {frames.shape[1:]} and the first slice of its series"
                    f" {stored.dtype} {stored.shape[1:]}",
                    remedy="put each series into a folder of its own",
                )
            stored[place] = frames[0]
    return _rescale(stored, [one.slope for one in ordered], [one.intercept for one in ordered])


def _rescale(stored: Array, slopes: list[float], intercepts: list[float]) -> Array:
    """``stored × slope + intercept`` per slice: int16 or int32 where that is exact, else float32."""
    if stored.ndim == 4 or (set(slopes) == {1.0} and set(intercepts) == {0.0}):
        return stored  # colour has no rescaling
    dtype: type[np.generic] = np.float32
    whole = all(value.is_integer() for value in (*slopes, *intercepts)) and stored.dtype.kind in "iu"
    if whole:
        ends = np.outer([float(stored.min()), float(stored.max())], slopes) + intercepts
        fitting = [
            kind
            for kind in (np.int16, np.int32)
            if np.iinfo(kind).min <= ends.min() and ends.max() <= np.iinfo(kind).max
        ]
        dtype = fitting[0] if fitting else np.float32
    values = np.empty(stored.shape, dtype=dtype)
    for place, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        values[place] = stored[place].astype(np.float64) * slope + intercept
    return values


def _is_inverted(data: Any) -> bool:
    return data.get("PhotometricInterpretation") == "MONOCHROME1" and data.get("Modality") not in _QUANTITIES


def _stored_sum(data: Any) -> int:
    """Smallest plus largest stored value: what a value and its inversion add up to."""
    return -1 if int(data.PixelRepresentation) == 1 else (1 << int(data.BitsStored)) - 1


def _make_image(data: Any, values: Array, affine: Array, slices: list[Slice]) -> Image:
    """(slices, rows, columns[, 3]) to an ``Image``; one slice becomes 2D."""
    if values.ndim == 4 and (values[..., :1] == values).all():
        values = values[..., 0]
    array = np.transpose(values if values.ndim == 4 else values[..., None])  # (C, columns, rows, slices)
    modality = str(data.get("Modality", "") or "")
    uids: dict[str, str | tuple[str, ...]] = {
        keyword: str(data.get(keyword, "") or "")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID")
    }
    uids["SOPInstanceUID"] = tuple(one.uid for one in slices)
    return Image(
        array[..., 0] if array.shape[-1] == 1 else array,
        affine,
        modality=modality,
        units="HU" if modality == "CT" else "",
        window=_window(data),
        source=Source(tuple(dict.fromkeys(one.path for one in slices)), NAME, uids),
    )


def _window(data: Any) -> tuple[float, float] | None:
    """The file's first (centre, width), following the values through an inversion."""
    centre, width = _number(data, "WindowCenter", np.nan), _number(data, "WindowWidth", np.nan)
    if not (np.isfinite(centre) and width > 0):
        return None
    if _is_inverted(data):
        slope, intercept = _number(data, "RescaleSlope", 1.0), _number(data, "RescaleIntercept", 0.0)
        centre = slope * _stored_sum(data) + 2 * intercept - centre
    return centre, width


def _number(data: Any, keyword: str, default: float) -> float:
    """The first value of a numeric attribute; ``default`` when it is absent or empty."""
    value = data.get(keyword)
    if value is None or value == "":
        return default
    return float(value if isinstance(value, (int, float)) else value[0])
