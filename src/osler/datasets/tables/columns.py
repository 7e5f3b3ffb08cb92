"""What a column holds: its kind, over all tables that have it, and what of it is missing in each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.datasets.layouts.tables import MISSING
from osler.datasets.tables.marks import Marks, marks_of
from osler.datasets.tables.reading import Column, RawTable, word_code
from osler.studies.geometry import Array

__all__ = ["Group", "Judged", "Kind", "group_tables", "judge"]

Kind = Literal["number", "code", "text", "date", "empty"]
_MOSTLY = 0.8
_MOST_CODES, _MOST_NAMES = 10, 20
_EACH = 4
"""Times that each code occurs on average, or it is no code."""
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T].*)?")
_HIDDEN = frozenset(word_code(word) for word in MISSING)


@dataclass(frozen=True)
class Judged:
    """A column of a group of tables: what kind it is, whether it is made of numbers (amounts or codes), and which of
    these stand for missing."""

    name: str
    place: int
    kind: Kind
    numeric: bool
    marks: Marks

    def of(self, table: RawTable) -> Column:
        """It in one table."""
        return table.columns[self.place]

    def missing(self, table: RawTable) -> Array:
        """(N,) whether a cell is empty or holds a mark for missing, suspected ones not among them."""
        column = self.of(table)
        return np.isin(column.hashes, list(_HIDDEN)) | np.isin(column.numbers, self.marks.certain)

    def suspected(self, table: RawTable) -> Array:
        """(N,) whether a cell holds a number that probably stands for missing."""
        return np.isin(self.of(table).numbers, self.marks.suspected)

    def numbers(self, table: RawTable) -> Array:
        """(N,) its numbers, NaN where there is none or it stands for missing."""
        values = self.of(table).numbers.copy()
        values[np.isin(values, (*self.marks.certain, *self.marks.suspected))] = np.nan
        return values

    def no_number(self, table: RawTable) -> Array:
        """(N,) whether a cell holds a word where numbers are expected."""
        column = self.of(table)
        wrong = (column.hashes != 0) & ~np.isin(column.hashes, list(_HIDDEN))
        return wrong if self.numeric else np.zeros(len(wrong), bool)

    def counts(self, table: RawTable) -> dict[str, int]:
        """How often each value occurs, the most frequent first, without what is missing."""
        values, numbers = np.unique(self.numbers(table), return_counts=True)
        told = {f"{v:g}": int(n) for v, n in zip(values.tolist(), numbers.tolist(), strict=True) if v == v}
        words = _words(self.of(table))
        return dict(Counter(told | words).most_common())


@dataclass(frozen=True)
class Group:
    """Tables of the same columns."""

    tables: tuple[RawTable, ...]
    columns: tuple[Judged, ...]
    answer: str
    """The column that is to be predicted; "" where none is known."""


def group_tables(tables: Sequence[RawTable]) -> list[tuple[RawTable, ...]]:
    """Tables whose columns have the same names in the same order."""
    groups: dict[tuple[str, ...], list[RawTable]] = {}
    for table in tables:
        groups.setdefault(tuple(column.name for column in table.columns), []).append(table)
    return [tuple(group) for group in groups.values()]


def judge(tables: Sequence[RawTable], place: int) -> Judged:
    """What the column at ``place`` is in all these tables together."""
    columns = [table.columns[place] for table in tables]
    numbers = np.concatenate([column.numbers for column in columns])
    numbers = numbers[np.isfinite(numbers)]
    marks = marks_of(numbers) if numbers.size else Marks()
    numbers = numbers[~np.isin(numbers, (*marks.certain, *marks.suspected))]
    words: Counter[str] = Counter()
    for column in columns:
        words.update(_words(column))
    known = numbers.size + words.total()
    numeric = numbers.size >= max(1, _MOSTLY * known)
    return Judged(columns[0].name, place, _kind(numbers, words), numeric, marks)


def _kind(numbers: Array, words: Counter[str]) -> Kind:
    known = numbers.size + words.total()
    if not known:
        return "empty"
    if numbers.size >= _MOSTLY * known:
        distinct = np.unique(numbers)
        few = len(distinct) <= _MOST_CODES and len(distinct) * _EACH <= numbers.size
        return "code" if few and bool((distinct == np.floor(distinct)).all()) else "number"
    if sum(count for word, count in words.items() if _DATE.fullmatch(word)) >= _MOSTLY * known:
        return "date"
    return "code" if len(words) <= _MOST_NAMES and len(words) * _EACH <= known else "text"


def _words(column: Column) -> dict[str, int]:
    """How often each word occurs that is no mark for missing; those that were not kept are "" together."""
    found: Counter[str] = Counter()
    codes, counts = np.unique(column.hashes, return_counts=True)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        if code and code not in _HIDDEN:
            found[column.words.get(code, "")] += count
    return dict(found)
