"""Planes of a DICOM series with a file per slice, decoded as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from osler.errors import GeometryError
from osler.studies.formats._dicom_frames import check_native, read_stored
from osler.studies.formats._dicom_geometry import Slice
from osler.studies.formats._dicom_header import Header
from osler.studies.formats._dicom_values import rescale
from osler.studies.geometry import Array

__all__ = ["dtype_of_planes", "slice_pass"]

_WIDEST = 1 << 16  # stored values lie between minus and plus this


def dtype_of_planes(ordered: Sequence[Slice], headers: dict[Path, Header]) -> np.dtype[np.generic] | None:
    """The one dtype that holds the rescaled values of every slice; None where a stack has to be read whole.

    ``read_image`` takes a smaller integer where the values that occur allow it, which is not known beforehand; the
    values are the same.

    Args:
        ordered: the slices of a stack.
        headers: of their files.
    """
    own = [headers[one.path] for one in ordered]
    if len(ordered) < 2 or len({one.path for one in ordered}) != len(ordered) or not all(map(_is_grey, own)):
        return None
    kinds = ("BitsAllocated", "Rows", "Columns", "PixelRepresentation")
    if len({tuple(header.get(name) for name in kinds) for header in own}) > 1:
        return None
    factors = [value for one in ordered for value in (one.slope, one.intercept)]
    if not all(float(value).is_integer() for value in factors):
        return np.dtype(np.float32)
    largest = max(abs(one.slope) * _WIDEST + abs(one.intercept) for one in ordered)
    return np.dtype(np.int32) if largest < np.iinfo(np.int32).max else None


def _is_grey(header: Header) -> bool:
    return (
        header.frames == 1
        and header.get("SamplesPerPixel", 1) == 1
        and header.get("BitsAllocated") in (8, 16)
        and str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    )


@contextmanager
def slice_pass(
    ordered: Sequence[Slice], headers: dict[Path, Header], dtype: np.dtype[np.generic], factor: float | None
) -> Iterator[_SlicePass]:
    """A ``Pass`` through the slices of a stack.

    Args:
        ordered: along the third axis.
        headers: of their files.
        dtype: see ``dtype_of_planes``.
        factor: what rescaled values are multiplied by, if anything.

    Raises:
        StudyError: before anything is read, when uncompressed slices are cut off.
    """
    check_native(ordered, headers)
    yield _SlicePass(ordered, headers, dtype, factor)


class _SlicePass:
    """A ``Pass``; slices that are passed over are decoded too, because a damaged one spoils the stack."""

    def __init__(
        self,
        ordered: Sequence[Slice],
        headers: dict[Path, Header],
        dtype: np.dtype[np.generic],
        factor: float | None,
    ) -> None:
        self._ordered, self._headers, self._dtype, self._factor = ordered, headers, dtype, factor
        self._next = 0
        self._stored: np.dtype[np.generic] | None = None

    def read(self, start: int, stop: int) -> Array:
        self._pass_over(start)
        part = self._ordered[start:stop]
        values = rescale(self._take(stop), [one.slope for one in part], [one.intercept for one in part])
        if self._factor is not None:
            values = np.multiply(values, np.float32(self._factor), dtype=np.float32)
        return np.transpose(values.astype(self._dtype, copy=False)[..., None])  # (1, columns, rows, slices)

    def finish(self) -> None:
        self._pass_over(len(self._ordered))

    def _pass_over(self, until: int) -> None:
        while self._next < until:
            self._take(self._next + 1)

    def _take(self, stop: int) -> Array:
        """Stored values (slices, rows, columns) from where it stands."""
        part = self._ordered[self._next : stop]
        stored = read_stored(part, self._headers)
        if self._stored is None:
            self._stored = stored.dtype
        if stored.dtype != self._stored:
            raise GeometryError(
                f"{part[0].path} holds {stored.dtype} and the first slice of its series {self._stored}",
                remedy="put each series into a folder of its own",
            )
        self._next = stop
        return stored
