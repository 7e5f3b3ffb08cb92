"""The deflated transfer syntax (PS3.5 annex A.5): the data set is compressed as a whole, so its size is bound."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import BinaryIO

from osler.studies.formats._dicom_bounds import BoundedReader
from osler.studies.formats._dicom_scan import file_meta
from osler.studies.formats.base import peek

__all__ = ["opened"]

_SYNTAX, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
_LARGEST = 1 << 28  # bytes: 256 MiB; a few hundred kilobytes of deflate can claim that much
_CHUNK = 1 << 20
_META_HEAD = 1 << 14


def opened(path: Path) -> BoundedReader:
    """The file; a deflated one as an uncompressed one (explicit little endian), in memory.

    Raises:
        OSError: when it cannot be opened.
        ValueError: when it would inflate to more than 256 MiB, or ends too early.
    """
    content = _inflated(path)
    if content is None:
        return BoundedReader(io.FileIO(path), path.stat().st_size)
    size = content.seek(0, io.SEEK_END)
    content.seek(0)
    return BoundedReader(content, size)  # type: ignore[arg-type]  # it reads into buffers, as raw files do


def _inflated(path: Path) -> io.BytesIO | None:
    meta = file_meta(path)
    if meta is None and _SYNTAX in peek(path, _META_HEAD):  # a parser may see it, and inflate without a bound
        raise ValueError("its file meta information is damaged")
    if meta is None or meta[0].encode("latin-1") != _SYNTAX:
        return None
    start = meta[1]
    result = io.BytesIO()
    result.write(peek(path, start).replace(_SYNTAX, _PLAIN, 1))
    with path.open("rb") as file:
        file.seek(start)
        _inflate(file, result)
    return result


def _inflate(file: BinaryIO, result: io.BytesIO) -> None:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    while not engine.eof:
        data = engine.unconsumed_tail or file.read(_CHUNK)
        if not data:
            raise ValueError("its deflated data set is cut off")
        result.write(engine.decompress(data, _CHUNK))
        if result.tell() > _LARGEST:
            raise ValueError(f"it inflates to more than {_LARGEST >> 20} MiB")
