"""A Parquet file (or a folder with ``manifest.parquet``) with a row per case and the columns of a CSV manifest.

Cells keep their meaning, not their type: whole numbers, also where a missing one made the column a float, are written
without a point ("2", not "2.0"), true and false are 1 and 0, missing is empty. A column ``labels`` with a list of names
per row stands for several labels: those in the list are present, all others that occur anywhere are absent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

from osler.datasets.layouts.files import natural
from osler.datasets.layouts.manifest_table import column_key, read_table
from osler.datasets.layouts.needs import Need
from osler.datasets.layouts.table_rows import Row, Table
from osler.datasets.manifest import Manifest
from osler.datasets.plan import TaskName
from osler.errors import DatasetError
from osler.extras import require

__all__ = ["NAME", "NEEDS", "read", "sniff"]

NAME: str = "parquet"
NEEDS: tuple[Need, ...] = (
    Need("a table as .parquet", lambda seen: seen.has(".parquet")),
    Need("the name manifest.parquet and the columns image and label (or mask, grade, value)", lambda seen: False),
    Need("images beside it", lambda seen: seen.images > 0),
)
_FILE = "manifest.parquet"
_LISTS = "labels"
_MOST_CELLS = 5_000_000


def sniff(path: Path) -> str | None:
    """A ``.parquet`` file or a folder with ``manifest.parquet``."""
    if path.is_dir():
        return f"the folder holds {_FILE}" if (path / _FILE).is_file() else None
    return "a table with a row per case" if path.suffix.lower() == ".parquet" else None


def read(path: Path, task: TaskName | None) -> Manifest:
    """All rows.

    Raises:
        MissingExtra: when pyarrow is not installed.
        DatasetError: when the file is damaged or a column holds what no cell can; and as a CSV manifest.
        NoLabels, UsageError: as a CSV manifest.
    """
    file = path / _FILE if path.is_dir() else path
    return read_table(_load(file), task, NAME)


def _load(file: Path) -> Table:
    parquet = require("pyarrow.parquet", extra="parquet", purpose="a Parquet manifest")
    arrow = require("pyarrow", extra="parquet", purpose="a Parquet manifest")
    try:
        table = parquet.ParquetFile(file)
        cells = table.metadata.num_rows * table.metadata.num_columns
        if cells > _MOST_CELLS:  # a column of one value takes next to no place, however long it is
            raise DatasetError(f"{file.name} has {cells:,} cells", remedy="give a table with a row per case")
        content = table.read()
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DatasetError(f"{file.name} cannot be read as Parquet: {reason}", remedy="write it again") from error
    columns: dict[str, list[str]] = {}
    for name, column in zip(content.column_names, content.columns, strict=True):
        for key, cells in _columns(file, name, column.to_pylist()).items():
            if key.lower() in {known.lower() for known in columns}:
                raise DatasetError(f"{file.name} has two columns of one name, {key}", remedy="rename one of them")
            columns[key] = cells
    if not content.num_rows:
        raise DatasetError(f"{file.name} has no rows", remedy="it needs a row per case")
    rows = (Row(n + 1, {key: cells[n] for key, cells in columns.items()}) for n in range(content.num_rows))
    return Table(file, tuple(columns), tuple(rows))


def _columns(file: Path, name: str, values: Sequence[Any]) -> dict[str, list[str]]:
    """The column as cells, or several where it holds lists of labels."""
    if name.lower() == _LISTS and any(isinstance(value, list) for value in values):
        named = [None if value is None else {str(one) for one in value} for value in values]
        every = sorted({one for found in named if found for one in found}, key=natural)
        return {
            f"label_{label}": ["" if found is None else str(int(label in found)) for found in named] for label in every
        }
    whole = all(
        value.is_integer() and abs(value) < 2**53 for value in values if isinstance(value, float) and value == value
    )
    try:
        return {column_key(name): [_cell(value, whole=whole) for value in values]}
    except TypeError as error:
        raise DatasetError(
            f"the column {name} of {file.name} holds {error}", remedy="write text, numbers, dates or true and false"
        ) from error


def _cell(value: Any, *, whole: bool) -> str:
    if value is None or value != value:  # NaN stands for missing in tables that pandas wrote
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return str(int(value)) if whole else repr(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, str | int | Decimal):
        return str(value).strip()
    raise TypeError(f"a {type(value).__name__}")
