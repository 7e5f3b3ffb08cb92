"""Bytes of untrusted files: never more than the header announces, never more than the file can hold.

A header may announce terabytes, and a few compressed kilobytes may unfold to gigabytes. So sizes are checked against
what lies on the disk before memory is taken, and a stream is read to the announced size and then to its end, so that
its checksum is verified.
"""

from __future__ import annotations

import bz2
import gzip
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from osler.errors import Unreadable
from osler.studies.geometry import Array

__all__ = [
    "beside",
    "check_bomb",
    "check_size",
    "check_unfolding",
    "count_bytes",
    "drain",
    "fill",
    "inflate",
    "inflate_zlib",
    "read_text",
    "skip",
    "to_array",
    "whole",
]

_LARGE = 512 * 2**20
_DENSE = 100  # times the stored bytes: what unfolds to less is no bomb, whatever else lies in the file
_RATIO = 500  # an empty mask of half a gigabyte reaches 1,000; nothing with a picture in it comes near
# More than the method can shrink anything. JPEG: a block of 64 values takes at least a bit, and colour at half the
# resolution has 2 values for each 3 that come out.
# A number of 8 bytes takes at least one digit.
_MOST = {"gzip": 1100, "zlib": 1100, "bzip2": 50_000, "jpeg": 1600, "text": 8}
_CHUNK = 2**20
_LONGEST_NUMBER = 400  # with the blanks after it
_SLACK = 64 * 2**20  # after the voxels; more is no padding


def count_bytes(shape: Sequence[int], dtype: np.dtype[np.generic]) -> int:
    """Bytes of an array in whole numbers that cannot overflow."""
    return math.prod(int(side) for side in shape) * dtype.itemsize


def check_size(path: Path, announced: int, stored: int, method: str) -> None:
    """Refuse an announced size that the stored bytes cannot hold.

    Args:
        path: named in the error.
        announced: bytes of voxels by the header.
        stored: bytes on the disk that hold them.
        method: "raw", "gzip", "zlib", "bzip2", "jpeg" or "text".

    Raises:
        Unreadable: when there are too few bytes, or so few that it must be a decompression bomb.
    """
    if announced > stored * _MOST.get(method, 1):
        raise Unreadable(
            f"{path} is cut off: its header announces {announced:,} bytes of voxels and {stored:,} are stored",
            remedy="copy or export it again",
        )
    if method in ("gzip", "zlib", "bzip2") and stored > 2 * announced + _SLACK:
        raise Unreadable(f"{path} goes on for long after its data", remedy="copy or export it again")
    check_bomb(path, announced, stored)


def check_bomb(path: Path, needed: int, stored: int) -> None:
    """Refuse what needs half a gigabyte of memory or more, with copies on the way, and next to nothing on the disk.

    Args:
        path: named in the error.
        needed: bytes that it takes in memory.
        stored: bytes on the disk that hold it.

    Raises:
        Unreadable: when it must be a decompression bomb.
    """
    if needed > _LARGE and needed > _RATIO * stored:
        raise Unreadable(
            f"{path} would unfold from {stored:,} to {needed:,} bytes, as a decompression bomb does",
            remedy="if the file is sound, save it without compression",
        )


def fill(file: BinaryIO, size: int, path: Path, *, before: int = 0, whole: int | None = None) -> bytearray:
    """Exactly ``size`` bytes from a stream; ``before`` of the ``whole`` were read already.

    Raises:
        Unreadable: when it ends before.
    """
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        count = file.readinto(view[done : done + 2**26])  # type: ignore[attr-defined]
        if not count:
            raise Unreadable(
                f"{path} is cut off: {before + done:,} of {whole or size:,} bytes of voxels are there",
                remedy="copy or export it again",
            )
        done += count
    return buffer


def read_text(file: BinaryIO, count: int) -> bytes:
    """The text of ``count`` numbers from where ``file`` stands; at most 400 bytes for each, so never a whole disk."""
    return file.read(count * _LONGEST_NUMBER + _CHUNK)


def skip(file: BinaryIO, size: int, path: Path) -> None:
    """Pass over ``size`` bytes of a stream.

    Raises:
        Unreadable: when it ends before.
    """
    while size > 0:
        chunk = file.read(min(size, _CHUNK))
        if not chunk:
            raise Unreadable(f"{path} is cut off before its voxels begin", remedy="copy or export it again")
        size -= len(chunk)


def inflate(file: BinaryIO, size: int, path: Path, method: str, offset: int = 0) -> bytearray:
    """Decompress a gzip or bzip2 stream that starts where ``file`` stands; its checksum is verified.

    ``offset`` decompressed bytes are passed over first.

    Raises:
        Unreadable: when it holds fewer bytes, or far more, than ``size``.
    """
    check_unfolding(file, offset + size, path, method)
    opened = gzip.open if method == "gzip" else bz2.open
    stream = opened(file)
    skip(stream, offset, path)  # type: ignore[arg-type]
    buffer = fill(stream, size, path)  # type: ignore[arg-type]
    drain(stream, path)  # type: ignore[arg-type]
    return buffer


def check_unfolding(file: BinaryIO, size: int, path: Path, method: str) -> None:
    """Refuse a gzip or bzip2 stream, from where ``file`` stands, that is a bomb though the file around it is large.

    Raises:
        Unreadable: when it must be one.
    """
    opened = gzip.open if method == "gzip" else bz2.open
    _rehearse(iter(partial(opened(file).read, _CHUNK), b""), file, size, path)


def drain(stream: BinaryIO, path: Path) -> None:
    """Read a stream to its end, so that its checksum is verified."""
    extra = 0
    while chunk := stream.read(_CHUNK):
        extra += len(chunk)
        if extra > _SLACK:
            raise Unreadable(
                f"{path} goes on for more than {_SLACK:,} bytes after its voxels", remedy="export it again"
            )


def inflate_zlib(file: BinaryIO, size: int, path: Path) -> bytearray:
    """Decompress the zlib (or gzip) block of a known size that starts where ``file`` stands; what follows is not read.

    Raises:
        Unreadable: when it holds fewer or more bytes, or its checksum is wrong.
    """
    _rehearse(_unfolded(file, path), file, size, path)
    result, done, more = bytearray(size), 0, False
    for part in _unfolded(file, path):
        more = len(part) > size - done
        if more:
            break
        result[done : done + len(part)] = part
        done += len(part)
    if done != size or more:
        raise Unreadable(
            f"{path} holds {'more' if more else 'fewer'} bytes of voxels than the {size:,} announced",
            remedy="copy or export it again",
        )
    return result


def _unfolded(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Parts of the zlib (or gzip) block that starts where ``file`` stands."""
    inflater = zlib.decompressobj(47)  # 32 + 15: zlib or gzip, by its first bytes
    while not inflater.eof:
        data = inflater.unconsumed_tail or file.read(_CHUNK)
        if not data:
            raise Unreadable(f"{path} is cut off inside its compressed voxels", remedy="copy or export it again")
        yield inflater.decompress(data, _CHUNK)


def _rehearse(parts: Iterator[bytes], file: BinaryIO, size: int, path: Path) -> None:
    """Refuse a block of zeros before memory is taken for what it unfolds to.

    ``check_bomb`` knows the length of the file, and most of that may be something else than these bytes.

    Args:
        parts: what unfolds from ``file``; not asked for when it can be no bomb.
        file: left where it stands.
        size: bytes that are wanted of them.
        path: named in the error.
    """
    if size <= _LARGE or size <= _DENSE * os.fstat(file.fileno()).st_size:
        return
    start, done = file.tell(), 0
    for part in parts:
        done += len(part)
        if done >= size:
            break
    check_bomb(path, done, file.tell() - start)
    file.seek(start)


def beside(header: Path, name: str) -> Path:
    """The data file that a header names, which must lie in the header's folder or below it.

    A header is data: one that says ``/etc/passwd`` or ``../other-patient.raw`` must not get it.

    Raises:
        Unreadable: when it lies elsewhere or does not exist.
    """
    folder = header.parent.resolve()
    path = header.parent / name.replace("\\", "/")
    if Path(name).is_absolute() or not path.resolve().is_relative_to(folder):
        raise Unreadable(
            f"{header} names a data file outside its folder, {name!r}",
            remedy="put the data file beside the header and name it there",
        )
    if not path.is_file():
        raise Unreadable(
            f"{header} names the data file {name!r}, which is not there", remedy="copy both files, under their names"
        )
    return path


def to_array(buffer: bytes | bytearray, dtype: np.dtype[np.generic], shape: Sequence[int]) -> Array:
    """An array over the bytes, first axis fastest, in native byte order."""
    array = np.frombuffer(buffer, dtype).reshape(tuple(shape), order="F")
    if array.dtype.isnative:
        return array
    if array.flags.writeable:  # in place, without a copy
        return array.byteswap(inplace=True).view(array.dtype.newbyteorder("="))
    return array.astype(array.dtype.newbyteorder("="))


def whole(parts: Iterator[bytes | bytearray], size: int) -> bytearray:
    """The parts of ``size`` bytes in all, one after the other; only one of them is in memory beside the result."""
    result, done = bytearray(size), 0
    for part in parts:
        result[done : done + len(part)] = part
        done += len(part)
    return result
