"""From files to groups of tables: the first row is mended, a table with a column of sources is one table per source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from osler.datasets.layouts.files import natural
from osler.datasets.layouts.tables import Known, known_table
from osler.datasets.tables.columns import Group, group_tables, judge
from osler.datasets.tables.marks import numbered_repeats
from osler.datasets.tables.reading import Column, RawTable, is_number, word_code
from osler.studies.geometry import Array

__all__ = ["answered_tables", "by_source", "group_of", "grouped", "known_of", "mend_first_row"]

_SOURCES = ("site", "hospital", "center", "centre", "institution", "source")
_MOST_SOURCES = 30
_ANSWERS = ("label", "grade", "target", "diagnosis", "outcome", "class")


def known_of(tables: Sequence[RawTable]) -> Known | None:
    """What is known of a group from the name of one of its files."""
    found = (known_table(table.path) for table in tables)
    return next((one for one in found if one is not None and one.answer and _fits(one, tables[0])), None)


def _fits(known: Known, table: RawTable) -> bool:
    return known.columns == tuple(column.name for column in table.columns)


def mend_first_row(table: RawTable) -> tuple[RawTable, str]:
    """The table with its first row as it was before a program took it for a header, and what was changed ("" if not).

    The table is changed in memory only.
    """
    repeats = {} if table.header else numbered_repeats(table.first)
    if not repeats:
        return table, ""
    columns = [
        _with_first(column, repeats[place]) if place in repeats else column
        for place, column in enumerate(table.columns)
    ]
    told = [f"{table.columns[place].name} {table.first[place]} for {was}" for place, was in repeats.items()]
    return replace(table, columns=tuple(columns)), ", ".join(told)


def _with_first(column: Column, word: str) -> Column:
    numbers, hashes = column.numbers.copy(), column.hashes.copy()
    numbers[0] = float(word) if is_number(word) else np.nan
    hashes[0] = 0 if is_number(word) else word_code(word)
    return replace(column, numbers=numbers, hashes=hashes)


def by_source(table: RawTable) -> list[RawTable]:
    """The rows of each source as a table without that column; the table itself where no column says a source."""
    place = next((n for n, column in enumerate(table.columns) if column.name.lower() in _SOURCES), None)
    if place is None:
        return [table]
    column = table.columns[place]
    keys = np.where(column.hashes == 0, column.numbers, column.hashes.astype(float))
    sources = np.unique(keys)
    if not 1 < len(sources) <= _MOST_SOURCES:
        return [table]
    rest = replace(table, columns=table.columns[:place] + table.columns[place + 1 :])
    parts = [np.flatnonzero(keys == source) for source in sources]
    named = {_source_name(table, column, one): one for one in parts}
    return [rest.take(named[name], name=name) for name in sorted(named, key=natural)]


def _source_name(table: RawTable, column: Column, places: Array) -> str:
    first = int(places[0])
    word = column.words.get(int(column.hashes[first]), "") or "unknown"
    return f"{table.name} {word if column.hashes[first] else f'{column.name} {column.numbers[first]:g}'}"


def grouped(tables: Sequence[RawTable]) -> list[Group]:
    """Tables of the same columns together, each column judged over all of them."""
    return [group_of(group) for group in group_tables(tables)]


def group_of(tables: tuple[RawTable, ...]) -> Group:
    """One group."""
    columns = tuple(judge(tables, place) for place in range(len(tables[0].columns)))
    known = known_of(tables)
    names = {column.name.lower(): column.name for column in columns if column.kind == "code"}
    answer = known.answer if known else next((names[one] for one in _ANSWERS if one in names), "")
    return Group(tables, columns, answer)


def answered_tables(group: Group) -> list[RawTable]:
    """Those whose answers are coded as those of the group."""
    if not group.answer:
        return []
    known = {table.name: known_table(table.path) for table in group.tables}
    return [table for table in group.tables if (one := known[table.name]) is None or one.answer]
