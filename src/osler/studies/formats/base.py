"""The contract of a format, and what every format needs.

The story of a format: it is a module. ``sniff`` is asked whether a path is its own (by suffix, or by the first bytes
where the suffix says nothing; it never decodes). ``read`` turns the path into an ``Image``: axes I, J, K, world
coordinates RAS+ mm, stored dtype. ``read_labels`` does the same for a mask: one channel of whole numbers, never
windowed, never interpolated. A format that can be written has ``WRITES`` (suffixes) and ``encode`` (image to bytes);
``write_image`` puts the bytes on the disk, so that a half-written file is never seen. One whose files hold several
images in order has ``read_frames``; one whose volumes can be read plane by plane has ``open_volume``. Recordings (ECG
and the like) have ``read_signals`` and nothing else.

Adding one: its file here, its line in ``formats/__init__.py``, its samples in ``tests/studies/test_formats.py``, its
section in ``docs/reference/formats.md``.
"""

from __future__ import annotations

import gzip
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from osler.errors import GeometryError, Unreadable, Unsuitable
from osler.studies.frames import Frames
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.structures import StructureSet
from osler.studies.study import Signal
from osler.studies.volume import Volume

__all__ = [
    "Format",
    "FramedFormat",
    "LabelFormat",
    "SignalFormat",
    "StreamedFormat",
    "WritableFormat",
    "as_labels",
    "has_suffix",
    "peek",
    "reading",
    "stem_of",
]

# What parsers of damaged files raise; nothing else is turned into "unreadable".
_PARSER_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
# What libraries derive from Exception alone; one that is not loaded has raised nothing.
_OF_LIBRARIES = (
    ("PIL.Image", "DecompressionBombError"),
    ("cv2", "error"),
    ("lzma", "LZMAError"),
    ("nibabel.filebasedimages", "ImageFileError"),
    ("nibabel.spatialimages", "HeaderDataError"),
    ("pydicom.errors", "BytesLengthException"),
    ("pydicom.errors", "InvalidDicomError"),
    ("tokenize", "TokenError"),  # NumPy's reader of headers
)
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}")


class Format(Protocol):
    """A module in this folder that reads one kind of file."""

    NAME: str
    SUFFIXES: tuple[str, ...]

    def sniff(self, path: Path) -> bool:
        """Whether the path is of this format; cheap, and True for a damaged file so that it gets reported."""

    def read(self, path: Path, *, key: str | None = None, index: int | None = None) -> Image:
        """Read one image.

        Raises:
            StudyError: naming the file, the reason and the remedy.
        """

    def read_labels(self, path: Path, *, key: str | None = None, index: int | None = None) -> Image:
        """Read one mask: one channel, whole numbers.

        Raises:
            StudyError: naming the file, the reason and the remedy.
        """


class WritableFormat(Format, Protocol):
    """A format that can be written too."""

    WRITES: tuple[str, ...]

    def encode(self, image: Image, suffix: str) -> bytes:
        """The file's content; the same image gives the same bytes.

        Raises:
            UsageError: when the format cannot hold the image without loss.
        """


class StreamedFormat(Format, Protocol):
    """A format whose volumes can be read plane by plane."""

    def open_volume(self, path: Path, *, key: str | None = None, index: int | None = None) -> Volume | None:
        """The volume, or None where it can only be read whole.

        Raises:
            StudyError: naming the file, the reason and the remedy.
        """


class FramedFormat(Format, Protocol):
    """A format that can hold images in order: films, 4D volumes, several pages."""

    def read_frames(self, path: Path, *, start: int = 0, stop: int | None = None, step: int = 1) -> Frames:
        """Read the frames ``range(start, stop, step)``.

        Raises:
            StudyError: naming the file, the reason and the remedy.
            UsageError: when none of them is chosen.
        """


class SignalFormat(Protocol):
    """A module in this folder that reads recordings instead of images."""

    NAME: str
    SUFFIXES: tuple[str, ...]

    def sniff(self, path: Path) -> bool:
        """Whether the path is of this format; as for images."""

    def read_signals(self, path: Path) -> Mapping[str, Signal]:
        """Read every channel in physical units.

        Raises:
            StudyError: naming the file, the reason and the remedy.
        """


class LabelFormat(Protocol):
    """A module in this folder that reads files which hold labels of another image and no image themselves."""

    NAME: str
    SOP_CLASSES: tuple[str, ...]

    def sniff(self, path: Path) -> bool:
        """Whether the path is of this format; cheap."""

    def read_structures(self, path: Path) -> StructureSet:
        """What the file holds and which images it refers to.

        Raises:
            StudyError: naming the file, the reason and the remedy.
        """

    def numbers_in(self, path: Path) -> frozenset[int]:
        """The numbers of the structures that are there, and not only named."""

    def read_labels(
        self, path: Path, *, key: str | None = None, index: int | None = None, onto: Image | None = None
    ) -> Image:
        """All structures, or those called ``key``, as one mask on the grid of ``onto``.

        Raises:
            StudyError: naming the file, the reason and the remedy.
        """

    def read_masks(self, path: Path, *, onto: Image | None = None) -> Callable[[int], Array]:
        """Parse the file once; from a structure's number to its voxels, (I, J[, K]) bool on the grid of ``onto``.

        Raises:
            StudyError: when it cannot be read; the function too, when a structure does not lie on the grid.
        """


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether the file name ends in one of the suffixes, whatever their case."""
    return path.name.lower().endswith(suffixes)


def stem_of(path: Path) -> str:
    """The file name without its extension (``.nii.gz`` is one); dots and digits of a DICOM UID are no extension."""
    name = path.name
    if name.lower().endswith(".gz"):
        name = name[:-3]
    suffix = Path(name).suffix
    return name[: -len(suffix)] if _SUFFIX.fullmatch(suffix) and len(suffix) < len(name) else name


def peek(path: Path, size: int) -> bytes:
    """The first bytes of a file; empty when it is no file (a pipe would be waited for) or cannot be opened."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turns what a parser raises into one sentence that names the file.

    Args:
        path: the file being read.
        kind: what it should be, e.g. "a NIfTI file".

    Raises:
        Unreadable: when the parser fails, or the path is neither a file nor a folder.
        GeometryError: naming the file, when ``Image`` refuses the geometry.
    """
    try:
        _check_file(path)
        yield
    except GeometryError as error:
        if str(path) in error.problem:
            raise
        raise GeometryError(f"{path}: {error.problem}", remedy=error.remedy) from error
    except _parser_errors() as error:
        plain = _in_plain_words(error)
        reason = plain or " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        remedy = "copy or export it again" if plain else "it is damaged or something else; export it again"
        raise Unreadable(f"{path} cannot be read as {kind}: {reason}", remedy=remedy) from error


def _check_file(path: Path) -> None:
    if path.is_file():
        if path.stat().st_size == 0:
            raise Unreadable(f"{path} is empty (0 bytes)", remedy="copy or export it again")
    elif path.exists() and not path.is_dir():  # a device has no end, and a pipe is waited for
        raise Unreadable(f"{path} is neither a file nor a folder", remedy="name the file itself")


def _parser_errors() -> tuple[type[Exception], ...]:
    loaded = ((sys.modules.get(module), name) for module, name in _OF_LIBRARIES)
    return (*_PARSER_ERRORS, *(getattr(module, name) for module, name in loaded if hasattr(module, name)))


def _in_plain_words(error: Exception) -> str:
    """What Python's own readers of compressed and binary data mean; "" for other errors, which say it themselves."""
    if isinstance(error, EOFError):
        return "the file is truncated, its data end too early"
    if isinstance(error, gzip.BadGzipFile) and "Not a gzipped file" in str(error):
        return "it is not compressed as its name says"
    if isinstance(error, gzip.BadGzipFile | zlib.error):
        return "its compressed data are damaged"
    if isinstance(error, zipfile.BadZipFile):
        return "the archive is truncated or damaged"
    return "its header is truncated or damaged" if isinstance(error, struct.error) else ""


def as_labels(image: Image, path: Path) -> Image:
    """An image as a mask: one channel, an integer dtype.

    Args:
        image: (C, I, J[, K]); floats are accepted when every value is whole (many tools save masks so).
        path: named in the errors.

    Returns:
        The image with an integer array; integers keep their dtype, others get the smallest that fits.

    Raises:
        Unsuitable: for several channels or values that are not whole.
    """
    array = image.array
    if array.shape[0] != 1:
        raise Unsuitable(
            f"{path} has {array.shape[0]} channels, and a mask has one",
            remedy="save the mask as one channel whose values are the label numbers",
        )
    if array.dtype == bool:
        return replace(image, array=array.astype(np.uint8))
    if array.dtype.kind in "iu":
        return image
    if not np.isfinite(array).all() or (np.rint(array) != array).any():
        raise Unsuitable(
            f"{path} holds values that are not whole numbers, so it is not a mask",
            remedy="give the label file, or round it where it was made (it may have been interpolated)",
        )
    return replace(image, array=array.astype(_smallest_integer(array)))


def _smallest_integer(array: Array) -> np.dtype[np.integer]:
    low, high = float(array.min()), float(array.max())
    for dtype in (np.uint8, np.int16, np.uint16, np.int32):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)
