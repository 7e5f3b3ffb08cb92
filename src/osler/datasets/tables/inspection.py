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

__all__ = ["TableInspection", "describe_tables", "marks_words", "numbers_words", "unreadable_tables"]

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
        lines += ["", *(_table_line(row) for row in self.tables[:_ROOM])]
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
    rows = sum(table.rows for table in tables)
    cells = sum(table.rows * len(table.columns) for table in tables)
    missing = sum(table.missing * table.rows * len(table.columns) for table in tables) / max(1, cells)
    widths = sorted({len(group.columns) for group in groups})
    wide = f"{widths[0]}" if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    number = f"{len(tables)} table{'s' * (len(tables) != 1)}" if tables else "no table that can be read"
    return (
        f"{number} without images, {rows:,} rows of {wide} columns, {_share(missing)} of the cells missing"
        * bool(tables)
        or number
    )


def unreadable_tables(reasons: Mapping[str, str]) -> list[Problem]:
    """Tables that are not looked at.

    Args:
        reasons: by file.
    """
    if not reasons:
        return []
    what = f"{len(reasons)} table{'s' * (len(reasons) != 1)} cannot be read"
    names, remedy = tuple(reasons), "export or copy them again"
    return [Problem(code="unreadable", severity="error", what=what, cases=names, details=dict(reasons), remedy=remedy)]


def marks_words(column: ColumnRow) -> str:
    """How missing is written in a column: "?, -9"."""
    return ", ".join(column.marks)


def numbers_words(column: ColumnRow) -> str:
    """Range and median: "28 to 77, median 54"; "" where there are none."""
    if column.low is None or column.high is None or column.median is None:
        return ""
    return f"{column.low:.5g} to {column.high:.5g}, median {column.median:.5g}"


def _table_line(row: TableRow) -> str:
    answers = ", ".join(f"{value}: {count}" for value, count in row.answers.items())
    marks = ", ".join(dict.fromkeys(mark for column in row.columns for mark in column.marks))
    missing = f"{_share(row.missing)} missing" + (f" ({marks})" if marks else "")
    return f"  {row.name:<14}{row.rows:>7,} rows  {missing}  {answers}".rstrip()[:120]


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
    return f"{column.name} {column.low:.4g} to {column.high:.4g} ({column.median:.4g})"
