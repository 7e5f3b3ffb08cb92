"""``MaskFile``: a mask that is compressed and written while it is made."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from osler.errors import StorageError, Unreadable
from osler.studies.formats import nifti, open_volume
from osler.studies.geometry import Array
from osler.studies.volume import ImageLike, Volume

__all__ = ["MaskFile"]

_LEVEL = 4  # what ``write_image`` compresses NIfTI with: the same mask gives the same bytes either way
_GZIP = 31  # of zlib: a gzip stream


class MaskFile:
    """The story: made, given planes in order, finished, and given its name by ``place``; or abandoned. Until then it
    has a hidden name of its own, so that whatever happens meanwhile, nothing half-written is seen.

    Args:
        folder: where the study's results will lie; it need not exist, but the folder around it does.
        image: 3D; gives grid and geometry.
        dtype: of the values, integers.

    Raises:
        StorageError: when nothing can be written there.
    """

    def __init__(self, folder: Path, image: ImageLike, dtype: np.dtype[Any]) -> None:
        self.path = folder.parent / f".mask-{os.getpid()}-{uuid4().hex[:8]}.part.nii.gz"
        self._deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        try:
            self._file = self.path.open("wb")
        except OSError as error:
            raise StorageError.of(error, folder) from error
        self._put(self._deflate.compress(nifti.header_of(image, dtype)))

    def write(self, planes: Array) -> None:
        """See ``inference.labelled.MaskSink``."""
        self._put(self._deflate.compress(planes.tobytes(order="F")))

    def finish(self) -> None:
        """Everything is on the disk afterwards, not only on its way there."""
        self._put(self._deflate.flush())
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise StorageError.of(error, self.path) from error

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            self.abandon()
            raise StorageError.of(error, self.path) from error

    def abandon(self) -> None:
        """Close and remove it."""
        with suppress(OSError):  # a full disk has been told of
            self._file.close()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def volume(self) -> Volume:
        """The finished mask, to be read plane by plane.

        Raises:
            StudyError: when it cannot be read back.
        """
        found = open_volume(self.path)
        if found is None:
            raise Unreadable(f"{self.path} cannot be read back", remedy="check the disk, and run it again")
        return found

    def place(self, target: Path) -> None:
        """Give the finished mask its name.

        Raises:
            StorageError: when it cannot.
        """
        try:
            self.path.replace(target)
        except OSError as error:
            raise StorageError.of(error, target) from error
