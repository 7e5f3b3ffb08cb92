"""Rows that say the same, within a table and in several, where that is no chance."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.problem import Problem
from osler.datasets.tables.columns import Group, Judged
from osler.datasets.tables.reading import RawTable
from osler.studies.geometry import Array

__all__ = ["find_copies", "row_keys"]

_BY_CHANCE = 0.05
"""Expected pairs of equal rows, were the columns independent, from which on equal rows say nothing."""
_MISSING = np.uint64(0x9E3779B97F4A7C15)
_MOST_GROUPS = 5_000
_FEWEST = 5
"""Columns below which rows of other names are not called copies: sums and shares are not independent."""


@dataclass(frozen=True)
class _Found:
    """Rows that are alike, as (table, place)."""

    rows: tuple[tuple[int, int], ...]

    @property
    def tables(self) -> tuple[int, ...]:
        return tuple(sorted({table for table, _ in self.rows}))


def row_keys(group: Group, table: RawTable) -> Array:
    """(N,) uint64 that is the same for rows which say the same, apart from the answer and from numbers of rows."""
    keys = np.zeros(len(table.rows), np.uint64)
    for column in _compared(group):
        keys = _mix(keys * np.uint64(0xD6E8FEB86659FD93) + _codes(column, table))
    return keys


def find_copies(group: Group) -> list[Problem]:
    """Rows that are alike within each table, and across each pair of tables, with what their answers say."""
    compared = len(_compared(group))
    if compared < min(_FEWEST, len(group.columns)):
        return []
    keys = [row_keys(group, table) for table in group.tables]
    chances = [_log_chance(group, table) for table in group.tables]
    within: list[_Found] = []
    across: dict[tuple[int, ...], list[_Found]] = defaultdict(list)
    for rows in _alike(keys):
        found = _Found(tuple(rows))
        if _expected(found, chances) >= _BY_CHANCE:
            continue
        if len(found.tables) > 1:
            across[found.tables].append(found)
        else:
            within.append(found)
    return [*_within(group, within), *(_across(group, tables, found) for tables, found in across.items())]


def _compared(group: Group) -> list[Judged]:
    """All columns but the answer and those that only number or name the rows."""
    return [one for one in group.columns if one.name != group.answer and not _names_rows(one, group.tables)]


def _names_rows(column: Judged, tables: Sequence[RawTable]) -> bool:
    for table in tables:
        cells = column.of(table)
        size = len(cells.numbers)
        known = cells.numbers[np.isfinite(cells.numbers)]
        runs = known.size == size > 2 and bool((np.diff(known) == 1).all())
        unlike = not known.size and column.kind == "text" and len(np.unique(cells.hashes)) == size > 2
        if not runs and not unlike:
            return False
    return True


def _codes(column: Judged, table: RawTable) -> Array:
    """(N,) uint64 of what the cells say: 3 and 3.0 are one, as are all marks for missing."""
    cells = column.of(table)
    codes = np.where(cells.hashes == 0, (cells.numbers + 0.0).view(np.int64), cells.hashes).view(np.uint64)
    codes[column.missing(table)] = _MISSING
    return codes


def _mix(values: Array) -> Array:
    """Each bit of the result depends on each of ``values`` (SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _log_chance(group: Group, table: RawTable) -> Array:
    """(N,) log of the chance that a row of this table says what this one says, were the columns independent."""
    chance = np.zeros(len(table.rows))
    for column in _compared(group):
        _, inverse, counts = np.unique(_codes(column, table), return_inverse=True, return_counts=True)
        chance += np.log(counts / len(inverse))[inverse]
    return chance


def _expected(found: _Found, chances: Sequence[Array]) -> float:
    table, place = found.rows[0]
    sizes = [len(chances[one]) for one in found.tables]
    pairs = sizes[0] * sizes[-1] / (1 if len(sizes) > 1 else 2)
    return math.exp(min(0.0, float(chances[table][place])) + math.log(pairs))


def _alike(keys: Sequence[Array]) -> list[list[tuple[int, int]]]:
    """(table, place) of rows of one key, in the order of the first."""
    everything = np.concatenate(keys)
    table_of = np.repeat(np.arange(len(keys)), [len(one) for one in keys])
    place_of = np.concatenate([np.arange(len(one)) for one in keys])
    order = np.argsort(everything, kind="stable")
    starts = np.flatnonzero(np.diff(everything[order], prepend=~everything[order[:1]]) != 0)
    sizes = np.diff(starts, append=len(order))
    groups = [order[start : start + size] for start, size in zip(starts, sizes, strict=True) if size > 1]
    groups.sort(key=lambda one: int(one[0]))
    return [list(zip(table_of[one].tolist(), place_of[one].tolist(), strict=True)) for one in groups]


def _names(group: Group, found: Sequence[_Found]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(group.tables[t].case(p) for t, p in one.rows) for one in found[:_MOST_GROUPS])


def _within(group: Group, found: Sequence[_Found]) -> list[Problem]:
    if not found:
        return []
    groups = _names(group, found)
    rows = sum(len(one.rows) for one in found)
    what = (
        f"{rows:,} rows say the same as another of their table in all {len(_compared(group))} columns "
        f"({len(found):,} group{'s' * (len(found) != 1)})"
    )
    names = tuple(name for one in groups for name in one)
    remedy = "keep one of each, unless they are two visits or patients"
    return [Problem(code="copies-within", severity="warning", what=what, cases=names, groups=groups, remedy=remedy)]


def _across(group: Group, places: tuple[int, ...], found: Sequence[_Found]) -> Problem:
    tables = [group.tables[place] for place in places]
    counts = [len({place for one in found for t, place in one.rows if t == table}) for table in places]
    shares = [f"{count:,} of {len(t.rows):,} rows of {t.name}" for count, t in zip(counts, tables, strict=True)]
    what = f"{' and '.join(shares)} say the same in all {len(_compared(group))} columns{_answers(group, found)}"
    groups = _names(group, found)
    return Problem(
        code="copies-across",
        severity="error",
        what=what,
        cases=tuple(name for one in groups for name in one),
        groups=groups,
        remedy="leave one of the tables out, and never learn from one and measure on the other",
    )


def _answers(group: Group, found: Sequence[_Found]) -> str:
    """How the answers of rows that are alike go together, of the first table and the last."""
    answer = next((one for one in group.columns if one.name == group.answer), None)
    if answer is None:
        return ""
    numbers = [answer.numbers(table) for table in group.tables]
    pairs: dict[float, set[float]] = defaultdict(set)
    for one in found:
        (table, place), (other_table, other) = one.rows[0], one.rows[-1]
        pairs[float(numbers[other_table][other])].add(float(numbers[table][place]))
    if len(pairs) > 10:
        return ""
    first, last = (group.tables[table].name for table in (found[0].rows[0][0], found[0].rows[-1][0]))
    told = [f"{value:g} is {', '.join(f'{v:g}' for v in sorted(pairs[value]))}" for value in sorted(pairs)]
    return f" ({answer.name} of {last} in that of {first}: {'; '.join(told)})"
