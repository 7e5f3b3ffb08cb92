"""``TableInspection``: what is in a set of tables and what is wrong with it, as plain data and as a screenful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from osler.datasets.inspection import problem_lines, wrapped
from osler.datasets.problem import Problem
from osler.datasets.tables.columns import Kind
from osler.datasets.tables.rows import ColumnRow, TableGroup, TableRow

__all__ = ["TableInspection", "describe_tables", "left_aside", "marks_words", "numbers_words"]

_ROOM = 8
"""Rows of a screen for tables."""
_COLUMNS = 6
"""Rows of a screen for the columns of each group of tables."""
_PROBLEMS = 12
_KINDS: dict[Kind, str] = {
    "number": "numbers",
    "code": "codes",
    "text": "texts",
    "date": "dates",
    "empty": "empty",
}


class TableInspection(BaseModel):
    """What was found; ``text`` says it in a sentence. ``cases`` are rows, ``files`` what was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = 1
    name: str
    layout: str = "tables"
    text: str
    cases: int
    problems: tuple[Problem, ...]
    tables: tuple[TableRow, ...]
    groups: tuple[TableGroup, ...]
    unreadable: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every table could be read."""
        return not self.unreadable

    def summary(self) -> list[str]:
        """Lines for a person, about a screenful."""
        lines = wrapped([f"{self.name}: {self.text}"], most=4)
        wide = min(30, max((len(row.name) for row in self.tables), default=0))
        lines += ["", *(_table_line(row, wide) for row in self.tables[:_ROOM])]
        hidden = len(self.tables) - _ROOM
        lines += [f"  and {hidden} tables more"] if hidden > 0 else []
        for group in self.groups[:2]:
            lines += ["", *wrapped([_columns_line(group)], indent="  ", most=_COLUMNS)]
        files = [f"wrote {path}" for path in self.files] or ["--output OUT writes a page with charts of every column"]
        return [
            *lines,
            "",
            *problem_lines(self.problems, _PROBLEMS, page=bool(self.files)),
            "",
            "No model reads tables yet: nothing is planned",
            *files,
        ]

    def record(self) -> dict[str, Any]:
        """The same for a machine in one line; columns, charts and cases are in ``inspect.json``."""
        problems = [
            {"severity": p.severity, "code": p.code, "what": p.what, "cases": len(p.cases), "remedy": p.remedy}
            for p in self.problems
        ]
        tables = [row.model_dump(mode="json", exclude={"columns"}) for row in self.tables]
        rest = self.model_dump(mode="json", exclude={"problems", "tables", "groups"})
        return {**rest, "tables": tables, "problems": problems}


def describe_tables(tables: Sequence[TableRow], groups: Sequence[TableGroup]) -> str:
    """In a sentence, without a full stop."""
    if not tables:
        return "no table that can be read"
    rows = sum(table.rows for table in tables)
    cells = sum(table.rows * len(table.columns) for table in tables)
    missing = sum(table.missing * table.rows * len(table.columns) for table in tables) / max(1, cells)
    widths = sorted({len(group.columns) for group in groups})
    wide = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    number = f"{len(tables)} table{'s' * (len(tables) != 1)}"
    return f"{number} without images, {rows:,} rows of {wide} columns, {_share(missing)} of the cells missing"


def left_aside(unreadable: Mapping[str, str], others: Sequence[str]) -> list[Problem]:
    """Tables that cannot be read, and what else lies in the folder.

    Args:
        unreadable: the reason by file.
        others: names of files and folders that are no tables.
    """
    problems = []
    if unreadable:
        many, first = len(unreadable) > 1, next(iter(unreadable.values()))
        what = f"{len(unreadable)} tables cannot be read; the first: {first}" if many else first
        details, remedy = dict(unreadable), "export or copy them again; nothing of them is counted here"
        problems.append(
            Problem(
                code="unreadable", severity="error", what=what, cases=tuple(details), details=details, remedy=remedy
            )
        )
    if others:
        what = f"what lies beside the tables is not looked at ({len(others)})"
        remedy = "inspect a folder by itself; save other tables as CSV"
        problems.append(Problem(code="layout", severity="note", what=what, cases=tuple(others), remedy=remedy))
    return problems


def marks_words(column: ColumnRow) -> str:
    """How missing is written in a column: "?, -9"."""
    return ", ".join(column.marks)


def numbers_words(column: ColumnRow) -> str:
    """Range and median: "28 to 77, median 54"; "" where there are none."""
    if column.low is None or column.high is None or column.median is None:
        return ""
    return f"{_number(column.low)} to {_number(column.high)}, median {_number(column.median)}"


def _table_line(row: TableRow, wide: int) -> str:
    answers = ", ".join(f"{value}: {count}" for value, count in row.answers.items())
    marks = ", ".join(dict.fromkeys(mark for column in row.columns for mark in column.marks))
    missing = f"{_share(row.missing)} missing" + (f" ({marks})" if marks else "")
    return f"  {row.name[:wide]:<{wide}}{row.rows:>9,} rows  {missing}  {answers}".rstrip()[:120]


def _share(share: float) -> str:
    return "none" if share == 0 else f"{100 * share:.2g} %" if share < 0.995 else "100 %"


def _columns_line(group: TableGroup) -> str:
    parts = []
    for kind, words in _KINDS.items():
        alike = [column for column in group.columns if column.kind == kind]
        if alike:
            parts.append(f"{words}: " + ", ".join(_brief(column) for column in alike))
    where = f"{group.tables[0]}: " if len(group.tables) == 1 else ""
    return where + "; ".join(parts)


def _brief(column: ColumnRow) -> str:
    if column.kind != "number" or column.low is None or column.high is None:
        return column.name
    return f"{column.name} {_number(column.low)} to {_number(column.high)} ({_number(column.median or 0.0)})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
