"""Numbers that stand for a missing value, told by how they lie among the others and not by what the column means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.studies.geometry import Array

__all__ = ["Marks", "marks_of", "numbered_repeats"]

_FEWEST = 20
"""Other values below which nothing is said."""
_MANY_VALUES = 10
_REPEATED = 3
"""Times that a suspected value must occur, and how many times as often as any other."""
_GAP = 3.0
"""How many times as wide as any step between the other values on its side the gap to them must be."""
_INNER = (2.5, 97.5)
_SIGMA = 1.4826
_NINES = re.compile(r"9+(\.0)?")
_NUMBERED = re.compile(r"(.+)\.(\d+)")


@dataclass(frozen=True)
class Marks:
    """``certain``: -1 and negative nines where nothing else is negative. ``suspected``: far from all else, and too
    frequent there for outliers; only who made the table can tell."""

    certain: tuple[float, ...] = ()
    suspected: tuple[float, ...] = ()


def marks_of(values: Array) -> Marks:
    """The marks among the numbers of a column.

    Args:
        values: (N,) finite, of all tables that have the column.
    """
    distinct, counts = np.unique(values, return_counts=True)
    certain: list[float] = []
    while len(distinct) > 1 and distinct[0] < 0 <= distinct[1] and _is_conventional(-distinct[0], int(counts[0])):
        certain.append(float(distinct[0]))
        distinct, counts = distinct[1:], counts[1:]
    suspected: list[float] = []
    for _ in range(2):  # at either end
        for end in (0, -1):
            if _stands_apart(distinct, counts, end):
                suspected.append(float(distinct[end]))
                distinct, counts = np.delete(distinct, end), np.delete(counts, end)
    return Marks(tuple(certain), tuple(suspected))


def _is_conventional(size: float, count: int) -> bool:
    return _NINES.fullmatch(f"{size:.1f}") is not None or (size == 1 and count >= _REPEATED)


def _stands_apart(distinct: Array, counts: Array, end: int) -> bool:
    """Whether the lowest (0) or highest (-1) value is none of the others' kind."""
    value, count = float(distinct[end]), int(counts[end])
    rest, times = np.delete(distinct, end), np.delete(counts, end)
    if times.sum() < _FEWEST or len(rest) < 2:
        return False
    gap = abs(float(rest[end]) - value)
    if value > 0 and end == -1 and _NINES.fullmatch(f"{value:.1f}"):
        return gap > float(rest[-1] - rest[0])
    if len(rest) < _MANY_VALUES or count < _REPEATED or count < _REPEATED * int(times.max()):
        return False
    everything = np.repeat(rest, times)
    middle = float(np.median(everything))
    low, high = np.percentile(everything, _INNER).tolist()  # a few outliers must not widen the steps
    side = rest[(rest >= low) & (rest <= middle)] if end == 0 else rest[(rest >= middle) & (rest <= high)]
    widest = float(np.diff(side).max()) if len(side) > 1 else 0.0
    return gap >= _SIGMA * float(np.median(np.abs(everything - middle))) and gap >= _GAP * widest


def numbered_repeats(cells: Sequence[str]) -> dict[int, str]:
    """The cells of a row to which a program that took it for a header added numbers, with what they were.

    Such a program makes names unlike one another: of 0, 0, -9, 0, -9 it makes 0, 0.1, -9, 0.2, -9.1. A row is taken for
    one when no two of its cells are alike and two or more repeat an earlier cell with the next number behind it.

    Args:
        cells: as written.

    Returns:
        By place what the cell was; empty for an ordinary row.
    """
    if len(set(cells)) < len(cells):
        return {}
    times: dict[str, int] = {}
    found = {}
    for place, cell in enumerate(cells):
        match = _NUMBERED.fullmatch(cell)
        if match and match[1] in times and int(match[2]) == times[match[1]] + 1:
            times[match[1]] += 1
            found[place] = match[1]
        else:
            times[cell] = 0
    return found if len(found) > 1 else {}
