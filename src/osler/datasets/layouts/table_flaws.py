"""What rows of a table lack, so that inspection can list all of it and training refuse it: answers, files, numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from osler.datasets.labels import LabelSet
from osler.datasets.layouts.cells import missing_of, reference_in
from osler.datasets.layouts.table_rows import Row, Table
from osler.datasets.manifest import Flaw
from osler.errors import DatasetError

__all__ = ["first_lack", "flaws_of", "number_in"]


def flaws_of(
    table: Table, names: Sequence[str], images: Sequence[str], column: str, labels: LabelSet
) -> tuple[Flaw, ...]:
    """Of every kind of thing that rows lack one flaw, with the cases.

    Args:
        table: with the rows.
        names: of the cases, in the order of the rows.
        images: the columns with images.
        column: the one that answers, or its prefix.
        labels: what the answers are of.
    """
    found: dict[tuple[str, str], list[tuple[Row, str, str]]] = {}
    for row, name in zip(table.rows, names, strict=True):
        lacking = next(_lacking(table, row, images, column, number=labels.kind == "number"), None)
        if lacking is not None:
            first, what, remedy = lacking
            found.setdefault((what, remedy), []).append((row, name, first))
    return tuple(
        Flaw(
            first=f"{table.path.name}, row {rows[0][0].number}: {rows[0][2]}",
            what=what,
            remedy=remedy,
            cases=tuple(name for _, name, _ in rows),
            count=len(rows),
        )
        for (what, remedy), rows in sorted(found.items(), key=lambda one: one[0])
    )


def first_lack(table: Table, images: Sequence[str], column: str) -> DatasetError | None:
    """The first row that lacks an answer or a file, as an error: when what is left is too little to be inspected."""
    for row in table.rows:
        for first, _, remedy in _lacking(table, row, images, column, number=False):
            return table.error(row, first, remedy)
    return None


def number_in(cell: str) -> float | None:
    """A finite number; None for any other text."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if number - number == 0 else None  # neither NaN nor infinite


def _lacking(
    table: Table, row: Row, images: Sequence[str], column: str, *, number: bool
) -> Iterator[tuple[str, str, str]]:
    """What this row lacks, what that is called of many, and what to do."""
    folder = table.path.parent
    missing = [row.cells[c] for c in images if reference_in(row.cells[c], folder) is None]
    if column == "mask" and row.cells["mask"] and reference_in(row.cells["mask"], folder) is None:
        missing.append(row.cells["mask"])
    if column == "mask_":
        missing += [gone for c in table.columns_of(column) if (gone := missing_of(row.cells[c], folder))]
    for cell in missing:
        yield (
            f"{cell} does not exist",
            "a file that does not exist",
            f"paths are relative to {table.path.name}; check the spelling",
        )
    cells = [row.cells[c] for c in (table.columns_of(column) if column.endswith("_") else [column])]
    if not any(cells):
        yield _unanswered(column)
    if number and any(number_in(cell) is None for cell in cells):
        yield (
            f"the {column} {cells[0]!r} is not a number",
            f"a {column} that is not a number",
            "use a point for decimals and no unit",
        )


def _unanswered(column: str) -> tuple[str, str, str]:
    if column == "mask_":
        return "no mask", "no mask", "name at least one (an empty one if there is nothing to see)"
    if column == "label_":
        return "no label is filled in", "no label is filled in", "fill one in, or remove the row"
    return f"no {column}", f"no {column}", "fill it in, or remove the row"
