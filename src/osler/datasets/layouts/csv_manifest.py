"""A CSV file (or a folder with ``manifest.csv``) with a row per case.

    image or image_<channel>    file, or folder of one DICOM series; relative to the CSV (``cells`` says what else)
    mask, or mask_<label>       file with a value per voxel, or a file per label
    label                       name of the class
    label_<name>                1, 0 or empty (not known), one column per label of several
    grade                       name or number of the grade, ordered naturally
    value or target             a number
    case                        what to call it
    patient, site               who and where
    split                       train, validation (val) or test
    anything else               a column to look at by subgroup

``manifest_table`` says what the columns mean, ``label_file`` what may lie beside the table.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from osler.datasets.layouts.manifest_table import column_key, read_table
from osler.datasets.layouts.needs import Need
from osler.datasets.layouts.table_rows import Row, Table
from osler.datasets.manifest import Manifest
from osler.datasets.plan import TaskName
from osler.errors import DatasetError

__all__ = ["NAME", "NEEDS", "read", "sniff"]

NAME: str = "csv"
NEEDS: tuple[Need, ...] = (
    Need("a table as .csv or .tsv", lambda seen: seen.has(".csv", ".tsv")),
    Need("the name manifest.csv and the columns image and label (or mask, grade, value)", lambda seen: False),
    Need("images beside it", lambda seen: seen.images > 0),
)
_FILE = "manifest.csv"
_OTHER = "manifest.parquet"
_DELIMITERS = (",", ";", "\t")
_LARGEST, _MOST_CELLS = 32 << 20, 1_500_000  # bytes, of which text in memory can take eight times; 400,000 cases


def sniff(path: Path) -> str | None:
    """A ``.csv`` file or a folder with ``manifest.csv``."""
    if path.is_dir():
        return f"the folder holds {_FILE}" if (path / _FILE).is_file() else None
    return "a table with a row per case" if path.suffix.lower() in (".csv", ".tsv") else None


def read(path: Path, task: TaskName | None) -> Manifest:
    """All rows.

    Raises:
        DatasetError: naming the row, when a file is missing or a cell cannot be used.
        NoLabels: when no column answers anything.
        UsageError: when no column answers ``task``, or several could answer and none was asked for.
    """
    file = path / _FILE if path.is_dir() else path
    if path.is_dir() and (path / _OTHER).is_file():
        raise DatasetError(f"{path} holds both {_FILE} and {_OTHER}", remedy="name the one that you mean")
    return read_table(_load(file), task, NAME)


def _load(file: Path) -> Table:
    if file.stat().st_size > _LARGEST:
        raise DatasetError(f"{file.name} has more than {_LARGEST >> 20} MiB", remedy="give a table with a row per case")
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file.name} is not UTF-8 text", remedy='save it as "CSV UTF-8"') from error
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    count = text.count(delimiter) + text.count("\n")
    if count > _MOST_CELLS:
        raise DatasetError(f"{file.name} has {count:,} cells", remedy="give a table with a row per case")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(c.strip() for c in cells)]
    except csv.Error as error:
        raise DatasetError(f"{file.name}, row {reader.line_num}: {error}", remedy="check its quotes") from error
    if len(lines) < 2:
        raise DatasetError(f"{file.name} has no rows", remedy="it needs a header and a row per case")
    columns = tuple(c.strip() for c in lines[0][1])
    if len({c.lower() for c in columns}) < len(columns):
        raise DatasetError(f"{file.name} has two columns of one name", remedy="rename one of them")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(columns):
            problem = f"{file.name}, row {number}: {len(cells)} cells, and the header has {len(columns)}"
            raise DatasetError(problem, remedy=f"check for a {delimiter!r} too many or too few, or quote that cell")
        rows.append(Row(number, {column_key(c): cell.strip() for c, cell in zip(columns, cells, strict=True)}))
    return Table(file, tuple(column_key(c) for c in columns), tuple(rows))
