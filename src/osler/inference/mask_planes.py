"""From class indices of the part of a study that is kept to planes of the whole mask, and where these go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from osler.datasets.preparation import Trace
from osler.inference.labelled import MaskSink
from osler.inference.stages import Behind
from osler.studies.geometry import Array
from osler.studies.volume import ImageLike

__all__ = ["MaskInMemory", "fill", "on_source", "whole_planes"]

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


def fill(sink: MaskSink, planes: Iterable[Array]) -> None:
    """Give a sink all planes of a mask; while it is at some, the next are made. It is abandoned when anything fails.

    Raises:
        BaseException: what making or keeping them raises.
    """
    try:
        with Behind(sink.write) as writing:
            for some in planes:
                writing.give(some)
            writing.finish()
        sink.finish()
    except BaseException:  # also of one who interrupts
        sink.abandon()
        raise


def on_source(profiles: Sequence[Array], trace: Trace) -> tuple[Array, ...]:
    """Counts along the part of each source axis that was kept, as counts along the whole axis."""
    whole = tuple(np.zeros(size, np.int64) for size in trace.source_shape)
    for axis, part, profile in zip(whole, trace.source_part[1:], profiles, strict=True):
        axis[part] = profile
    return whole


class MaskInMemory:
    """A ``MaskSink`` that keeps the mask: ``array``, (I, J, K).

    Args:
        image: gives the shape.
        dtype: of the values.
    """

    def __init__(self, image: ImageLike, dtype: np.dtype[Any]) -> None:
        self.array: Array = np.zeros(image.shape, dtype, order="F")
        self._done = 0

    def write(self, planes: Array) -> None:
        """See ``MaskSink``."""
        self.array[..., self._done : self._done + planes.shape[2]] = planes
        self._done += planes.shape[2]

    def finish(self) -> None:
        """See ``MaskSink``."""

    def abandon(self) -> None:
        """See ``MaskSink``; the memory goes with it."""
