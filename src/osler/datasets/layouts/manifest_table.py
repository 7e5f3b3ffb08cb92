"""A table with a row per case, whatever file it came from, as a manifest.

Which column is the answer follows from its name; where there are several, from the label file beside the table, then
from ``task``; a mask comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from osler.datasets import coco
from osler.datasets.labels import Kind, Label, LabelSet
from osler.datasets.layouts.answers import KIND_OF_TASK, check_task, mask_labels, named_labels
from osler.datasets.layouts.cells import layers_in, missing_of, paths_in, reference_in
from osler.datasets.layouts.files import SPLIT_FOLDERS, image_suffix, short_names
from osler.datasets.layouts.label_file import LabelFile, label_file_of, read_label_file, read_value_names
from osler.datasets.layouts.masks import all_values, refuse_lossy
from osler.datasets.layouts.table_flaws import first_lack, flaws_of, number_in
from osler.datasets.layouts.table_rows import Row, Table
from osler.datasets.manifest import ImageRef, Manifest, Record, Target
from osler.datasets.mask_sources import OVERLAP_NOTE
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, NoLabels, TooFew

__all__ = ["column_key", "read_table"]

_KNOWN = {"case", "mask", "label", "grade", "value", "target", "patient", "site", "split", "image", "signal"}
_BEGINNING = 1_000  # rows
_PREFIXES = ("label_", "image_", "mask_")
# Which tasks a column can answer, the first by default, in the order in which columns are preferred.
_ANSWERS: tuple[tuple[str, tuple[TaskName, ...]], ...] = (
    ("mask", ("segment",)),
    ("mask_", ("segment",)),
    ("label", ("classify", "ordinal")),
    ("grade", ("ordinal", "classify")),
    ("value", ("regress",)),
    ("target", ("regress",)),
    ("label_", ("multilabel",)),
)


def column_key(column: str) -> str:
    """Known columns in lower case; what follows ``label_``, ``image_``, ``mask_``, and all other names, as written."""
    column = column.strip()
    lower = column.lower()
    for prefix in _PREFIXES:
        if lower.startswith(prefix):
            return prefix + column[len(prefix) :]
    return lower if lower in _KNOWN else column


def read_table(table: Table, task: TaskName | None, layout: str) -> Manifest:
    """All rows.

    Raises:
        DatasetError: naming the row, when a cell cannot be used. Empty answers and missing files are flaws.
        NoLabels: when no column answers anything.
        UsageError: when no column answers ``task``, or several could answer and none was asked for.
    """
    folder = table.path.parent
    channels = _channels(table)
    written = read_label_file(table.path)
    column, task = _answer(table, task, written)
    some = written is not None and written.patients == "some" and "patient" in table.columns
    patients = some or _complete(table, "patient")
    splits = _complete(table, "split")
    _check_beginning(table, list(channels.values()), column)
    images = [{c: _image(table, row, name) for c, name in channels.items()} for row in table.rows]
    try:
        labels = _labels(table, column, task, written)
    except (TooFew, NoLabels) as error:
        if isinstance(error, NoLabels) and column != "mask":
            raise
        raise first_lack(table, list(channels.values()), column) or error from None
    names = _case_names(table, [next(iter(found.values())) for found in images])
    records = tuple(
        Record(
            name=name,
            images=found,
            mask=_mask(table, row, column, labels) if column in ("mask", "mask_") else None,
            target=_target(table, row, column, labels),
            patient=(row.cells["patient"] or None) if patients else None,
            site=row.cells.get("site") or None,
            split=SPLIT_FOLDERS[row.cells["split"].lower()] if splits else None,
            columns=_others(row, channels, column),
        )
        for name, row, found in zip(names, table.rows, images, strict=True)
    )
    name = folder.name if table.path.stem == "manifest" else table.path.stem
    return Manifest(
        name=(written.name if written else "") or name,
        root=folder,
        layout=layout,
        labels=labels,
        records=records,
        modality=written.modality if written else "",
        channels=tuple(channels),
        patients="given" if patients else "unknown",
        patients_declined=not patients and written is not None and written.patients == "unknown",
        notes=(OVERLAP_NOTE,) if column == "mask_" and len(labels.labels) > 1 else (),
        flaws=flaws_of(table, names, list(channels.values()), column, labels),
    )


def _check_beginning(table: Table, channels: list[str], column: str) -> None:
    """A long table of which nothing exists at first is of other files: its other rows would be listed for nothing."""
    rows = table.rows[:_BEGINNING]
    if len(rows) == _BEGINNING and not any(_found(table, row, channels[0]) for row in rows):
        lack = first_lack(table, channels, column)
        if lack is not None:
            raise lack


def _channels(table: Table) -> dict[str, str]:
    """Column by channel name."""
    if "image" in table.columns:
        return {"image": "image"}
    found = {c.removeprefix("image_"): c for c in table.columns_of("image_")}
    if not found and "signal" in table.columns:
        raise DatasetError(
            f"{table.path.name} lists {len(table.rows)} signals and no images",
            remedy="Osler has no tasks for signals yet; add a column 'image' to learn from images",
        )
    if not found:
        raise DatasetError(
            f"{table.path.name} has no column 'image' (it has {', '.join(table.columns[:8])})",
            remedy="name the column with the paths of the images 'image', or 'image_<channel>' for several",
        )
    return found


def _answer(table: Table, task: TaskName | None, written: LabelFile | None) -> tuple[str, TaskName]:
    """The column that answers, and the task."""
    present = [
        (column, tasks)
        for column, tasks in _ANSWERS
        if (table.columns_of(column) if column.endswith("_") else column in table.columns)
    ]
    if not present:
        raise NoLabels(
            f"{table.path.name} has no column with answers",
            remedy="add one of: mask, mask_<label>, label, label_<name>, grade, value",
        )
    if {"mask", "mask_"} <= {column for column, _ in present}:
        raise DatasetError(
            f"{table.path.name} has both 'mask' and 'mask_<label>' columns", remedy="keep one kind of the two"
        )
    if task is None and written is not None and not _undecided(written.labels):
        task = next(name for name, kind in KIND_OF_TASK.items() if kind == written.labels.kind)
    if task is None and len(present) > 1 and present[0][0] not in ("mask", "mask_"):
        names = " and ".join(f"{column!r}" for column, _ in present)
        task_names = " or ".join(sorted({tasks[0] for _, tasks in present}))
        raise DatasetError(f"{table.path.name} has several answers, {names}", remedy=f"choose with --task {task_names}")
    possible = tuple(dict.fromkeys(t for _, tasks in present for t in tasks))
    task = check_task(task, possible, f"the columns of {table.path.name}")
    return next(
        column for column, tasks in sorted(present, key=lambda p: p[1].index(task) if task in p[1] else 9)
    ), task


def _labels(table: Table, column: str, task: TaskName, written: LabelFile | None) -> LabelSet:
    """Those of the label file where it answers the task, else what the cells say."""
    if column in ("mask", "mask_"):
        refuse_lossy([table.path.parent / path for row in table.rows for path in _mask_paths(row)])
    if written is not None and written.labels.kind == KIND_OF_TASK[task] and not _undecided(written.labels):
        _check_written(table, column, written.labels)
        return written.labels
    if column == "mask":
        return _mask_labels(table)
    if column in ("mask_", "label_"):
        names = [c.removeprefix(column) for c in table.columns_of(column)]
        kind: Kind = "mask" if column == "mask_" else "several"
        first = 1 if column == "mask_" else 0
        return LabelSet(kind=kind, labels=tuple(Label(name=n, value=i) for i, n in enumerate(names, first)))
    if task == "regress":
        return LabelSet(kind="number", name=column)
    cells = [row.cells[column] for row in table.rows if row.cells[column]]
    if not cells:
        raise NoLabels(f"the column {column} of {table.path.name} is empty", remedy="fill it in")
    return named_labels(cells, "grades" if task == "ordinal" else "classes", column)


def _undecided(labels: LabelSet) -> bool:
    """Whether the table was written before anything said what its studies show."""
    return labels.kind != "number" and not labels.labels


def _check_written(table: Table, column: str, labels: LabelSet) -> None:
    """Every column per label must be one that the label file names, and the other way round."""
    if not column.endswith("_"):
        return
    columns = {c.removeprefix(column) for c in table.columns_of(column)}
    wrong = sorted(columns ^ set(labels.names))
    if wrong:
        place = "the table" if wrong[0] in labels.names else label_file_of(table.path).name
        raise DatasetError(
            f"{place} lacks {column}{wrong[0]}, which the other one has",
            remedy=f"add it, or remove {label_file_of(table.path).name} so that the labels are taken from the table",
        )


def _mask_labels(table: Table) -> LabelSet:
    refs = [ref for row in table.rows if (ref := _found(table, row, "mask"))]
    folder = table.path.parent
    names = read_value_names(table.path) or _categories({folder / ref.path for ref in refs})
    found = all_values(folder, refs) - {0}
    unnamed = sorted(found - names.keys())
    if names and unnamed:
        raise DatasetError(f"the masks hold {unnamed[0]}, which labels.json does not name", remedy="name it there")
    return mask_labels(found, names)


def _categories(files: Iterable[Path]) -> dict[int, str]:
    """The names that COCO files give the values."""
    found = (coco.load(file).categories for file in files if coco.is_annotation_file(file))
    return {value: name for categories in found for value, name in categories.items()}


def _mask_paths(row: Row) -> list[str]:
    return [p for column, cell in row.cells.items() if column.split("_")[0] == "mask" for p in paths_in(cell)]


def _mask(table: Table, row: Row, column: str, labels: LabelSet) -> ImageRef | None:
    """The file of a row's mask, or its files per label; a label without a file does not occur in that case.

    None where there is none, or one of them does not exist (see ``table_flaws``).
    """
    if column == "mask":
        return _found(table, row, "mask")
    folder = table.path.parent
    layers = []
    for label in labels.labels:
        cell = row.cells[f"mask_{label.name}"]
        if missing_of(cell, folder):
            return None
        layers += layers_in(cell, label.value, folder)
    return ImageRef(path=layers[0].path, layers=tuple(layers)) if layers else None


def _complete(table: Table, column: str) -> bool:
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


def _image(table: Table, row: Row, column: str) -> ImageRef:
    """What a cell refers to, whether or not it is there (see ``table_flaws``)."""
    if not row.cells[column]:
        raise table.error(row, f"no {column}", "fill it in, or remove the row")
    return _found(table, row, column) or ImageRef(path=row.cells[column])


def _found(table: Table, row: Row, column: str) -> ImageRef | None:
    return reference_in(row.cells[column], table.path.parent)


def _target(table: Table, row: Row, column: str, labels: LabelSet) -> Target | None:
    if column in ("mask", "mask_"):
        return None
    if column == "label_":
        return _several(table, row, labels)
    cell = row.cells[column]
    if not cell:
        return None
    return number_in(cell) if labels.kind == "number" else _class_of(table, row, column, labels)


def _class_of(table: Table, row: Row, column: str, labels: LabelSet) -> int:
    cell = row.cells[column]
    if cell not in labels.names:
        file = label_file_of(table.path).name
        raise table.error(
            row,
            f"the {column} {cell!r} is not in {file}",
            f"correct it, add it to {file}, or remove that file to take the labels from the table",
        )
    return labels.names.index(cell)


def _several(table: Table, row: Row, labels: LabelSet) -> tuple[int | None, ...] | None:
    found: list[int | None] = []
    for column in (f"label_{name}" for name in labels.names):
        cell = row.cells[column]
        if cell not in ("", "0", "1", "0.0", "1.0"):
            raise table.error(row, f"{column} is {cell!r}", "use 1 (present), 0 (absent) or nothing (not known)")
        found.append(None if cell == "" else int(float(cell)))
    return None if all(value is None for value in found) else tuple(found)


def _case_names(table: Table, refs: Sequence[ImageRef]) -> list[str]:
    """The column ``case``; else file or folder names where these are unique, otherwise the paths as written."""
    seen: dict[ImageRef, Row] = {}
    for row, ref in zip(table.rows, refs, strict=True):
        other = seen.setdefault(ref, row)
        if other is not row:
            name = Path(ref.path).name
            raise table.error(row, f"{name} is in row {other.number} already", "keep one row per image")
    if "case" in table.columns:
        return _written_names(table)
    for whole in (False, True):
        stems = [_stem(ref, table.path.parent, whole=whole) for ref in refs]
        if len({stem.lower() for stem in stems}) == len(stems):
            break
    return short_names(stems)


def _stem(ref: ImageRef, folder: Path, *, whole: bool) -> str:
    """What an image is called: its name or whole path without extension, and its row in an archive."""
    path = folder / ref.path
    name = ref.path if whole else path.name
    stem = name if path.is_dir() else name[: -len(image_suffix(name)) or None]
    parts = [stem, ref.key, None if ref.index is None else f"{ref.index:06d}", ref.channel]
    return "-".join(str(part) for part in parts if part is not None)


def _written_names(table: Table) -> list[str]:
    seen: dict[str, Row] = {}
    for row in table.rows:
        cell = row.cells["case"]
        if not cell:
            raise table.error(row, "no case", "fill it in, or remove the whole column")
        other = seen.setdefault(cell.lower(), row)
        if other is not row:
            raise table.error(
                row,
                f"the case {cell!r} is in row {other.number} already",
                "a case's name is its own; call the column otherwise if it means something else",
            )
    return short_names([row.cells["case"] for row in table.rows])


def _others(row: Row, channels: dict[str, str], column: str) -> dict[str, str]:
    """Every further column; the site too, and answers that were not asked for."""
    used = {*channels.values(), column, "case", "mask", "patient", "split"}
    dropped = ("mask_", column) if column.endswith("_") else ("mask_",)
    return {name: cell for name, cell in row.cells.items() if name not in used and not name.startswith(dropped)}
