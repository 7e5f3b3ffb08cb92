"""DICOM: a folder that directly holds one series, a single image, or an enhanced multi-frame file.

Rules:
- A series gives one image per stack of slices (``dicom_index``). Where a folder or file holds several, ``key`` names
  one; without it only a volume beside localizers is read, and anything else is refused with the list of keys.
- A stack is sorted by position and must be evenly spaced; otherwise it is refused, never repaired. A single image is
  2D, ``(C, I, J)``. A film (frames without a place) gives one frame, by ``index``.
- Values are after the modality transformation: int16 where they fit and are whole, else int32 or float32; CT is in HU,
  PET in SUV by body weight where the header allows.
- MONOCHROME1 is inverted, except for CT, PT and NM, whose values are quantities and not shades.
- Colour becomes RGB; equal channels become one.
- A gantry tilt gives an exact, sheared affine. What was done is said in ``Image.notes``.
- Identifiers are only returned by ``read_identifiers``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError, StudyError, Unreadable, Unsuitable
from osler.studies.formats import _dicom_frames as frames
from osler.studies.formats._dicom_geometry import Slice, arrange, slice_affine
from osler.studies.formats._dicom_header import SUFFIXES, is_dicom, read_dataset, read_header
from osler.studies.formats._dicom_pictures import picture_geometry
from osler.studies.formats._dicom_planes import dtype_of_planes, slice_pass
from osler.studies.formats._dicom_suv import SUV_UNIT, suv_factor
from osler.studies.formats._dicom_values import curve_of, number, padding_note, rescale, units_of, window_of_file
from osler.studies.formats.base import as_labels, reading
from osler.studies.formats.dicom_index import DicomImage, DicomIndex, index_files, index_folder
from osler.studies.geometry import Array
from osler.studies.image import Image, Source
from osler.studies.study import Identifiers
from osler.studies.volume import Volume, stand_in

__all__ = [
    "NAME",
    "SUFFIXES",
    "choose",
    "open_volume",
    "read",
    "read_dicom_image",
    "read_grid",
    "read_identifiers",
    "read_labels",
    "sniff",
]

NAME: str = "dicom"
_MOST_LISTED = 12
_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage


def sniff(path: Path) -> bool:
    """Whether a file is DICOM (by its preamble or suffix), or a folder directly holds such files."""
    if path.is_dir():
        return any(is_dicom(file) for file in sorted(path.iterdir()))
    return is_dicom(path)


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a series as (C, I, J, K) or an image as (C, I, J).

    Args:
        path: a file or a folder.
        key: which image of it, as ``dicom_index`` names them; its label alone is enough where that is unique.
        index: which frame of a film, 0-based.

    Raises:
        Unreadable: damaged, cut off, or without pixels.
        GeometryError: when the files do not form one evenly spaced stack.
        Unsuitable: an object that is no image, several images and no key, or a key that is not there.
    """
    # A key may name a series whose files lie in several folders below.
    found = index_folder(path, below=key is not None) if path.is_dir() else index_files((path,))
    return read_dicom_image(choose(found, path, key), path, index=index)


def open_volume(path: Path, *, key: str | None = None, index: int | None = None) -> Volume | None:
    """A stack with a file per grey slice, to be decoded as its planes are asked for; None for anything else.

    Arguments and errors as ``read``, but for files that turn out to be damaged where they are decoded.
    """
    found = index_folder(path, below=key is not None) if path.is_dir() else index_files((path,))
    image = choose(found, path, key)
    if index is not None or image.stack is None or len(image.stack.slices) < 2:
        return None
    ordered, affine, notes = _arranged(image, list(image.stack.slices), path)
    dtype = dtype_of_planes(ordered, image.headers)
    if dtype is None:
        return None
    frames.check_copies(image.stack.copies, path)
    middle = ordered[len(ordered) // 2].path
    with reading(middle, "a DICOM file"):
        data = read_dataset(middle, pixels=False)
        like = _make_image(data, np.zeros((2, 1, 1), dtype), affine, ordered, notes)
    factor = _uptake(data, ordered)[0] if data.get("Modality") == "PT" else None
    rows, columns = ordered[0].shape
    shape, kind = (1, columns, rows, len(ordered)), like.array.dtype
    opened = partial(slice_pass, ordered, image.headers, kind, factor)
    return Volume(replace(like, array=stand_in(shape, kind)), opened, partial(read_dicom_image, image, path))


def read_grid(path: Path, key: str | None = None) -> tuple[tuple[int, ...], Array | None]:
    """Shape (I, J[, K]) and affine of a stack, from its headers; the affine is None without a place in the patient.

    Raises:
        StudyError: as ``read``.
    """
    found = index_folder(path, below=key is not None) if path.is_dir() else index_files((path,))
    image = choose(found, path, key)
    header = next(iter(image.headers.values()))
    if image.stack is None:
        return (int(header.get("Columns") or 0), int(header.get("Rows") or 0)), None
    _check_stack(image, path)
    slices = list(image.stack.slices)
    rows, columns = slices[0].shape
    if len(slices) == 1:
        return (columns, rows), slice_affine(slices[0])
    ordered, affine, _ = arrange(slices, path)
    return (columns, rows, len(ordered)), affine


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a series whose values are label numbers; see ``as_labels``."""
    return as_labels(read(path, key=key, index=index), path)


def read_identifiers(path: str | Path) -> Identifiers:
    """Who a DICOM file or series is of. The result's repr shows nothing.

    Raises:
        Unreadable: when it is not DICOM, or damaged.
    """
    path = Path(path)
    file = next((one for one in sorted(path.iterdir()) if is_dicom(one)), path) if path.is_dir() else path
    read_header(file)  # says what is wrong with a file that is no DICOM object
    data = read_dataset(file, pixels=False)
    with reading(file, "a DICOM file"):  # values are parsed when they are asked for
        return Identifiers(
            patient_id=str(data.get("PatientID", "") or ""),
            patient_name=str(data.get("PatientName", "") or ""),
            birth_date=str(data.get("PatientBirthDate", "") or ""),
            accession_number=str(data.get("AccessionNumber", "") or ""),
            study_uid=str(data.get("StudyInstanceUID", "") or ""),
            study_date=str(data.get("StudyDate", "") or ""),
        )


def choose(found: DicomIndex, path: Path, key: str | None = None) -> DicomImage:
    """The image that is meant, with notes of what was left out.

    Args:
        found: the index of ``path``.
        path: named in errors.
        key: names it; None where there is only one, not counting localizers.

    Raises:
        StudyError: when there is none, or it cannot be told which.
    """
    if key is None and len(found.series) <= 1 and found.unreadable:
        raise _first_error(found)  # of a file that may be a slice of the stack
    images = found.images if key is None else _named(found, key)
    if not found.images:
        raise _no_image(found, path)
    _check_series(found, images, path)
    volumes = [image for image in images if not image.localizer] or list(images)
    if len(volumes) != 1:
        raise Unsuitable(
            f"{path} holds {_counted(len(found.images), 'image')} in {len(found.series)} series"
            + ("" if key is None else f", and {len(volumes)} of them are called {key!r}"),
            remedy="give a file of one image, or name one by its key: "
            + _listed(index_folder(path).images if path.is_dir() else found.images),
        )
    image = volumes[0]
    left = [f"{_counted(len(images) - 1, 'localizer')} of the series left out"] if len(images) > 1 else []
    kinds = Counter(found.others.values()) if path.is_dir() else Counter()
    left += [f"{_counted(count, 'file')} beside it left out: {kind}" for kind, count in kinds.items()]
    if found.unreadable:
        left.append(f"{_counted(len(found.unreadable), 'file')} beside it cannot be read and may belong to it")
    return replace(image, notes=(*image.notes, *left))


def read_dicom_image(image: DicomImage, path: Path, *, index: int | None = None) -> Image:
    """Voxels, geometry and display of an image of an index.

    Args:
        image: what to read.
        path: the file or folder that was asked for, named in errors.
        index: which frame of a film, 0-based.

    Raises:
        StudyError: when it cannot be read.
    """
    if image.kind == "film":
        return _read_film(image, path, index)
    if index is not None:
        raise Unsuitable(f"{path} is no film, so it has no frame {index}", remedy="leave the index out")
    if image.stack is None:
        return _read_picture(image)
    return _read_stack(image, list(image.stack.slices), path)


def _named(found: DicomIndex, key: str) -> list[DicomImage]:
    exact = [image for image in found.images if image.key == key]
    return exact or [image for image in found.images if key in (image.label, image.key.partition(":")[0])]


def _no_image(found: DicomIndex, path: Path) -> StudyError:
    if found.unreadable:
        return _first_error(found)
    if found.others:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in Counter(found.others.values()).items())
        what = next(iter(found.others.values())) if len(found.others) == 1 else f"objects that are no images ({kinds})"
        return Unsuitable(f"{path} is no image: {what}", remedy="give the series of images that it belongs to")
    return Unreadable(f"{path} cannot be read as a DICOM file", remedy="it is damaged or something else")


def _first_error(found: DicomIndex) -> StudyError:
    """A new error of the same kind: the index is kept, and a raised error holds on to all that its caller knew."""
    error = next(iter(found.unreadable.values()))
    return type(error)(error.problem, remedy=error.remedy)


def _listed(images: Sequence[DicomImage]) -> str:
    shown = [f"{image.key} ({image.describe()})" for image in images[:_MOST_LISTED]]
    return ", ".join(shown) + (f" and {len(images) - _MOST_LISTED} more" if len(images) > _MOST_LISTED else "")


def _counted(count: int, noun: str) -> str:
    plural = noun if noun.endswith("s") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def _check_series(found: DicomIndex, images: Sequence[DicomImage], path: Path) -> None:
    wanted = {image.key for image in images if image.stack is not None}
    for series in found.series:
        if series.problem and wanted & {image.key for image in series.images}:
            raise GeometryError(f"{path}: {series.problem}", remedy="export it again, or remove what is no slice")


def _check_stack(image: DicomImage, path: Path) -> None:
    if image.stack and image.stack.problem:
        which = f"{image.label} cannot be read as one volume: " if image.label else ""
        raise GeometryError(f"{path}: {which}{image.stack.problem}", remedy="repair the headers, or export it again")


def _read_picture(image: DicomImage) -> Image:
    file = image.files[0]
    data, values = frames.read_frames(file)
    with reading(file, "a DICOM file"):
        geometry = picture_geometry(data)
        values = rescale(values, [number(data, "RescaleSlope", 1.0)], [number(data, "RescaleIntercept", 0.0)])
        made = _make_image(data, values, geometry.affine, [], (*image.notes, *geometry.notes))
    source = Source((file,), NAME, {**made.source.uids, "SOPInstanceUID": (str(data.get("SOPInstanceUID", "")),)})
    return replace(
        made, spacing_known=geometry.spacing_known, orientation_known=geometry.orientation_known, source=source
    )


def _read_film(image: DicomImage, path: Path, index: int | None) -> Image:
    file, count = image.files[0], next(iter(image.headers.values())).frames
    if index is None and str(next(iter(image.headers.values())).get("SOPClassUID", "")) == _SLIDE:
        raise Unsuitable(
            f"{path} is a whole slide in {count} tiles",
            remedy=f"convert it to a pyramidal TIFF, or give the index of one tile, from 0 to {count - 1}",
        )
    if index is None or not 0 <= index < count:
        raise GeometryError(
            f"{path} holds {count} frames and a position for 0 of them, so they are no volume",
            remedy=f"give the index of one frame, from 0 to {count - 1}",
        )
    data, values = frames.read_frames(file, [index])
    with reading(file, "a DICOM file"):
        geometry = picture_geometry(data)
        values = rescale(values, [number(data, "RescaleSlope", 1.0)], [number(data, "RescaleIntercept", 0.0)])
        note = f"frame {index + 1} of {count}"
        made = _make_image(data, values, geometry.affine, [], (*image.notes, note, *geometry.notes))
    source = replace(made.source, paths=(file,))
    return replace(
        made, spacing_known=geometry.spacing_known, orientation_known=geometry.orientation_known, source=source
    )


def _arranged(image: DicomImage, slices: list[Slice], path: Path) -> tuple[list[Slice], Array, tuple[str, ...]]:
    """Slices in order, affine and notes of a stack."""
    notes = list(image.notes)
    _check_stack(image, path)
    if len(slices) == 1:
        ordered, affine = slices, slice_affine(slices[0])
    else:
        ordered, affine, tilt = arrange(slices, path)
        if tilt:
            notes.append(f"the gantry was tilted by {tilt:.1f}°: the affine is sheared accordingly")
    return ordered, affine, tuple(notes)


def _read_stack(image: DicomImage, slices: list[Slice], path: Path) -> Image:
    ordered, affine, notes = _arranged(image, slices, path)
    middle = ordered[len(ordered) // 2].path  # the end slices often show little, in a poor window
    values = frames.read_slices(ordered, image.headers)
    frames.check_copies(image.stack.copies if image.stack else (), path)
    with reading(middle, "a DICOM file"):
        data = read_dataset(middle, pixels=False)
        return _make_image(data, values, affine, ordered, notes)


def _make_image(data: Any, values: Array, affine: Array, slices: list[Slice], notes: tuple[str, ...]) -> Image:
    """(slices, rows, columns[, 3]) to an ``Image``; one slice becomes 2D."""
    if values.ndim == 4 and (values[..., :1] == values).all():
        values = values[..., 0]
    units = units_of(data)
    if data.get("Modality") == "PT" and values.ndim == 3:
        factor, note = _uptake(data, slices)
        notes = (*notes, note)
        if factor is not None:
            values, units = np.multiply(values, np.float32(factor), dtype=np.float32), SUV_UNIT
    elif values.ndim == 3 and (padding := padding_note(data, values)):
        notes = (*notes, padding)
    array = np.transpose(values if values.ndim == 4 else values[..., None])  # (C, columns, rows, slices)
    uids: dict[str, str | tuple[str, ...]] = {
        keyword: str(data.get(keyword, "") or "")
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID")
    }
    uids["SOPInstanceUID"] = tuple(one.uid for one in slices)
    return Image(
        array[..., 0] if array.shape[-1] == 1 else array,
        affine,
        modality=str(data.get("Modality", "") or ""),
        units=units,
        window=None if units == SUV_UNIT else window_of_file(data),
        source=Source(tuple(dict.fromkeys(one.path for one in slices)), NAME, uids),
        notes=notes,
        curve=None if units == SUV_UNIT else curve_of(data),
    )


def _uptake(data: Any, slices: Sequence[Slice]) -> tuple[float | None, str]:
    """What makes PET values SUV, None where the header does not allow it; and what was done."""
    moments = [str(one.facts["acquired"]) for one in slices if "acquired" in one.facts]
    return suv_factor(data, min(moments) if moments else None)
