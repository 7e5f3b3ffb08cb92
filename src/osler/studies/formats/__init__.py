"""Files in, files out: one module per format (see ``base``), and the one list of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from osler.errors import OutputExists, PathNotFound, StorageError, Unreadable, Unsuitable, UsageError
from osler.studies.formats import (
    clip,
    dicom,
    dicom_rtstruct,
    dicom_seg,
    dicom_waveform,
    edf,
    metaimage,
    nifti,
    npz,
    nrrd,
    raster,
    slide,
    wfdb,
)
from osler.studies.formats._elsewhere import known_elsewhere
from osler.studies.formats.base import (
    Format,
    FramedFormat,
    LabelFormat,
    SignalFormat,
    StreamedFormat,
    WritableFormat,
    has_suffix,
)
from osler.studies.frames import Frames
from osler.studies.image import Image
from osler.studies.study import Signal
from osler.studies.volume import Volume

__all__ = [
    "FORMATS",
    "LABEL_FORMATS",
    "SIGNAL_FORMATS",
    "label_format",
    "open_volume",
    "read_frames",
    "read_image",
    "read_labels",
    "read_signals",
    "signal_format",
    "sniff",
    "write_image",
]

# Suffixes first, a pyramid before the picture that it also is; DICOM, which often has none, looks into the file and
# comes last.
FORMATS: tuple[Format, ...] = (nifti, nrrd, metaimage, slide, raster, npz, clip, dicom)
# Labels of another image; what they are of is for ``read_labels``, never for ``read_image``.
LABEL_FORMATS: tuple[LabelFormat, ...] = (dicom_seg, dicom_rtstruct)
SIGNAL_FORMATS: tuple[SignalFormat, ...] = (wfdb, edf, dicom_waveform)
_WRITABLE: tuple[WritableFormat, ...] = (nifti, nrrd, metaimage, raster, npz)
_FRAMED: tuple[FramedFormat, ...] = (nifti, nrrd, metaimage, raster, clip)
_STREAMED: tuple[StreamedFormat, ...] = (nifti, nrrd, metaimage, dicom)


def sniff(path: str | Path) -> str | None:
    """The name of the format that a file, or a folder that directly holds a DICOM series, is of; None for neither."""
    found = _format_of(Path(path)) or _signal_format_of(Path(path))
    return found.NAME if found else None


def read_image(path: str | Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read one image of whatever format.

    Args:
        path: a file, or a folder holding DICOM files.
        key: name of the array in an ``.npz``, or of one of several images of a DICOM file or folder (``dicom_index``).
        index: row of that array, volume of a 4D file, page of a TIFF, level of a slide or frame of a film, 0-based.

    Returns:
        Voxels (C, I, J, K) or pixels (C, I, J) in their stored dtype, affine to RAS+ mm.

    Raises:
        PathNotFound: when there is nothing at ``path``.
        StudyError: when it cannot be read; names the file, the reason and the remedy.
    """
    return _known_format(Path(path), key).read(Path(path), key=key, index=index)


def open_volume(path: str | Path, *, key: str | None = None, index: int | None = None) -> Volume | None:
    """The same image, to be read plane by plane; None where it can only be read whole.

    NIfTI, plain NRRD and NRRD compressed by gzip, plain MetaImage, and DICOM series with a file per slice, of one
    channel each, give a ``Volume``. Arguments and errors as ``read_image``; what only reading shows is raised then.
    """
    known = _known_format(Path(path), key)
    streamed = next((one for one in _STREAMED if one.NAME == known.NAME), None)
    return None if streamed is None else streamed.open_volume(Path(path), key=key, index=index)


def read_labels(
    path: str | Path, *, key: str | None = None, index: int | None = None, onto: Image | None = None
) -> Image:
    """Read one mask: one channel of whole numbers as the file writes them; arguments and errors as ``read_image``.

    Palette pictures give their indices, not their colours. A JPEG is refused: its compression changes labels.
    Of a DICOM SEG or RTSTRUCT, ``key`` names one structure, and ``onto`` is the image on whose grid the mask shall lie:
    contours need one, and a SEG may hold less than all slices. Other files have their grid, and do not use it.
    """
    path = Path(path)
    known = _known_format(path, key)
    found = label_format(path) if known is dicom else None
    if found is None:
        return known.read_labels(path, key=key, index=index)
    return found.read_labels(_only_file(path), key=key, index=index, onto=onto)


def label_format(path: str | Path) -> LabelFormat | None:
    """Who reads a DICOM SEG or RTSTRUCT, or the only file of a folder; None for anything else."""
    file = _only_file(Path(path))
    return next((one for one in LABEL_FORMATS if one.sniff(file)), None)


def _only_file(path: Path) -> Path:
    """A folder with one file stands for that file."""
    if not path.is_dir():
        return path
    files = [file for file in path.iterdir() if not file.name.startswith(".")]
    return files[0] if len(files) == 1 else path


def read_frames(path: str | Path, *, start: int = 0, stop: int | None = None, step: int = 1) -> Frames:
    """Read the frames ``range(start, stop, step)`` of a film, a 4D volume, or a picture of several pages.

    Raises:
        PathNotFound: when there is nothing at ``path``.
        UsageError: when its format has no frames, or none of them is chosen.
        StudyError: when it cannot be read; names the file, the reason and the remedy.
    """
    path = Path(path)
    known = _known_format(path)
    framed = next((one for one in _FRAMED if one.NAME == known.NAME), None)
    if framed is None:
        raise UsageError(f"{path} is {known.NAME}, which has no frames to read", remedy="read it with read_image")
    return framed.read_frames(path, start=start, stop=stop, step=step)


def read_signals(path: str | Path) -> Mapping[str, Signal]:
    """Read an ECG or other recording: signals by name, each (leads, time) of one rate and unit.

    Args:
        path: the header ``.hea`` of a WFDB record, an EDF or BDF file, or a DICOM waveform.

    Raises:
        PathNotFound: when there is nothing at ``path``.
        StudyError: when it cannot be read; names the file, the reason and the remedy.
    """
    path = Path(path)
    if not path.exists():
        raise PathNotFound(f"{path} does not exist", remedy="check the spelling")
    found = _signal_format_of(path)
    if found is None:
        _check_kind(path)
        raise Unreadable(
            f"{path} holds no signals that Osler knows", remedy="Osler reads WFDB (.hea), EDF, BDF and DICOM waveforms"
        )
    return found.read_signals(path)


def signal_format(path: str | Path) -> str | None:
    """The name of the format of a recording; None for anything else."""
    found = _signal_format_of(Path(path))
    return found.NAME if found else None


def write_image(image: Image, path: str | Path, *, overwrite: bool = False) -> None:
    """Write an image as the suffix of ``path`` says; the file appears whole or not at all.

    NIfTI, NRRD and MetaImage keep the geometry; pictures and ``.npz`` have none to keep.

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
    candidates: tuple[Format, ...] = (dicom,) if path.is_dir() else () if _is_special(path) else FORMATS
    found = next((one for one in candidates if one.sniff(path)), None)
    return None if found is dicom and not path.is_dir() and dicom_waveform.sniff(path) else found


def _signal_format_of(path: Path) -> SignalFormat | None:
    return (
        None if path.is_dir() or _is_special(path) else next((one for one in SIGNAL_FORMATS if one.sniff(path)), None)
    )


def _known_format(path: Path, key: str | None = None) -> Format:
    if not path.exists():
        raise PathNotFound(f"{path} does not exist", remedy="check the spelling")
    _check_kind(path)
    found = _format_of(path)
    if found is None and path.is_dir() and key is not None:  # a series may lie in folders below
        return dicom
    if found is None and path.is_dir():
        raise Unreadable(f"{path} is a folder without DICOM files", remedy="name a file, or a folder with one series")
    if found is None and path.stat().st_size == 0:
        raise Unreadable(f"{path} is empty (0 bytes)", remedy="copy or export it again")
    if found is None and _signal_format_of(path):
        raise Unsuitable(
            f"{path} is a signal and no image", remedy="osler inspect shows it; no model reads signals yet"
        )
    if found is None:
        raise known_elsewhere(path)
    return found


def _is_special(path: Path) -> bool:
    """A device has no end, and a pipe is waited for until somebody writes into it; what is not there is neither."""
    return path.exists() and not (path.is_file() or path.is_dir())


def _check_kind(path: Path) -> None:
    if _is_special(path):
        raise Unreadable(f"{path} is neither a file nor a folder", remedy="name the file itself")
