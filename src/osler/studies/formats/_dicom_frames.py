"""Stored values of files and stacks, in threads; uncompressed grey slices go from the file straight into the volume."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError
from osler.studies.formats._dicom_geometry import Slice
from osler.studies.formats._dicom_header import Header, read_dataset
from osler.studies.formats._dicom_pixels import decode, with_sign
from osler.studies.formats._dicom_values import inverted, is_inverted, rescale, through_modality_table
from osler.studies.formats.base import reading
from osler.studies.geometry import Array

__all__ = ["check_copies", "check_native", "read_frames", "read_slices", "read_stored"]

_THREADS = 4


def read_frames(path: Path, frames: Sequence[int] | None = None) -> tuple[Any, Array]:
    """A whole data set and its stored values: (frames, rows, columns[, 3]), MONOCHROME1 inverted, modality LUT applied.

    Args:
        path: the file.
        frames: which ones, 0-based; None takes all.

    Raises:
        Unreadable: when it cannot be decoded.
    """
    data = read_dataset(path)
    with reading(path, "a DICOM file"):
        stored = decode(data, frames)
        if data.get("ModalityLUTSequence"):
            stored = through_modality_table(stored, data)
        elif is_inverted(data):
            stored = inverted(stored, data)
        return data, stored


def read_slices(ordered: Sequence[Slice], headers: dict[Path, Header]) -> Array:
    """Rescaled values (slices, rows, columns[, 3]) of slices in order.

    Args:
        ordered: of one stack.
        headers: of their files.

    Raises:
        Unreadable: naming the file that cannot be decoded.
        GeometryError: when files hold different kinds of pixels.
    """
    stored = read_stored(ordered, headers)
    return rescale(stored, [one.slope for one in ordered], [one.intercept for one in ordered])


def read_stored(ordered: Sequence[Slice], headers: dict[Path, Header]) -> Array:
    """Stored values of slices in order, turned over and through the modality LUT as ``read_frames``; as ``read_slices``
    otherwise."""
    files = list(dict.fromkeys(one.path for one in ordered))
    if len(files) == len(ordered) and _all_native([headers[file] for file in files]):
        return _read_native(ordered, headers)
    if len(files) == 1:
        return read_frames(files[0], [one.place for one in ordered])[1]
    return _read_each(ordered, files)


def check_native(ordered: Sequence[Slice], headers: dict[Path, Header]) -> None:
    """Before any of them is read: that uncompressed slices are there as their headers announce.

    Raises:
        Unreadable: naming the file that is cut off.
    """
    for one in ordered:
        header = headers[one.path]
        if _is_native(header):
            _check_length(header, math.prod(one.shape) * int(header.get("BitsAllocated")) // 8)


def check_copies(copies: Sequence[tuple[Slice, Slice]], path: Path) -> None:
    """Slices at one place have to hold the same pixels.

    Raises:
        GeometryError: when they do not, so that nobody can tell which one is meant.
    """
    for kept, other in copies:
        one, two = read_frames(kept.path, [kept.place])[1], read_frames(other.path, [other.place])[1]
        if one.dtype != two.dtype or not np.array_equal(one, two):
            raise GeometryError(
                f"{path} holds two slices at one place with different pixels, {kept.path.name} and {other.path.name}",
                remedy="remove the wrong one, or put each series into a folder of its own",
            )


def _all_native(headers: Sequence[Header]) -> bool:
    """Whether the pixels lie in the files as grey numbers of one kind, to be taken as they are."""
    kinds = {(header.get("BitsAllocated"), header.get("Rows"), header.get("Columns")) for header in headers}
    return len(kinds) == 1 and all(map(_is_native, headers))


def _is_native(header: Header) -> bool:
    shaded = header.get("PhotometricInterpretation") == "MONOCHROME2" or not is_inverted(header)
    return (
        header.pixels is not None
        and header.frames == 1
        and header.get("SamplesPerPixel", 1) == 1
        and header.get("BitsAllocated") in (8, 16)
        and str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
        and shaded
        and header.get("PixelRepresentation") is not None
        and header.get("BitsStored") is not None
        and not header.get("ModalityLUTSequence")
    )


def _read_native(ordered: Sequence[Slice], headers: dict[Path, Header]) -> Array:
    first = headers[ordered[0].path]
    signs = {headers[one.path].get("PixelRepresentation") for one in ordered}
    kind = np.dtype(f"<{'u' if signs == {0} else 'i'}{first.get('BitsAllocated') // 8}")
    for one in ordered:
        _check_length(headers[one.path], math.prod(ordered[0].shape) * kind.itemsize)
    stored = np.empty((len(ordered), *ordered[0].shape), kind)

    def load(place: int) -> None:
        _load(headers[ordered[place].path], stored[place])

    _each(load, len(ordered))
    _check_signs(signs, ordered[0])
    return stored.astype(kind.newbyteorder("="), copy=False)


def _check_signs(signs: set[Any], one: Slice) -> None:
    if len(signs) > 1:
        raise GeometryError(
            f"{one.path} and others of its series hold signed and unsigned pixels",
            remedy="put each series into a folder of its own",
        )


def _check_length(header: Header, size: int) -> None:
    """Before memory is taken for a slice: that its file holds the pixels that it announces."""
    offset, length = header.pixels or (0, 0)
    with reading(header.path, "a DICOM file"):
        there = max(0, min(length, header.path.stat().st_size - offset))
        if there < size:
            raise ValueError(f"its pixels are cut off: {there} of {size} bytes")


def _load(header: Header, target: Array) -> None:
    """Read one slice into its place in the volume; the unused high bits are cleared or filled with the sign."""
    offset, _ = header.pixels or (0, 0)
    with reading(header.path, "a DICOM file"):
        descriptor = os.open(header.path, os.O_RDONLY)
        try:
            got = os.preadv(descriptor, [memoryview(target.data).cast("B")], offset)
        finally:
            os.close(descriptor)
        if got < target.nbytes:
            raise ValueError(f"its pixels are cut off: {got} of {target.nbytes} bytes")
        bits, signed = int(header.get("BitsStored")), header.get("PixelRepresentation") == 1
        if bits != target.dtype.itemsize * 8:
            target[...] = with_sign(target, bits, signed)


def _read_each(ordered: Sequence[Slice], files: Sequence[Path]) -> Array:
    """Slices of several files that have to be decoded; the first one says what the others must be like."""
    _, first = read_frames(ordered[0].path, [ordered[0].place])
    stored = np.empty((len(ordered), *first.shape[1:]), dtype=first.dtype)

    def load(place: int) -> None:
        one = ordered[place]
        frame = first if place == 0 else read_frames(one.path, [one.place])[1]
        if frame.dtype != stored.dtype or frame.shape[1:] != stored.shape[1:]:
            raise GeometryError(
                f"{one.path} holds {frame.dtype} {frame.shape[1:]} and the first slice of its series"
                f" {stored.dtype} {stored.shape[1:]}",
                remedy="put each series into a folder of its own",
            )
        stored[place] = frame[0]

    _each(load, len(ordered))
    return stored


def _each(load: Any, count: int) -> None:
    if count == 1:
        load(0)
        return
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="osler-dicom") as pool:
        for _ in pool.map(load, range(count)):
            pass
