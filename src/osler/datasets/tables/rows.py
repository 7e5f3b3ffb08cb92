"""What is told of each table and column, as plain data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from osler.datasets.distributions import Histogram, column_histogram
from osler.datasets.layouts.tables import MISSING
from osler.datasets.tables.columns import Group, Judged, Kind
from osler.datasets.tables.reading import RawTable, word_code
from osler.studies.geometry import Array

__all__ = ["ColumnRow", "TableGroup", "TableRow", "column_row", "describe_group", "describe_table"]

_MOST_VALUES = 20
_MOST_CHARTS = 200


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnRow(_Frozen):
    """One column of one table, or of all tables of a group.

    ``rows`` are ``known + missing + suspected + wrong``: cells with a value, without one (``marks`` counts how that is
    written), with a number that probably stands for missing, and with a word among numbers. ``low``, ``median`` and
    ``high`` are of the known numbers; ``values`` counts codes. Texts and dates are not repeated.
    """

    name: str
    kind: Kind
    rows: int
    known: int
    missing: int
    suspected: int
    wrong: int
    distinct: int
    marks: dict[str, int] = {}
    low: float | None = None
    median: float | None = None
    high: float | None = None
    values: dict[str, int] = {}


class TableRow(_Frozen):
    """One table that could be read, or the rows of one source of it. ``answers`` counts what is to be predicted."""

    name: str
    file: str
    rows: int
    header: bool
    missing: float
    columns: tuple[ColumnRow, ...]
    answers: dict[str, int] = {}


class TableGroup(_Frozen):
    """Tables of the same columns: each column over all of them, and how its numbers are spread in each."""

    tables: tuple[str, ...]
    answer: str
    columns: tuple[ColumnRow, ...]
    histograms: tuple[Histogram, ...]


def describe_table(group: Group, table: RawTable, *, answered: bool) -> TableRow:
    """A table.

    Args:
        group: that it is of.
        table: as read.
        answered: whether its answers are coded as those of the group.
    """
    columns = [column_row(column, [table]) for column in group.columns]
    cells = len(table.rows) * len(columns)
    judged = next((one for one in group.columns if one.name == group.answer), None)
    counts = {} if judged is None or not answered else judged.counts(table)
    return TableRow(
        name=table.name,
        file=table.path.name,
        rows=len(table.rows),
        header=table.header,
        missing=sum(column.missing + column.suspected for column in columns) / max(1, cells),
        columns=tuple(columns),
        answers={value: counts[value] for value in sorted(counts)} if len(counts) <= _MOST_VALUES else {},
    )


def describe_group(group: Group) -> TableGroup:
    """All tables of a group together."""
    histograms = [
        column_histogram(column.name, {table.name: _finite(column.numbers(table)) for table in group.tables})
        for column in group.columns[:_MOST_CHARTS]
        if column.kind == "number"
    ]
    return TableGroup(
        tables=tuple(table.name for table in group.tables),
        answer=group.answer,
        columns=tuple(column_row(column, group.tables) for column in group.columns),
        histograms=tuple(one for one in histograms if one is not None),
    )


def column_row(column: Judged, tables: Sequence[RawTable]) -> ColumnRow:
    """A column over some tables."""
    rows = sum(len(table.rows) for table in tables)
    missing, suspected, wrong = (
        sum(int(of(table).sum()) for table in tables) for of in (column.missing, column.suspected, column.no_number)
    )
    numbers = np.concatenate([_finite(column.numbers(table)) for table in tables])
    spread = column.kind in ("number", "code") and numbers.size > 0
    low, median, high = np.percentile(numbers, (0, 50, 100)).tolist() if spread else (None, None, None)
    told = column.kind == "code"
    return ColumnRow(
        name=column.name,
        kind=column.kind if missing + suspected < rows else "empty",
        rows=rows,
        known=rows - missing - suspected - wrong,
        missing=missing,
        suspected=suspected,
        wrong=wrong,
        distinct=_distinct(column, tables, numbers),
        marks=_marks(column, tables),
        low=low,
        median=median,
        high=high,
        values=_values(column, tables) if told else {},
    )


def _finite(numbers: Array) -> Array:
    return numbers[np.isfinite(numbers)]


def _distinct(column: Judged, tables: Sequence[RawTable], numbers: Array) -> int:
    words = [column.of(table).hashes[~column.missing(table) & (column.of(table).hashes != 0)] for table in tables]
    counted = 0 if column.kind == "number" else len(np.unique(np.concatenate(words)))
    return len(np.unique(numbers)) + counted


def _marks(column: Judged, tables: Sequence[RawTable]) -> dict[str, int]:
    """How often each way of writing "missing" occurs; an empty cell is "empty", 0 may be "0 (suspected)"."""
    found: dict[str, int] = {}
    for table in tables:
        cells = column.of(table)
        for word in sorted(MISSING):
            count = int((cells.hashes == word_code(word)).sum())
            if count:
                found[word or "empty"] = found.get(word or "empty", 0) + count
        words = {number: f"{number:g}" for number in column.marks.certain}
        words |= {number: f"{number:g} (suspected)" for number in column.marks.suspected}
        for number, word in words.items():
            count = int((cells.numbers == number).sum())
            if count:
                found[word] = found.get(word, 0) + count
    return found


def _values(column: Judged, tables: Sequence[RawTable]) -> dict[str, int]:
    found: dict[str, int] = {}
    for table in tables:
        for value, count in column.counts(table).items():
            found[value] = found.get(value, 0) + count
    ranked = sorted(found.items(), key=lambda item: -item[1])[:_MOST_VALUES]
    return dict(sorted(ranked))
