"""NumPy ``.npz`` archives of many images: one array per key, one image per row (MedMNIST's layout).

Rules:
- Arrays are ``(N, H, W)``, ``(N, H, W, 3)`` (last axis 3: colour), ``(N, D, H, W)`` or ``(N, D, H, W, 3)``.
- Row ``index`` becomes ``(C, I, J)`` or ``(C, I, J, K)`` with I along the width, J down the height, K along the depth.
- Spacing and orientation are unknown.
- Pickled objects are never loaded.
"""

from __future__ import annotations

import io
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from osler.errors import Unreadable, UsageError
from osler.studies.formats import _bytes
from osler.studies.formats.base import as_labels, has_suffix, reading
from osler.studies.geometry import Array
from osler.studies.image import Image, Source

__all__ = ["NAME", "SUFFIXES", "WRITES", "encode", "load_array", "read", "read_labels", "shape_of", "sniff"]

NAME: str = "npz"
SUFFIXES: tuple[str, ...] = (".npz",)
WRITES: tuple[str, ...] = SUFFIXES
_METHODS = {zipfile.ZIP_STORED: "raw", zipfile.ZIP_DEFLATED: "zlib"}


def sniff(path: Path) -> bool:
    """Whether the name ends in ``.npz``."""
    return has_suffix(path, SUFFIXES)


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read row ``index`` of the array ``key``; either may be left out when there is only one.

    Raises:
        Unreadable: damaged, not an archive of arrays, or of unusable shape.
        UsageError: when ``key`` or ``index`` is needed or not there.
    """
    with reading(path, "a NumPy archive"):
        rows = load_array(path, _chosen_key(path, key))
        if rows.ndim not in (3, 4, 5) or rows.dtype.kind not in "iufb":
            raise Unreadable(
                f"{path} holds {rows.dtype} rows of shape {rows.shape}, which are not images",
                remedy="an array of images is (N, H, W), (N, H, W, 3) or (N, D, H, W)",
            )
        row = rows[_chosen_index(path, len(rows), index)]
        source = Source(paths=(path,), format=NAME)
        return Image(_to_axes(row), source=source, spacing_known=False, orientation_known=False)


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a mask; see ``as_labels``."""
    return as_labels(read(path, key=key, index=index), path)


def load_array(path: Path, key: str) -> Array:
    """One array of an archive, read-only. The last few stay in memory: a data set asks for row after row of one array.

    Raises:
        UsageError: when there is no such key.
    """
    status = path.stat()
    return _load_array(path, key, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=3)  # train, validation and test images
def _load_array(path: Path, key: str, _modified: int, _size: int) -> Array:
    with np.load(path, allow_pickle=False) as archive:
        if key not in archive.files:
            raise UsageError(f"{path} has no array {key!r}", remedy=f"its arrays are {', '.join(archive.files)}")
        shape_of(path, key)
        array: Array = archive[key]
    array.flags.writeable = False
    return array


def shape_of(path: Path, key: str) -> tuple[int, ...]:
    """The shape of an array by its header.

    Raises:
        Unreadable: when it would unfold far beyond what is stored of it; other errors are those of damaged archives.
    """
    with zipfile.ZipFile(path) as archive:
        names = {info.filename: info for info in archive.infolist()}
        info = names.get(f"{key}.npy") or names[key]
        if info.compress_type not in _METHODS:
            raise Unreadable(f"{path} is compressed in a rare way", remedy="write it with np.savez_compressed")
        _bytes.check_size(path, info.file_size, info.compress_size, _METHODS[info.compress_type])
        with archive.open(info) as member:
            shape, dtype = _header(member)
        _bytes.check_size(path, _bytes.count_bytes(shape, dtype), info.file_size, "raw")
    return shape


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = np.lib.format.read_magic(member)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(member)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array has the shape {shape}")
    return tuple(shape), dtype


def encode(image: Image, suffix: str) -> bytes:
    """An archive with one array ``images`` of one row; the affine is not kept."""
    buffer = io.BytesIO()
    array = np.transpose(image.array)  # (C, I, J[, K]) to ([K,] J, I, C)
    rows = array[None] if image.array.shape[0] == 3 else array[None, ..., 0]
    if image.array.shape[0] not in (1, 3):
        raise UsageError(f"an .npz row has 1 or 3 channels, not {image.array.shape[0]}", remedy="write NIfTI")
    np.savez_compressed(buffer, images=rows)
    return buffer.getvalue()


def _chosen_key(path: Path, key: str | None) -> str:
    if key is not None:
        return key
    with np.load(path, allow_pickle=False) as archive:
        names = [str(name) for name in archive.files]
    if len(names) != 1:
        raise UsageError(f"{path} holds several arrays and none was chosen", remedy=f"choose one of {', '.join(names)}")
    return names[0]


def _chosen_index(path: Path, count: int, index: int | None) -> int:
    if index is None and count == 1:
        return 0
    if index is None or not 0 <= index < count:
        asked = "none was named" if index is None else f"image {index} was asked for"
        raise UsageError(f"{path} holds {count} images and {asked}", remedy=f"choose one from 0 to {count - 1}")
    return index


def _to_axes(row: Array) -> Array:
    """([D,] H, W[, 3]) to (C, I, J[, K])."""
    colour = row.ndim > 2 and row.shape[-1] == 3
    return np.transpose(row if colour else row[..., None])
