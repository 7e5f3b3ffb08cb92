"""The deflated transfer syntax (PS3.5 annex A.5): the data set is compressed as a whole, so its size is bound."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import BinaryIO

from osler.studies.formats.base import peek

__all__ = ["inflated"]

_SYNTAX, _PLAIN = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1\0\0\0"
_LARGEST = 1 << 28  # bytes: 256 MiB; a few hundred kilobytes of deflate can claim that much
_CHUNK = 1 << 20
_META_HEAD = 4096


def inflated(path: Path) -> Path | BinaryIO:
    """The path itself; for a deflated file its content as an uncompressed one (explicit little endian), in memory.

    Raises:
        ValueError: when it would inflate to more than 256 MiB, or ends too early.
    """
    head = peek(path, _META_HEAD)
    if head[128:132] != b"DICM" or _SYNTAX not in head:
        return path
    from pydicom.filereader import read_file_meta_info

    meta = read_file_meta_info(path)
    if str(meta.get("TransferSyntaxUID", "")).encode() != _SYNTAX:
        return path
    start = 144 + int(meta.FileMetaInformationGroupLength)  # preamble, DICM, and the element that holds the length
    result = io.BytesIO()
    result.write(head[:start].replace(_SYNTAX, _PLAIN, 1))
    with path.open("rb") as file:
        file.seek(start)
        _inflate(file, result)
    result.seek(0)
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
