"""A CSV file (or a folder with ``manifest.csv``) with a row per case.

    image or image_<channel>    file, or folder of one DICOM series; relative to the CSV
    mask                        file with a value per voxel
    label                       name of the class
    label_<name>                1, 0 or empty (not known), one column per label of several
    grade                       name or number of the grade, ordered naturally
    value or target             a number
    patient, site               who and where
    split                       train, validation (val) or test
    anything else               a column to look at by subgroup

Which column is the answer follows from its name and, where there are several, from ``task``; a mask comes first.
``labels.json`` beside the CSV may name the values of masks: ``{"1": "lungs", "2": "heart"}``.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from osler.datasets.labels import Kind, Label, LabelSet
from osler.datasets.layouts.answers import check_task, mask_labels, named_labels
from osler.datasets.layouts.decathlon import read_json
from osler.datasets.layouts.files import SPLIT_FOLDERS, image_suffix, reference, short_names
from osler.datasets.layouts.masks import all_values, refuse_lossy
from osler.datasets.manifest import Manifest, Record, Target
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, NoLabels

__all__ = ["NAME", "read", "sniff"]

NAME: str = "csv"
_FILE = "manifest.csv"
_DELIMITERS = (",", ";", "\t")
_KNOWN = {"mask", "label", "grade", "value", "target", "patient", "site", "split"}
# Which tasks a column can answer, the first by default, in the order in which columns are preferred.
_ANSWERS: tuple[tuple[str, tuple[TaskName, ...]], ...] = (
    ("mask", ("segment",)),
    ("label", ("classify", "ordinal")),
    ("grade", ("ordinal", "classify")),
    ("value", ("regress",)),
    ("target", ("regress",)),
    ("label_", ("multilabel",)),
)


@dataclass(frozen=True)
class _Row:
    """One line: its number as a text editor shows it, and its cells by column in lower case."""

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: tuple[str, ...]
    rows: tuple[_Row, ...]

    def error(self, row: _Row, problem: str, remedy: str) -> DatasetError:
        return DatasetError(f"{self.path.name}, row {row.number}: {problem}", remedy=remedy)


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
    table = _load(file)
    channels = _channels(table)
    column, task = _answer(table, task)
    patients = _complete(table, "patient")
    splits = _complete(table, "split")
    labels = _labels(table, column, task)
    images = [{c: _find(table, row, name) for c, name in channels.items()} for row in table.rows]
    names = _case_names(table, [next(iter(found.values())) for found in images])
    records = tuple(
        Record(
            name=name,
            images={channel: reference(p, file.parent) for channel, p in found.items()},
            mask=reference(_find(table, row, "mask"), file.parent) if column == "mask" else None,
            target=_target(table, row, column, labels),
            patient=row.cells["patient"] if patients else None,
            site=row.cells.get("site") or None,
            split=SPLIT_FOLDERS[row.cells["split"].lower()] if splits else None,
            columns=_others(row, channels, column),
        )
        for name, row, found in zip(names, table.rows, images, strict=True)
    )
    name = file.parent.name if file.name == _FILE else file.stem
    return Manifest(
        name=name,
        root=file.parent,
        layout=NAME,
        labels=labels,
        records=records,
        channels=tuple(channels),
        patients="given" if patients else "unknown",
    )


def _load(file: Path) -> _Table:
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{file.name} is not UTF-8 text", remedy='save it as "CSV UTF-8"') from error
    first = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
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
        rows.append(_Row(number, {_key(c): cell.strip() for c, cell in zip(columns, cells, strict=True)}))
    return _Table(file, tuple(_key(c) for c in columns), tuple(rows))


def _key(column: str) -> str:
    """Known columns in lower case; what follows ``label_`` and ``image_``, and all other names, as written."""
    lower = column.lower()
    for prefix in ("label_", "image_"):
        if lower.startswith(prefix):
            return prefix + column[len(prefix) :]
    return lower if lower in _KNOWN or lower == "image" else column


def _channels(table: _Table) -> dict[str, str]:
    """Column by channel name."""
    if "image" in table.columns:
        return {"image": "image"}
    found = {c.removeprefix("image_"): c for c in table.columns if c.startswith("image_")}
    if not found:
        raise DatasetError(
            f"{table.path.name} has no column 'image' (it has {', '.join(table.columns[:8])})",
            remedy="name the column with the paths of the images 'image', or 'image_<channel>' for several",
        )
    return found


def _answer(table: _Table, task: TaskName | None) -> tuple[str, TaskName]:
    """The column that answers, and the task."""
    present = [
        (column, tasks)
        for column, tasks in _ANSWERS
        if column in table.columns or (column == "label_" and _label_columns(table))
    ]
    if not present:
        raise NoLabels(
            f"{table.path.name} has no column with answers",
            remedy="add one of: mask, label, label_<name>, grade, value",
        )
    if task is None and len(present) > 1 and present[0][0] != "mask":
        names = " and ".join(f"{column!r}" for column, _ in present)
        task_names = " or ".join(sorted({tasks[0] for _, tasks in present}))
        raise DatasetError(f"{table.path.name} has several answers, {names}", remedy=f"choose with --task {task_names}")
    possible = tuple(dict.fromkeys(t for _, tasks in present for t in tasks))
    task = check_task(task, possible, f"the columns of {table.path.name}")
    return next(
        column for column, tasks in sorted(present, key=lambda p: p[1].index(task) if task in p[1] else 9)
    ), task


def _label_columns(table: _Table) -> list[str]:
    return [c for c in table.columns if c.startswith("label_")]


def _labels(table: _Table, column: str, task: TaskName) -> LabelSet:
    if column == "mask":
        return _mask_labels(table)
    if column == "label_":
        names = [c.removeprefix("label_") for c in _label_columns(table)]
        return LabelSet(kind="several", labels=tuple(Label(name=n, value=i) for i, n in enumerate(names)))
    if task == "regress":
        return LabelSet(kind="number", name=column)
    for row in table.rows:
        if not row.cells[column]:
            raise table.error(row, f"no {column}", "fill it in, or remove the row")
    kind: Kind = "grades" if task == "ordinal" else "classes"
    return named_labels((row.cells[column] for row in table.rows), kind, column)


def _mask_labels(table: _Table) -> LabelSet:
    masks = [_find(table, row, "mask") for row in table.rows]
    refuse_lossy(masks)
    named = read_json(table.path.parent / "labels.json")
    if not all(str(value).isdigit() for value in named):
        raise DatasetError("labels.json must name values", remedy='write, for example, {"1": "lungs", "2": "heart"}')
    names = {int(value): str(name) for value, name in named.items()}
    found = all_values(masks) - {0}
    unnamed = sorted(found - names.keys())
    if names and unnamed:
        raise DatasetError(f"the masks hold {unnamed[0]}, which labels.json does not name", remedy="name it there")
    return mask_labels(found, names)


def _complete(table: _Table, column: str) -> bool:
    """Whether the column is there; then every cell must be filled, and a split be one of the known."""
    if column not in table.columns:
        return False
    for row in table.rows:
        cell = row.cells[column]
        if not cell:
            raise table.error(row, f"no {column}", "fill it in, or remove the whole column")
        if column == "split" and cell.lower() not in SPLIT_FOLDERS:
            raise table.error(row, f"the split {cell!r} is not known", "use train, validation or test")
    return True


def _find(table: _Table, row: _Row, column: str) -> Path:
    cell = row.cells[column]
    if not cell:
        raise table.error(row, f"no {column}", "fill it in, or remove the row")
    for written in (cell, cell.replace("\\", "/")):
        path = table.path.parent / written
        if path.exists():
            return path
    raise table.error(row, f"{cell} does not exist", f"paths are relative to {table.path.name}; check the spelling")


def _target(table: _Table, row: _Row, column: str, labels: LabelSet) -> Target | None:
    if column == "mask":
        return None
    if column == "label_":
        return _several(table, row)
    cell = row.cells[column]
    if labels.kind != "number":
        return labels.names.index(cell)
    try:
        number = float(cell)
    except ValueError:
        number = float("nan")
    if number - number != 0:  # neither NaN nor infinite
        raise table.error(row, f"the {column} {cell!r} is not a number", "use a point for decimals and no unit")
    return number


def _several(table: _Table, row: _Row) -> tuple[int | None, ...]:
    found: list[int | None] = []
    for column in _label_columns(table):
        cell = row.cells[column]
        if cell not in ("", "0", "1", "0.0", "1.0"):
            raise table.error(row, f"{column} is {cell!r}", "use 1 (present), 0 (absent) or nothing (not known)")
        found.append(None if cell == "" else int(float(cell)))
    if all(value is None for value in found):
        raise table.error(row, "no label is filled in", "fill one in, or remove the row")
    return tuple(found)


def _case_names(table: _Table, paths: list[Path]) -> list[str]:
    """File or folder names where these are unique, otherwise the paths as written."""
    seen: dict[Path, _Row] = {}
    for row, path in zip(table.rows, paths, strict=True):
        other = seen.setdefault(path, row)
        if other is not row:
            raise table.error(row, f"{path.name} is in row {other.number} already", "keep one row per image")
    stems = [path.name[: -len(image_suffix(path.name)) or None] if path.is_file() else path.name for path in paths]
    if len({stem.lower() for stem in stems}) == len(stems):
        return short_names(stems)
    parents = [reference(path, table.path.parent).path for path in paths]
    return short_names([p[: -len(image_suffix(p)) or None] for p in parents])


def _others(row: _Row, channels: dict[str, str], column: str) -> dict[str, str]:
    """Every further column; the site too, and answers that were not asked for."""
    used = {*channels.values(), column, "mask", "patient", "split"}
    return {
        name: cell
        for name, cell in row.cells.items()
        if name not in used and not (column == "label_" and name.startswith("label_"))
    }
