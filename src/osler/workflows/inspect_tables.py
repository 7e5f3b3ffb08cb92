"""What is in a set of clinical tables without images, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from osler.datasets.layouts import LAYOUTS, tables
from osler.datasets.layouts.files import visible
from osler.datasets.layouts.tables import NAME, holds_tables, known_table, table_files
from osler.datasets.problem import Problem
from osler.datasets.problems import rank_problems
from osler.datasets.tables.checks import check_answers, check_columns, check_first_rows, check_rows
from osler.datasets.tables.columns import Group
from osler.datasets.tables.confounding import check_sources
from osler.datasets.tables.copies import find_copies
from osler.datasets.tables.inspection import TableInspection, describe_tables, left_aside
from osler.datasets.tables.reading import MOST_CELLS, RawTable, read_table
from osler.datasets.tables.rows import describe_group, describe_table
from osler.datasets.tables.sources import answered_tables, by_source, grouped, known_of, mend_first_row
from osler.errors import Unreadable
from osler.progress import CancelToken, Progress
from osler.report.files import put
from osler.report.table_page import table_page

__all__ = ["are_tables", "inspect_tables"]


def are_tables(path: Path) -> bool:
    """Whether a path is a table that names no images, or a folder of such that is no other kind of data set."""
    if not holds_tables(path):
        return False
    return path.is_file() or not any(one.sniff(path) for one in LAYOUTS if one is not tables)


def inspect_tables(
    path: Path,
    *,
    output: Path | None,
    names: tuple[str, str],
    progress: Progress,
    cancel: CancelToken | None,
) -> TableInspection:
    """Read every table once; together they may take ``MOST_CELLS`` cells.

    Args:
        path: for which ``are_tables``.
        output: an existing folder for the page and the JSON.
        names: of these two files.
        progress: gets the stages "inspect", in kilobytes, and "compare", in tables.
        cancel: looked at every few thousand rows, and between columns.

    Raises:
        StorageError: when a file cannot be written.
        Cancelled: when asked to stop.
    """
    read, unreadable = _read(table_files(path.resolve()), progress, cancel)
    problems = [problem for table in read for problem in check_rows(table)]
    mended = [mend_first_row(table) for table in read]
    problems += check_first_rows({table.case(0): told for table, told in mended if told})
    groups = grouped([part for table, _ in mended for part in by_source(table)])
    progress.start("compare", len(groups), "kinds of table")
    for group in groups:
        problems += _problems(group, cancel)
        progress.advance("compare", 1)
    progress.finish("compare")
    rows = [
        describe_table(group, table, answered=table in answered_tables(group))
        for group in groups
        for table in group.tables
    ]
    told = tuple(describe_group(group) for group in groups)
    found = TableInspection(
        name=path.resolve().name,
        layout=NAME,
        text=describe_tables(rows, told),
        cases=sum(row.rows for row in rows),
        problems=rank_problems([*left_aside(unreadable, _others(path)), *problems]),
        tables=tuple(rows),
        groups=told,
        unreadable=tuple(unreadable),
        files=() if output is None else tuple(output / name for name in names),
    )
    if output is not None:
        put(output / names[0], table_page(found).encode())
        put(output / names[1], found.model_dump_json(indent=1).encode())
    return found


def _read(
    files: Sequence[Path], progress: Progress, cancel: CancelToken | None
) -> tuple[list[RawTable], dict[str, str]]:
    """The tables, and of those that cannot be read the reason by file."""
    progress.start("inspect", sum(file.stat().st_size for file in files) / 1000, "kB")
    found: list[RawTable] = []
    unreadable: dict[str, str] = {}
    room = MOST_CELLS
    stems = Counter(file.stem for file in files)
    for file in files:
        known = known_table(file)
        tick = _ticking(file.name, progress, cancel)
        try:
            name = known.source if known else file.stem if stems[file.stem] == 1 else file.name
            table = read_table(file, name=name, names=known.columns if known else (), room=room, tick=tick)
        except Unreadable as error:
            unreadable[file.name] = error.problem
            continue
        room -= len(table.rows) * len(table.columns)
        found.append(table)
    progress.finish("inspect")
    return found, unreadable


def _others(path: Path) -> list[str]:
    """What lies in a folder beside its tables."""
    files = set(table_files(path))
    return [one.name for one in visible(path) if one not in files] if path.is_dir() else []


def _ticking(name: str, progress: Progress, cancel: CancelToken | None) -> Callable[[int], None]:
    before = 0

    def tick(position: int) -> None:
        nonlocal before
        if cancel is not None:
            cancel.raise_if_cancelled()
        progress.advance("inspect", (position - before) / 1000, name)
        before = position

    return tick


def _problems(group: Group, cancel: CancelToken | None) -> list[Problem]:
    """What is wrong with tables of the same columns."""
    answered = answered_tables(group)
    known = known_of(group.tables)
    negative = known.negative if known else None
    checks: tuple[Callable[[], list[Problem]], ...] = (
        lambda: check_columns(group),
        lambda: find_copies(group),
        lambda: check_answers(group, answered),
        lambda: check_sources(group, answered, negative),
    )
    found: list[Problem] = []
    for check in checks:
        if cancel is not None:
            cancel.raise_if_cancelled()
        found += check()
    return found
