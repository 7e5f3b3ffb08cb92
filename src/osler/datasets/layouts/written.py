"""Write a dataset of whatever layout as a table that ``open_dataset`` reads back to the same dataset."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from osler.datasets.dataset import Dataset
from osler.datasets.layouts.cells import cell_of, layer_cell
from osler.datasets.layouts.label_file import LabelFile, label_file_of
from osler.datasets.manifest import Record
from osler.errors import OutputExists, StorageError, UsageError
from osler.extras import require

__all__ = ["SUFFIXES", "write_manifest"]

SUFFIXES = (".csv", ".parquet")


def write_manifest(dataset: Dataset, path: str | Path, *, overwrite: bool = False) -> tuple[Path, Path]:
    """Write one row per case, and ``<table>.labels.json`` beside it.

    The columns are those of ``csv_manifest``, with paths relative to the table; answers, splits, patients and every
    further column are there. Images stay where they are.

    Args:
        dataset: of any layout.
        path: ends in ``.csv`` or ``.parquet``.
        overwrite: what is there already.

    Returns:
        The table and the label file.

    Raises:
        UsageError: for another suffix, or a label that would be no column.
        OutputExists: when a file is there already and ``overwrite`` is False.
        StorageError: when they cannot be written.
        MissingExtra: for ``.parquet`` when pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path.name} is no name of a manifest", remedy="let it end in .csv or .parquet")
    files = (path, label_file_of(path))
    for file in files:
        if file.exists() and not overwrite:
            raise OutputExists(f"{file} exists already", remedy="choose another name or allow overwriting")
    folder = path.parent.resolve()
    rows = [_row(dataset, record, folder) for record in dataset]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = _csv if path.suffix.lower() == ".csv" else _parquet
    manifest = dataset.manifest
    named = {record.patient is not None for record in dataset}
    decided: Literal["", "unknown", "some"] = (
        "unknown" if manifest.patients_declined else "some" if len(named) > 1 else ""
    )
    about = LabelFile(name=manifest.name, modality=manifest.modality, patients=decided, labels=manifest.labels)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files[1].write_text(about.model_dump_json(indent=2) + "\n", "utf-8")
        path.write_bytes(text(columns, rows))
    except OSError as error:
        raise StorageError.of(error, path) from error
    return files


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def _parquet(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> bytes:
    """Text columns, but a double for ``value`` and whole numbers for ``label_<name>``; empty cells are null."""
    arrow = require("pyarrow", extra="parquet", purpose="a Parquet manifest")
    parquet = require("pyarrow.parquet", extra="parquet", purpose="a Parquet manifest")
    arrays = {}
    for column in columns:
        cells = [row.get(column) or None for row in rows]
        if column == "value":
            arrays[column] = arrow.array([None if c is None else float(c) for c in cells], arrow.float64())
        elif column.startswith("label_"):
            arrays[column] = arrow.array([None if c is None else int(c) for c in cells], arrow.int8())
        else:
            arrays[column] = arrow.array(cells, arrow.string())
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(arrays), sink)
    return bytes(sink.getvalue().to_pybytes())


def _row(dataset: Dataset, record: Record, folder: Path) -> dict[str, str]:
    root = dataset.manifest.root
    single = list(record.images) == ["image"]
    row = {"case": record.name}
    row |= {"image" if single else f"image_{c}": cell_of(root, ref, folder) for c, ref in record.images.items()}
    row |= _answer(dataset, record, folder)
    for column in ("patient", "site", "split"):
        value = getattr(record, column)
        row |= {column: str(value)} if value is not None else {}
    return row | {name: cell for name, cell in record.columns.items() if name not in row}


def _answer(dataset: Dataset, record: Record, folder: Path) -> dict[str, str]:
    labels, target = dataset.labels, record.target
    if record.mask is not None:
        return _mask(dataset, record, folder)
    if target is None:
        return {"label": ""} if labels.kind == "classes" else {}
    if isinstance(target, tuple):
        return {f"label_{n}": "" if v is None else str(v) for n, v in zip(labels.names, target, strict=True)}
    if labels.kind == "number":
        return {"value": repr(float(target))}
    return {"grade" if labels.kind == "grades" else "label": labels.names[int(target)]}


def _mask(dataset: Dataset, record: Record, folder: Path) -> dict[str, str]:
    root, mask = dataset.manifest.root, record.mask
    if mask is None or not mask.layers:
        return {} if mask is None else {"mask": cell_of(root, mask, folder)}
    names = dict(zip(dataset.labels.values, dataset.labels.names, strict=True))
    cells: dict[str, list[str]] = {f"mask_{name}": [] for name in names.values()}
    for layer in mask.layers:
        cells[f"mask_{names[layer.value]}"].append(layer_cell(root, layer, folder))
    return {column: "|".join(paths) for column, paths in cells.items()}
