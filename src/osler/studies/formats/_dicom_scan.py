"""The top level of a DICOM file, element by element, at a tenth of a parser's cost.

Only what is wanted of little endian, uncompressed or encapsulated files is looked at; everything else is stepped over.
What is unusual (no preamble, big endian, deflated, damage) makes ``scan`` answer None, and pydicom reads the file.
PS3.5 section 7.1 has the layout of an element, PS3.10 section 7 that of the file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PIXEL_DATA", "Scan", "file_meta", "scan"]

PIXEL_DATA = 0x7FE00010
_OTHER_PIXELS = (0x7FE00008, 0x7FE00009)  # float and double pixel data
_SYNTAX = 0x00020010
_IMPLICIT = "1.2.840.10008.1.2"
_UNUSUAL = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.113619.5.2")  # big endian, deflated, GE's
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # those with four bytes of length
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_CHUNK = 1 << 14
_LONGEST = 1 << 20  # bytes of a value that is wanted
_MOST_ELEMENTS, _MOST_NESTED = 20_000, 32
_EXPLICIT_HEAD, _IMPLICIT_HEAD = struct.Struct("<HH2sH").unpack_from, struct.Struct("<HHI").unpack_from
_U32 = struct.Struct("<I").unpack_from


@dataclass(frozen=True)
class Scan:
    """What was found.

    Args:
        syntax: transfer syntax UID.
        values: raw bytes of the wanted elements by tag; b"" for sequences, whose presence is all that is told.
        pixels: (offset in the file, length in bytes) of the pixel data, length -1 when encapsulated; None without any.
    """

    syntax: str
    values: dict[int, bytes]
    pixels: tuple[int, int] | None


class _Unusual(Exception):
    """The file is one for the full parser."""


class _Window:
    """Bytes of a file around a place, read as they are needed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self.start = 0
        self.data = os.pread(descriptor, _CHUNK, 0)

    def at(self, place: int, count: int) -> int:
        """The index into ``data`` of ``count`` bytes at ``place`` of the file.

        Raises:
            _Unusual: when the file ends before.
        """
        index = place - self.start
        if index < 0 or index + count > len(self.data):
            if place + count > self.size:
                raise _Unusual
            self.start, index = place, 0
            self.data = os.pread(self._descriptor, max(_CHUNK, count), place)
            if len(self.data) < count:
                raise _Unusual
        return index


def scan(path: Path, wanted: Container[int]) -> Scan | None:
    """The wanted elements of a file's top level; None when it is not a usual DICOM file.

    Args:
        path: the file.
        wanted: tags as ``group << 16 | element``.

    Raises:
        OSError: when the file cannot be opened or read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        window = _Window(descriptor)
        if window.data[128:132] != b"DICM":
            return None
        values: dict[int, bytes] = {}
        syntax, place = _file_meta(window, values, wanted)
        if not syntax or syntax in _UNUSUAL:
            return None
        return _data_set(window, place, syntax, values, wanted)
    except _Unusual:
        return None
    finally:
        os.close(descriptor)


def file_meta(path: Path) -> tuple[str, int] | None:
    """Transfer syntax UID, and where the data set begins; None when the file does not begin as DICOM does.

    Raises:
        OSError: when the file cannot be opened or read.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        window = _Window(descriptor)
        return _file_meta(window, {}, ()) if window.data[128:132] == b"DICM" else None
    except _Unusual:
        return None
    finally:
        os.close(descriptor)


def _file_meta(window: _Window, values: dict[int, bytes], wanted: Container[int]) -> tuple[str, int]:
    """Transfer syntax, and where the data set begins."""
    place, syntax = 132, ""
    while True:
        index = window.at(place, 12)
        if _IMPLICIT_HEAD(window.data, index)[0] != 2:
            break
        tag, _, length, value = _head(window, place, False)
        if tag in wanted:
            values[tag] = _bytes(window, value, length)
        if tag == _SYNTAX:
            syntax = _bytes(window, value, length).decode("latin-1").strip(" \0")
        place = value + length
    return syntax, place


def _data_set(window: _Window, place: int, syntax: str, values: dict[int, bytes], wanted: Container[int]) -> Scan:
    implicit = syntax == _IMPLICIT
    previous = 0
    for _ in range(_MOST_ELEMENTS):
        if place == window.size:
            return Scan(syntax, values, None)
        tag, vr, length, value = _head(window, place, implicit)
        if tag <= previous or tag in _OTHER_PIXELS:
            raise _Unusual
        if tag == PIXEL_DATA:
            return Scan(syntax, values, (value, -1 if length == _UNDEFINED else length))
        sequence = length == _UNDEFINED or vr == b"SQ"
        if tag in wanted:
            values[tag] = b"" if sequence else _bytes(window, value, length)
        place = _after_sequence(window, value, implicit, vr) if length == _UNDEFINED else value + length
        previous = tag
    raise _Unusual


def _head(window: _Window, place: int, implicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, VR (b"" when implicit), length, and where the value begins."""
    index = window.at(place, 8)
    if implicit:
        group, element, length = _IMPLICIT_HEAD(window.data, index)
        return group << 16 | element, b"", length, place + 8
    group, element, vr, length = _EXPLICIT_HEAD(window.data, index)
    if vr in _SHORT:
        return group << 16 | element, vr, length, place + 8
    if vr not in _LONG:
        raise _Unusual
    index = window.at(place, 12)
    return group << 16 | element, vr, _U32(window.data, index + 8)[0], place + 12


def _bytes(window: _Window, place: int, length: int) -> bytes:
    if length > _LONGEST:
        raise _Unusual
    index = window.at(place, length)
    return window.data[index : index + length]


def _after_sequence(window: _Window, place: int, implicit: bool, vr: bytes, depth: int = 0) -> int:
    """Where a sequence of undefined length ends; a value of unknown kind (UN) is implicit inside (PS3.5 6.2.2)."""
    if depth > _MOST_NESTED or vr not in (b"SQ", b"UN", b""):
        raise _Unusual
    implicit = implicit or vr == b"UN"
    while True:
        group, element, length = _IMPLICIT_HEAD(window.data, window.at(place, 8))
        tag = group << 16 | element
        place += 8
        if tag == _SEQUENCE_END:
            return place
        if tag != _ITEM:
            raise _Unusual
        place = _after_item(window, place, implicit, depth) if length == _UNDEFINED else place + length


def _after_item(window: _Window, place: int, implicit: bool, depth: int) -> int:
    for _ in range(_MOST_ELEMENTS):
        group, element, _length = _IMPLICIT_HEAD(window.data, window.at(place, 8))
        if group << 16 | element == _ITEM_END:
            return place + 8
        _, vr, length, value = _head(window, place, implicit)
        place = _after_sequence(window, value, implicit, vr, depth + 1) if length == _UNDEFINED else value + length
    raise _Unusual
