"""From class indices of the part of a study that is kept to planes of the whole mask, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from osler.datasets.preparation import Trace
from osler.studies.geometry import Array

__all__ = ["MaskInMemory", "whole_planes"]

_BLOCK = 32  # planes of nothing that are given at once


def whole_planes(kept: Iterable[Array], trace: Trace, table: Array) -> Iterator[Array]:
    """(I, J, n) of the data set's values; together all planes of the source grid. Outside the crop is background.

    Args:
        kept: class indices (I', J', n) of the part of the source grid that is kept, from its first plane on.
        trace: of the study.
        table: from class index to value.
    """
    across, down, along = trace.source_part[1:]
    begin, end, _ = along.indices(trace.source_shape[2])
    yield from _nothing(trace, begin, table.dtype)
    for classes in kept:
        planes = np.zeros((*trace.source_shape[:2], classes.shape[2]), table.dtype, order="F")
        planes[across, down] = table[classes]
        yield planes
    yield from _nothing(trace, trace.source_shape[2] - end, table.dtype)


def _nothing(trace: Trace, count: int, dtype: np.dtype[Any]) -> Iterator[Array]:
    for first in range(0, count, _BLOCK):
        yield np.zeros((*trace.source_shape[:2], min(_BLOCK, count - first)), dtype, order="F")


class MaskInMemory:
    """A ``MaskSink`` that keeps the mask: ``array``, (I, J, K)."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        self.array: Array = np.zeros(shape, dtype, order="F")
        self._done = 0

    def write(self, planes: Array) -> None:
        """See ``MaskSink``."""
        self.array[..., self._done : self._done + planes.shape[2]] = planes
        self._done += planes.shape[2]

    def finish(self) -> None:
        """See ``MaskSink``."""

    def abandon(self) -> None:
        """See ``MaskSink``; the memory goes with it."""
