"""``Volume``: an image on disk whose planes are read as they are asked for, so that it is never whole in memory.

The story of one: a format's ``open_volume`` reads the header, checks what can be checked before any voxel is read, and
gives a ``Volume``. ``volume.open()`` begins a pass through its planes, from the first to the last; ``finish`` ends the
pass and verifies what only the end of a file can say (checksums, a stream that goes on). A result must not be given its
final name before ``finish``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from osler.studies.geometry import Array
from osler.studies.image import Image, Source

__all__ = ["ImageLike", "Pass", "Volume", "alike", "as_image", "blocks_of", "passing", "stand_in"]

_BLOCK = 16
"""Planes that are read at once where nothing else says how many."""


class Pass(Protocol):
    """One reading of a volume, from its first plane to its last."""

    def read(self, start: int, stop: int) -> Array:
        """Planes ``start`` to ``stop`` of K: (C, I, J, stop - start), as ``read_image`` gives them.

        Each call begins where the one before ended or later; what lies between is passed over.

        Raises:
            StudyError: as ``read_image``.
        """

    def finish(self) -> None:
        """Read on to the end, so that all of the file was verified.

        Raises:
            StudyError: as ``read_image``.
        """


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image of one channel that is read plane by plane.

    Args:
        like: an image with everything but the voxels: its array is a ``stand_in`` and is not for use.
        open: begins a pass; a context manager, which closes what it opened.
        read: reads the whole image, as ``read_image`` does.
    """

    like: Image = field(repr=False)
    open: Callable[[], AbstractContextManager[Pass]] = field(repr=False)
    read: Callable[[], Image] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(I, J, K)."""
        return self.like.shape

    @property
    def dimensions(self) -> int:
        """3."""
        return self.like.dimensions

    @property
    def channels(self) -> int:
        """1."""
        return self.like.channels

    @property
    def affine(self) -> Array:
        """See ``Image``; so are all others."""
        return self.like.affine

    @property
    def spacing(self) -> tuple[float, ...]:
        """See ``Image``."""
        return self.like.spacing

    @property
    def spacing_known(self) -> bool:
        """See ``Image``."""
        return self.like.spacing_known

    @property
    def orientation_known(self) -> bool:
        """See ``Image``."""
        return self.like.orientation_known

    @property
    def modality(self) -> str:
        """See ``Image``."""
        return self.like.modality

    @property
    def units(self) -> str:
        """See ``Image``."""
        return self.like.units

    @property
    def window(self) -> tuple[float, float] | None:
        """See ``Image``."""
        return self.like.window

    @property
    def volumes(self) -> str:
        """As ``Image.volumes``."""
        return self.like.volumes

    @property
    def curve(self) -> tuple[Array, Array] | None:
        """See ``Image``."""
        return self.like.curve

    @property
    def source(self) -> Source:
        """See ``Image``."""
        return self.like.source

    @property
    def notes(self) -> tuple[str, ...]:
        """See ``Image``."""
        return self.like.notes


ImageLike = Image | Volume
"""What has a grid and planes, wherever its voxels are."""


class _InMemory:
    """The planes of an image that is whole in memory; of any channels."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def read(self, start: int, stop: int) -> Array:
        return self._array[..., start:stop]

    def finish(self) -> None:
        """There is nothing left to verify."""


@contextmanager
def passing(image: ImageLike) -> Iterator[Pass]:
    """A pass through the planes of either."""
    if isinstance(image, Image):
        yield _InMemory(image.array)
        return
    with image.open() as planes:
        yield planes


def blocks_of(planes: Pass, count: int, *, block: int = _BLOCK) -> Iterator[tuple[int, Array]]:
    """First plane and voxels (C, I, J, n) of one block after the other, to the last of ``count``; then ``finish``."""
    for start in range(0, count, block):
        yield start, planes.read(start, min(start + block, count))
    planes.finish()


def as_image(image: ImageLike) -> Image:
    """The whole image in memory."""
    return image if isinstance(image, Image) else image.read()


def alike(image: ImageLike, array: Array, **changes: Any) -> Image:
    """Other voxels in the same place, and what else the image says of itself.

    Args:
        image: gives everything but the voxels.
        array: (C, I, J, K).
        changes: other attributes.
    """
    return replace(image if isinstance(image, Image) else image.like, array=array, **changes)


def stand_in(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """An array of zeros that takes no memory, for what needs a shape and a dtype."""
    return np.broadcast_to(np.zeros((), np.float32 if dtype == np.float64 else dtype), shape)
