"""Planes of a volume out of one file in which they lie one after the other, plain or compressed by gzip."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from osler.studies.formats import _bytes
from osler.studies.formats.base import reading
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.volume import Volume

__all__ = ["StoredPlanes", "volume_of"]


@dataclass(frozen=True)
class StoredPlanes:
    """Where the voxels (I, J, K) lie, the first axis fastest.

    Args:
        path: named in errors.
        kind: what it should be, e.g. "a NIfTI file".
        data: the file that holds them.
        start: where in it they, or the compressed stream, begin.
        skip: bytes of the stream before the first voxel.
        compressed: whether it is a gzip stream.
        change: from stored values to those of the image.
    """

    path: Path
    kind: str
    data: Path
    start: int
    skip: int
    compressed: bool
    dtype: np.dtype[np.generic]
    shape: tuple[int, int, int]
    change: Callable[[Array], Array]


def volume_of(like: Image, stored: StoredPlanes, read: Callable[[], Image]) -> Volume:
    """A volume of such a file; ``like`` and ``read`` as ``Volume``."""
    return Volume(like, partial(_opened, stored), read)


@contextmanager
def _opened(stored: StoredPlanes) -> Iterator[_FilePass]:
    with ExitStack() as stack:
        with reading(stored.path, stored.kind):
            file: BinaryIO = stack.enter_context(stored.data.open("rb"))
            file.seek(stored.start)
            if stored.compressed:
                size = _bytes.count_bytes(stored.shape, stored.dtype)
                _bytes.check_unfolding(file, stored.skip + size, stored.path, "gzip")
                file = stack.enter_context(gzip.GzipFile(fileobj=file))  # type: ignore[assignment]
            _bytes.skip(file, stored.skip, stored.path)
        yield _FilePass(file, stored)


class _FilePass:
    """A ``Pass``. Files are read and not mapped: mapped pages count as memory of the process."""

    def __init__(self, file: BinaryIO, stored: StoredPlanes) -> None:
        self._file, self._stored, self._next = file, stored, 0
        self._plane = _bytes.count_bytes(stored.shape[:2], stored.dtype)

    def read(self, start: int, stop: int) -> Array:
        stored = self._stored
        with reading(stored.path, stored.kind):
            self._pass_over(start)
            buffer = self._take(stop)
            voxels = _bytes.to_array(buffer, stored.dtype, (*stored.shape[:2], stop - start))
            changed = stored.change(voxels)
        return (changed.astype(np.float32) if changed.dtype == np.float64 else changed)[None]

    def finish(self) -> None:
        with reading(self._stored.path, self._stored.kind):
            self._pass_over(self._stored.shape[2])
            if self._stored.compressed:
                _bytes.drain(self._file, self._stored.path)

    def _pass_over(self, until: int) -> None:
        if not self._stored.compressed:
            self._file.seek((until - self._next) * self._plane, 1)
            self._next = until
        while self._next < until:
            self._take(self._next + 1)

    def _take(self, stop: int) -> bytearray:
        size, before = (stop - self._next) * self._plane, self._next * self._plane
        whole = self._stored.shape[2] * self._plane
        buffer = _bytes.fill(self._file, size, self._stored.path, before=before, whole=whole)
        self._next = stop
        return buffer
