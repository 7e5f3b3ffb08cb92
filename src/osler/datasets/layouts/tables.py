"""Tables of clinical values without images: recognised, so that the answer says what they are.

Osler has no tasks for tables yet; it inspects them (``osler.datasets.tables``). A table that has images beside it and
says so is a manifest (``csv_manifest``).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from osler.datasets.layouts.files import image_suffix, visible
from osler.datasets.layouts.needs import Need, look
from osler.datasets.plan import TaskName
from osler.errors import DatasetError

__all__ = [
    "MISSING",
    "NAME",
    "NEEDS",
    "ClinicalTable",
    "Known",
    "holds_tables",
    "known_table",
    "list_tables",
    "read",
    "sniff",
    "table_files",
]

NAME: str = "tables"
NEEDS: tuple[Need, ...] = ()  # nobody who asks for images is helped by it
_SUFFIXES = (".data", ".csv", ".tsv")
_DELIMITERS = (",", ";", "\t")
_FEWEST_COLUMNS = 3
_LARGEST, _MOST_CELLS = 100 << 20, 5_000_000  # bytes; clinical tables are smaller
MISSING = frozenset({"", "?", "NA", "N/A", "n/a", "nan", "NaN", "null"})
"""Words that stand for a missing value in every table."""
_MISSING = {*MISSING, "-9", "-9.0"}
_HEAD = 1 << 16
_NOT_CLINICAL = ("image", "mask", "signal")  # columns of a manifest
# UCI "Heart Disease" (https://archive.ics.uci.edu/dataset/45): files without a header, the diagnosis last.
_HEART = "processed."
_HEART_COLUMNS = 14
_HEART_SITES = ("cleveland", "hungarian", "switzerland", "va")
_HEART_NAMES = (
    "age",
    "sex",
    "chest pain",
    "resting blood pressure",
    "cholesterol",
    "fasting sugar",
    "ECG",
    "maximal rate",
    "angina",
    "oldpeak",
    "slope",
    "vessels",
    "thal",
    "diagnosis",
)


@dataclass(frozen=True)
class Known:
    """What is known of a table by its file's name: the columns, the source, and the column that is to be predicted.

    ``answer`` is "" where it is coded otherwise than in the other tables; an answer above ``negative`` is positive.
    """

    source: str
    columns: tuple[str, ...]
    answer: str
    negative: float


@dataclass(frozen=True)
class ClinicalTable:
    """A table: ``header`` is empty when its first line is values; ``missing`` is the share of cells without one."""

    path: Path
    rows: tuple[tuple[str, ...], ...]
    header: tuple[str, ...]
    missing: float

    @property
    def columns(self) -> int:
        """How many columns it has."""
        return len(self.rows[0])


def sniff(path: Path) -> str | None:
    """A folder without images in which every table has rows of one length."""
    if not path.is_dir() or not any(p.suffix.lower() in _SUFFIXES for p in visible(path)):
        return None
    if look(path).images:
        return None
    tables = list_tables(path)
    return f"{len(tables)} tables such as {tables[0].path.name}" if tables else None


def read(path: Path, task: TaskName | None) -> NoReturn:
    """Says what is there.

    Raises:
        DatasetError: always: there are no images.
    """
    tables = list_tables(path)
    raise DatasetError(
        f"{path.name} holds {_heart_disease(tables) or _described(tables)}, and no images",
        remedy="Osler has no tasks for tables yet; beside images, a manifest.csv with these columns gives subgroups",
    )


def table_files(path: Path) -> list[Path]:
    """The files that may be tables: a file itself, or those directly in a folder, by their suffixes."""
    found = [path] if path.is_file() else visible(path) if path.is_dir() else []
    return [one for one in found if one.is_file() and one.suffix.lower() in _SUFFIXES]


def holds_tables(path: Path) -> bool:
    """Whether a file is a table that names no images, or a folder holds one and no images; only beginnings are read."""
    files = table_files(path)
    return any(_begins_as_table(one) for one in files) and (path.is_file() or not look(path).images)


def known_table(path: Path) -> Known | None:
    """What is known of a table from elsewhere."""
    sources = {f"{_HEART}{name}.data": name for name in (*_HEART_SITES, "statlog")}
    name = sources.get(path.name)
    if name is None:
        return None
    return Known(name, _HEART_NAMES, _HEART_NAMES[-1] if name in _HEART_SITES else "", 0.0)


def _begins_as_table(path: Path) -> bool:
    """Whether most of the first lines have one number of cells, three or more."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_HEAD)
        lines = data.decode("utf-8-sig", "ignore" if len(data) == _HEAD else "strict").splitlines()
        rows = _split(lines[:-1] if len(data) == _HEAD else lines)
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    if not rows or b"\0" in data or any(cell.strip().lower().startswith(_NOT_CLINICAL) for cell in rows[0]):
        return False
    if any(image_suffix(cell.strip()) or cell.strip().lower().endswith(".dcm") for row in rows[:2] for cell in row):
        return False
    width, count = Counter(map(len, rows)).most_common(1)[0]
    return width >= _FEWEST_COLUMNS and len(rows) > 1 and 2 * count > len(rows)


def _split(lines: Sequence[str]) -> list[list[str]]:
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    return [row for row in csv.reader(lines, delimiter=delimiter) if row]


def list_tables(path: Path) -> list[ClinicalTable]:
    """The tables that lie directly in a folder."""
    found = (_table(p) for p in visible(path) if p.is_file() and p.suffix.lower() in _SUFFIXES)
    return [table for table in found if table is not None]


def _table(path: Path) -> ClinicalTable | None:
    try:
        if path.stat().st_size > _LARGEST:
            return None
        text = path.read_text("utf-8-sig")
        if max(map(text.count, _DELIMITERS)) > _MOST_CELLS:
            return None
        rows = [tuple(cell.strip() for cell in row) for row in _split(text.splitlines())]
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    if len(rows) < 2 or len(rows[0]) < _FEWEST_COLUMNS or len({len(row) for row in rows}) > 1:
        return None
    header = () if any(_is_value(cell) for cell in rows[0]) else rows[0]
    rows = rows[1:] if header else rows
    cells = [cell for row in rows for cell in row]
    return ClinicalTable(path, tuple(rows), header, sum(cell in _MISSING for cell in cells) / max(1, len(cells)))


def _is_value(cell: str) -> bool:
    return cell in _MISSING or cell.lstrip("-").replace(".", "").isdigit()


def _described(tables: Sequence[ClinicalTable]) -> str:
    listed = [
        f"{t.path.name} ({len(t.rows)} rows, {t.columns} columns{'' if t.header else ' without names'}, "
        f"{100 * t.missing:.0f} % missing)"
        for t in tables[:6]
    ]
    return f"{len(tables)} tables: " + ", ".join(listed) + (" ..." if len(tables) > 6 else "")


def _heart_disease(tables: Sequence[ClinicalTable]) -> str:
    """UCI's heart disease set, known by its file names and columns; "" for anything else."""
    sites = {t.path.name.split(".")[1]: t for t in tables if t.path.name.startswith(_HEART)}
    hospitals = [sites[name] for name in _HEART_SITES if name in sites]
    if not hospitals or any(t.columns != _HEART_COLUMNS or t.header for t in sites.values()):
        return ""
    patients = [row for table in hospitals for row in table.rows]
    ill = sum(float(row[-1]) >= 1 for row in patients)  # hungarian has a 0 that a table program made 0.4
    listed = ", ".join(f"{t.path.name.split('.')[1]} {len(t.rows)}" for t in hospitals)
    missing = sum(t.missing * len(t.rows) for t in hospitals) / len(patients)
    text = (
        f"the UCI heart disease tables: clinical values (age, sex, chest pain, blood pressure, cholesterol ... in "
        f"{_HEART_COLUMNS} columns without names, {100 * missing:.0f} % missing as ?, -9 or nothing) of "
        f"{len(patients)} patients at {len(hospitals)} hospitals ({listed}), {ill} with a diagnosis above 0"
    )
    extra = sites.get("statlog")
    return text + (f"; statlog ({len(extra.rows)}) repeats patients of cleveland" if extra else "")
