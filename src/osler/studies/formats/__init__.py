"""Files in, files out: one module per format (see ``base``), and the one list of them."""

from __future__ import annotations

import os
from pathlib import Path

from osler.errors import OutputExists, PathNotFound, StorageError, Unreadable, UsageError
from osler.studies.formats import dicom, nifti, npz, raster
from osler.studies.formats.base import Format, WritableFormat, has_suffix
from osler.studies.image import Image

__all__ = ["FORMATS", "read_image", "read_labels", "sniff", "write_image"]

# Suffixes first; DICOM, which often has none, looks into the file and comes last.
FORMATS: tuple[Format, ...] = (nifti, raster, npz, dicom)
_WRITABLE: tuple[WritableFormat, ...] = (nifti, raster, npz)


def sniff(path: str | Path) -> str | None:
    """The name of the format that a file, or a folder that directly holds a DICOM series, is of; None for neither."""
    found = _format_of(Path(path))
    return found.NAME if found else None


def read_image(path: str | Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read one image of whatever format.

    Args:
        path: a file, or a folder holding DICOM files.
        key: name of the array in an ``.npz``, or of one of several images of a DICOM file or folder (``dicom_index``).
        index: row of that array, or frame of a DICOM film, 0-based.

    Returns:
        Voxels (C, I, J, K) or pixels (C, I, J) in their stored dtype, affine to RAS+ mm.

    Raises:
        PathNotFound: when there is nothing at ``path``.
        StudyError: when it cannot be read; names the file, the reason and the remedy.
    """
    return _known_format(Path(path), key).read(Path(path), key=key, index=index)


def read_labels(path: str | Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read one mask: one channel of whole numbers as the file writes them; arguments and errors as ``read_image``.

    Palette pictures give their indices, not their colours. A JPEG is refused: its compression changes labels.
    """
    return _known_format(Path(path), key).read_labels(Path(path), key=key, index=index)


def write_image(image: Image, path: str | Path, *, overwrite: bool = False) -> None:
    """Write an image as the suffix of ``path`` says; the file appears whole or not at all.

    NIfTI keeps the geometry; pictures and ``.npz`` have none to keep.

    Raises:
        OutputExists: when ``path`` exists and ``overwrite`` is False.
        UsageError: for a suffix that is not written, or values that the format cannot hold.
        StorageError: when the disk is full or the folder not writable.
    """
    path = Path(path)
    writer = next((one for one in _WRITABLE if has_suffix(path, one.WRITES)), None)
    if writer is None:
        suffixes = ", ".join(suffix for one in _WRITABLE for suffix in one.WRITES)
        raise UsageError(f"cannot write {path}: no writer for this suffix", remedy=f"use one of {suffixes}")
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists already", remedy="choose another output or allow overwriting")
    suffix = next(suffix for suffix in sorted(writer.WRITES, key=len, reverse=True) if has_suffix(path, (suffix,)))
    _put(path, writer.encode(image, suffix))


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError.of(error, path) from error


def _format_of(path: Path) -> Format | None:
    candidates: tuple[Format, ...] = (dicom,) if path.is_dir() else FORMATS
    return next((one for one in candidates if one.sniff(path)), None)


def _known_format(path: Path, key: str | None) -> Format:
    if not path.exists():
        raise PathNotFound(f"{path} does not exist", remedy="check the spelling")
    found = _format_of(path)
    if found is None and path.is_dir() and key is not None:  # a series may lie in folders below
        return dicom
    if found is None and path.is_dir():
        raise Unreadable(f"{path} is a folder without DICOM files", remedy="name a file, or a folder with one series")
    if found is None:
        reason = "is empty (0 bytes)" if path.stat().st_size == 0 else "is of no format that Osler knows"
        raise Unreadable(f"{path} {reason}", remedy="Osler reads NIfTI, DICOM, PNG, JPEG, TIFF, BMP and NPZ")
    return found
