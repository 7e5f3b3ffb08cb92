"""NRRD, attached (``.nrrd``) and detached (``.nhdr`` with data files beside it).

Read here and not by a library: pynrrd neither bounds what it unfolds nor reads hexadecimal data, and SimpleITK takes a
header without a space for LPS; both are what this is tested against.

Rules:
- All encodings of the format's definition: raw, text, hex, gzip, bzip2 (not bzip2's and gzip's rare kin zrl).
- RAS, LAS and LPS become RAS; any other space leaves the orientation unknown. No unit counts as mm.
- An axis of kind ``list`` or ``time`` holds frames, one of colours or vectors the values of a voxel: see ``_volumes``.
- Two axes in a space of three dimensions are a slice, ``(C, I, J)`` with its place; two without one a picture.
- Data files lie in the folder of the header or below; others are refused.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from osler.errors import Unreadable, UsageError
from osler.studies.formats import _bytes
from osler.studies.formats._nrrd_header import Axes, Place, axes_of, dtype_of, parse, place_of, sizes_of
from osler.studies.formats._planes import StoredPlanes, volume_of
from osler.studies.formats._volumes import Volumes, as_channels, without_alpha
from osler.studies.formats.base import as_labels, has_suffix, peek, reading
from osler.studies.frames import Frames
from osler.studies.geometry import Array
from osler.studies.image import Image, Source
from osler.studies.volume import Volume, stand_in

__all__ = [
    "NAME",
    "SUFFIXES",
    "WRITES",
    "encode",
    "open_volume",
    "read",
    "read_frames",
    "read_grid",
    "read_labels",
    "sniff",
]

NAME: str = "nrrd"
SUFFIXES: tuple[str, ...] = (".nrrd", ".nhdr")
WRITES: tuple[str, ...] = (".nrrd",)
_ENCODINGS = {
    "raw": "raw",
    "txt": "text",
    "text": "text",
    "ascii": "text",
    "hex": "hex",
    "gz": "gzip",
    "gzip": "gzip",
    "bz2": "bzip2",
    "bzip2": "bzip2",
}
_NAMES = {
    "int8": "int8",
    "uint8": "uint8",
    "int16": "int16",
    "uint16": "uint16",
    "int32": "int32",
    "uint32": "uint32",
    "int64": "int64",
    "uint64": "uint64",
    "float32": "float",
    "float64": "double",
}
_GZIP_LEVEL = 4
_MOST_LINES, _LONGEST_LINE = 1_000_000, 2**20


def sniff(path: Path) -> bool:
    """Whether the name ends in ``.nrrd`` or ``.nhdr``, or the file begins as NRRD does."""
    return has_suffix(path, SUFFIXES) or peek(path, 7) == b"NRRD000"


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a volume as (C, I, J, K), a slice or picture as (C, I, J); ``index`` chooses a frame.

    Raises:
        Unreadable: damaged, truncated, not NRRD, or data that are not there.
        GeometryError: when the header does not say which axes are space, or where they lie.
        Unsuitable: several frames of several channels, and none was chosen.
        UsageError: when there is no such frame.
    """
    with reading(path, "an NRRD file"):
        return _read(path).image(index)


def open_volume(path: Path, *, key: str | None = None, index: int | None = None) -> Volume | None:
    """A volume of one channel in one file, plain or compressed by gzip, to be read as its planes are asked for; None
    for any other. As ``read``."""
    with reading(path, "an NRRD file"):
        with path.open("rb") as file:
            fields = parse(file, path)
            start = file.tell()
        sizes, dtype = sizes_of(fields, path), dtype_of(fields, path)
        axes = axes_of(fields, sizes, path)
        encoding, skip = _ENCODINGS.get(fields.get("encoding", "").lower()), int(fields.get("byte skip", "0") or 0)
        plain = encoding in ("raw", "gzip") and skip >= 0 and not int(fields.get("line skip", "0") or 0)
        files = _data_files(fields, path)
        if index is not None or not plain or len(files) != 1 or len(sizes) != 3 or axes.spatial != (0, 1, 2):
            return None
        data, start = files[0], start if files[0] == path else 0
        size, there = _bytes.count_bytes(sizes, dtype), data.stat().st_size
        _bytes.check_size(path, size, there, str(encoding))
        _bytes.check_size(path, size + skip, there - start, str(encoding))
        place = place_of(fields, sizes, axes, path)
        like = _volumes(stand_in(sizes, dtype.newbyteorder("=")), axes, place, files, path).image()
    shape = (sizes[0], sizes[1], sizes[2])
    stored = StoredPlanes(path, "an NRRD file", data, start, skip, encoding == "gzip", dtype, shape, _unchanged)
    return volume_of(like, stored, partial(read, path))


def _unchanged(voxels: Array) -> Array:
    return voxels


def read_frames(path: Path, *, start: int = 0, stop: int | None = None, step: int = 1) -> Frames:
    """Read the frames of a list or time axis; errors as ``read``."""
    with reading(path, "an NRRD file"):
        return _read(path).frames(start, stop, step)


def read_grid(path: Path) -> tuple[tuple[int, ...], Array | None]:
    """Shape (I, J[, K]) and affine, from the header; the affine is None when the spacing is unknown.

    Raises:
        StudyError: as ``read``.
    """
    with reading(path, "an NRRD file"):
        with path.open("rb") as file:
            fields = parse(file, path)
        sizes = sizes_of(fields, path)
        axes = axes_of(fields, sizes, path)
        place = place_of(fields, sizes, axes, path)
        return tuple(sizes[axis] for axis in axes.spatial), place.affine if place.spacing_known else None


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a mask; see ``as_labels``."""
    return as_labels(read(path, index=index), path)


def encode(image: Image, suffix: str) -> bytes:
    """The bytes of an NRRD file, gzip encoded, in LPS as most software writes it; channels come first.

    An unknown orientation stays unknown (a space without a name); so does an unknown spacing, whose affine is lost.

    Raises:
        UsageError: for a dtype that NRRD does not have.
    """
    voxels = as_channels(image)
    if voxels.dtype in (bool, np.float16):
        voxels = voxels.astype(np.uint8 if voxels.dtype == bool else np.float32)
    if voxels.dtype.name not in _NAMES:
        raise UsageError(f"NRRD cannot hold {voxels.dtype} values", remedy="convert them to integers or floats")
    several = voxels.shape[-1] > 1
    samples = np.moveaxis(voxels, -1, 0) if several else voxels[..., 0]  # fastest first
    lines = [
        "NRRD0004",
        f"type: {_NAMES[voxels.dtype.name]}",
        f"dimension: {samples.ndim}",
        *_space_lines(image, several),
        f"sizes: {' '.join(str(side) for side in samples.shape)}",
        f"kinds: {' '.join((['vector'] if several else []) + ['domain'] * image.dimensions)}",
        "endian: little",
        "encoding: gzip",
    ]
    little = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
    data = gzip.compress(little.tobytes(order="F"), compresslevel=_GZIP_LEVEL, mtime=0)
    return ("\n".join(lines) + "\n\n").encode() + data


def _space_lines(image: Image, several: bool) -> list[str]:
    if not image.spacing_known:
        return []
    known = image.orientation_known
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine if known else image.affine
    columns = [f"({','.join(repr(float(number)) for number in affine[:3, axis])})" for axis in range(image.dimensions)]
    return [
        "space: left-posterior-superior" if known else "space dimension: 3",
        f"space directions: {' '.join((['none'] if several else []) + columns)}",
        f"space origin: ({','.join(repr(float(number)) for number in affine[:3, 3])})",
    ]


def _read(path: Path) -> Volumes:
    with path.open("rb") as file:
        fields = parse(file, path)
        start = file.tell()
    sizes, dtype = sizes_of(fields, path), dtype_of(fields, path)
    axes = axes_of(fields, sizes, path)
    place = place_of(fields, sizes, axes, path)
    files = _data_files(fields, path)
    return _volumes(_samples(fields, files, start, dtype, sizes, path), axes, place, files, path)


def _volumes(samples: Array, axes: Axes, place: Place, files: list[Path], path: Path) -> Volumes:
    source = Source(paths=(path, *(one for one in files if one != path)), format=NAME)
    return Volumes(
        _arranged(samples, axes, path),
        place.affine,
        source,
        spacing_known=place.spacing_known,
        orientation_known=place.orientation_known,
    )


def _arranged(samples: Array, axes: Axes, path: Path) -> Array:
    """Axes as in the file to (I, J[, K], T, V)."""
    extra = [axis for axis in (axes.frames, axes.values) if axis is not None]
    voxels = samples.transpose((*axes.spatial, *extra))
    if axes.frames is None:
        voxels = np.expand_dims(voxels, len(axes.spatial))
    if axes.values is None:
        voxels = voxels[..., None]
    elif axes.kinds[axes.values] == "rgba-color" and voxels.shape[-1] == 4:
        voxels = without_alpha(voxels, path)
    return voxels


def _data_files(fields: Mapping[str, str], path: Path) -> list[Path]:
    """The files that hold the samples, in order; the header's own when they are attached."""
    entry = fields.get("data file")
    if entry is None:
        return [path]
    if "listed files" in fields:
        names = [line.strip() for line in fields["listed files"].splitlines() if line.strip()]
        return [_bytes.beside(path, name) for name in names]
    pattern = re.fullmatch(r"([^%\s]*%0?\d?d[^%\s]*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(\s+\d+)?", entry)
    if pattern is None:
        return [_bytes.beside(path, entry)]
    first, last, step = (int(pattern[group]) for group in (2, 3, 4))
    numbers = range(first, last + (1 if step > 0 else -1), step) if step else range(0)
    if not 0 < len(numbers) <= 100_000:
        raise Unreadable(f"{path} names its data files by {entry!r}, which gives none", remedy="repair the header")
    return [_bytes.beside(path, pattern[1] % number) for number in numbers]


def _samples(
    fields: Mapping[str, str],
    files: list[Path],
    start: int,
    dtype: np.dtype[np.generic],
    sizes: tuple[int, ...],
    path: Path,
) -> Array:
    encoding = _ENCODINGS.get(fields.get("encoding", "").lower())
    if encoding is None:
        raise Unreadable(
            f"{path} has the encoding {fields.get('encoding', '')!r}", remedy="save it with the encoding gzip or raw"
        )
    total = int(np.prod(sizes, dtype=object))
    if total % len(files):
        raise Unreadable(f"{path} spreads {total} values over {len(files)} files", remedy="repair the header")
    count, size = total // len(files), total * dtype.itemsize
    _bytes.check_size(path, size, sum(file.stat().st_size for file in files), encoding.replace("hex", "text"))
    parts = (_decoded(file, start if file == path else 0, fields, encoding, dtype, count, path) for file in files)
    return _bytes.to_array(next(parts) if len(files) == 1 else _bytes.whole(parts, size), dtype, sizes)


def _decoded(
    file: Path,
    start: int,
    fields: Mapping[str, str],
    encoding: str,
    dtype: np.dtype[np.generic],
    count: int,
    path: Path,
) -> bytes | bytearray:
    """The bytes of ``count`` samples of one file."""
    size, skip = count * dtype.itemsize, int(fields.get("byte skip", "0") or 0)
    stored = file.stat().st_size - start
    with file.open("rb") as stream:
        stream.seek(start)
        _skip_lines(stream, int(fields.get("line skip", "0") or 0), path)
        if encoding in ("text", "hex"):
            _bytes.check_size(path, size, stored, "text")
            return _from_text(_bytes.read_text(stream, count), encoding, dtype, count, path)
        _bytes.check_size(path, size + max(skip, 0), stored, encoding)
        if encoding == "raw":
            if skip < 0:
                stream.seek(max(start, file.stat().st_size - size))
            else:
                _bytes.skip(stream, skip, path)
            return _bytes.fill(stream, size, path)
        if skip < 0:
            raise Unreadable(f"{path} skips bytes from the end of compressed data", remedy="repair the header")
        return _bytes.inflate(stream, size, path, encoding, skip)


def _skip_lines(stream: BinaryIO, count: int, path: Path) -> None:
    for _ in range(min(count, _MOST_LINES)):
        line = stream.readline(_LONGEST_LINE)
        if not line:
            return
        if len(line) == _LONGEST_LINE:
            raise Unreadable(f"{path} skips lines that have no end", remedy="repair the header")


def _from_text(text: bytes, encoding: str, dtype: np.dtype[np.generic], count: int, path: Path) -> bytes:
    if encoding == "hex":
        data = bytes.fromhex(text.decode("ascii"))
    else:
        tokens = text.replace(b",", b" ").split()
        numbers = [int(token) for token in tokens] if dtype.kind in "iu" else [float(token) for token in tokens]
        data = np.array(numbers, dtype).tobytes()
    if len(data) < count * dtype.itemsize:
        raise Unreadable(
            f"{path} is cut off: {len(data) // dtype.itemsize:,} of {count:,} values are there",
            remedy="copy or export it again",
        )
    return data[: count * dtype.itemsize]
