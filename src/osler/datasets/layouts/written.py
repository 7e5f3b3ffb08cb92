"""Write a dataset as a CSV manifest that ``open_dataset`` reads back."""

from __future__ import annotations

import csv
import io
import json
from os.path import relpath
from pathlib import Path

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import ImageRef, Record
from osler.errors import OutputExists, StorageError, UsageError

__all__ = ["write_manifest_csv"]


def write_manifest_csv(dataset: Dataset, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write one row per case, with its split and patient, and ``labels.json`` beside it for the names of masks' values.

    Paths are written relative to the CSV.

    Raises:
        UsageError: when cases are rows of an ``.npz``, which a table cannot point to.
        OutputExists: when a file is there already and ``overwrite`` is False.
        StorageError: when it cannot be written.
    """
    path = Path(path)
    names = path.with_name("labels.json")
    for file in (path, names) if dataset.labels.kind == "mask" else (path,):
        if file.exists() and not overwrite:
            raise OutputExists(f"{file} exists already", remedy="choose another name or allow overwriting")
    rows = [_row(dataset, record, path.parent) for record in dataset]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        path.write_text(text.getvalue(), "utf-8")
        if dataset.labels.kind == "mask":
            content = {str(label.value): label.name for label in dataset.labels.labels}
            names.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise StorageError.of(error, path) from error
    return path


def _row(dataset: Dataset, record: Record, folder: Path) -> dict[str, str]:
    single = list(record.images) == ["image"]
    row = {
        "image" if single else f"image_{channel}": _path(dataset, ref, folder) for channel, ref in record.images.items()
    }
    row |= _answer(dataset, record, folder)
    for column in ("patient", "site", "split"):
        value = getattr(record, column)
        row |= {column: str(value)} if value is not None else {}
    return row | {name: cell for name, cell in record.columns.items() if name not in row}


def _path(dataset: Dataset, ref: ImageRef, folder: Path) -> str:
    if ref.key is not None or ref.index is not None:
        raise UsageError("a CSV manifest cannot point to rows of an .npz", remedy="give the .npz itself instead")
    if ref.channel is not None:
        raise UsageError(
            "a CSV manifest cannot point to a channel of a file", remedy="save each channel to its own file"
        )
    return Path(relpath(dataset.path_of(ref), folder)).as_posix()


def _answer(dataset: Dataset, record: Record, folder: Path) -> dict[str, str]:
    labels, target = dataset.labels, record.target
    if record.mask is not None:
        return {"mask": _path(dataset, record.mask, folder)}
    if target is None:
        return {}
    if isinstance(target, tuple):
        return {f"label_{n}": "" if v is None else str(v) for n, v in zip(labels.names, target, strict=True)}
    if labels.kind == "number":
        return {"value": repr(float(target))}
    return {"grade" if labels.kind == "grades" else "label": labels.names[int(target)]}
