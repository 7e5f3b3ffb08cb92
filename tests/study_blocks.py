"""A study's values as blending gives them: block after block."""

from __future__ import annotations

from osler.inference.bands import Block
from osler.inference.layout import row_axis

ROWS = 9


def blocks(values, axis, step, unseen=None):
    """(F, *shape) as blocks of ``step`` planes and nine rows."""
    shape = values.shape[1:]
    row = row_axis(axis, shape)
    for plane in range(0, shape[axis], step):
        for first in range(0, shape[row], ROWS):
            place = [slice(None)] * 3
            place[axis], place[row] = slice(plane, plane + step), slice(first, first + ROWS)
            origin = tuple(part.start or 0 for part in place)
            yield Block(origin, values[(slice(None), *place)], None if unseen is None else unseen[tuple(place)])
