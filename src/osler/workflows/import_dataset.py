"""Turn a data set of any layout into a manifest that a person can edit."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path
from typing import Any

from osler.datasets.dataset import Dataset
from osler.datasets.layouts import open_dataset, signals, write_manifest
from osler.datasets.plan import TaskName
from osler.datasets.problem import counted
from osler.errors import NoLabels, OutputExists, PathNotFound, StorageError, TooFew, UnknownLayout, UsageError
from osler.workflows.unlabelled import unlabelled

__all__ = ["ImportResult", "import_dataset"]


@dataclass(frozen=True)
class ImportResult:
    """What was written: ``files`` are the table and, beside it, its labels. ``layout`` is what was recognised.

    ``kind`` is that of the labels, "" for studies without answers.
    """

    layout: str
    cases: int
    patients: int | None
    kind: str
    labels: tuple[str, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    def summary(self) -> list[str]:
        """Lines for a person."""
        patients = "unknown" if self.patients is None else str(self.patients)
        shown = f": {', '.join(self.labels[:6])}{' ...' if len(self.labels) > 6 else ''}" if self.labels else ""
        kind = f"; {self.kind}{shown}" if self.kind else ""
        lines = [f"{counted(self.cases)}, layout {self.layout}, patients {patients}{kind}"]
        return lines + [f"  note: {note}" for note in self.notes] + [f"wrote {path}" for path in self.files]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {**vars(self), "notes": list(self.notes), "files": list(self.files)}


def import_dataset(
    data: str | Path,
    output: str | Path,
    *,
    task: TaskName | None = None,
    patient: str | None = None,
    overwrite: bool = False,
) -> ImportResult:
    """Write a row per case of ``data`` into a table. Images stay where they are; paths are relative to the table.

    Studies of which nothing says what they show get an empty column ``label``, to be filled in. Signals, for which
    there are no tasks yet, become a list of records with their beats.

    Args:
        data: a dataset of any layout.
        output: ends in ``.csv`` or ``.parquet``.
        task: what the labels are for; None takes what the data holds.
        patient: a regular expression that finds the patient in each case's name; the manifest has them as a column.
        overwrite: what is at ``output``.

    Raises:
        PathNotFound, DatasetError, UsageError: as ``open_dataset``.
        OutputExists: when ``output`` is there already.
        StorageError: when it cannot be written.
        MissingExtra: for ``.parquet`` when pyarrow is not installed.
    """
    path, output = Path(data).expanduser(), Path(output)
    if not path.exists():
        raise PathNotFound(f"{path} does not exist", remedy="check the spelling")
    if signals.sniff(path):
        return _list_signals(path, output, patient, overwrite=overwrite)
    dataset, remedy = _opened(path, task, patient)
    files = write_manifest(dataset, output, overwrite=overwrite)
    manifest = dataset.manifest
    patients = {record.patient for record in dataset if record.patient is not None}
    notes = [*([remedy] if remedy else []), *manifest.notes]
    nobody = sum(record.patient is None for record in dataset)
    if patients and nobody:
        notes.append(f"of {counted(nobody)} the patient is not known: fill in the column patient")
    if manifest.patients == "pattern":
        notes.append("patients were taken from the names: check the column patient")
    return ImportResult(
        layout=manifest.layout,
        cases=len(dataset),
        patients=len(patients) or None,
        kind="" if remedy else manifest.labels.kind,
        labels=manifest.labels.names,
        files=files,
        notes=tuple(notes),
    )


def _opened(path: Path, task: TaskName | None, patient: str | None) -> tuple[Dataset, str]:
    """The dataset; where nothing says what its studies show, the studies, and what to do."""
    try:
        return open_dataset(path, task=task, patient=patient), ""
    except (NoLabels, UnknownLayout, TooFew) as error:
        if task is not None or not path.is_dir():
            raise
        try:
            dataset = unlabelled(path.resolve(), patient)
        except UsageError:
            raise error from None
        return dataset, "nothing says what these studies show: fill in the column label (or put masks into mask)"


def _list_signals(path: Path, output: Path, patient: str | None, *, overwrite: bool) -> ImportResult:
    """A row per record, with a column per kind of beat and rhythm."""
    if output.suffix.lower() != ".csv":
        raise UsageError("a list of signals is written as CSV only", remedy="let --output end in .csv")
    if output.exists() and not overwrite:
        raise OutputExists(f"{output} exists already", remedy="choose another name or allow overwriting")
    records = signals.list_records(path, patient=patient)
    kinds = sorted({kind for record in records for kind in record.annotated.beats})
    rhythms = sorted({name for record in records for name in record.annotated.rhythms})
    folder = output.parent.resolve()
    rows = [
        {
            "case": record.name,
            "signal": _relative(record.path, folder),
            "annotations": "" if record.annotations is None else _relative(record.annotations, folder),
            "patient": record.patient,
            "leads": " ".join(record.leads),
            "rate_hz": " ".join(f"{rate:g}" for rate in record.rates_hz),
            "seconds": f"{record.seconds:.3f}",
            **{f"beats_{kind}": str(record.annotated.beats.get(kind, 0)) for kind in kinds},
            **{f"rhythms_{name}": str(record.annotated.rhythms.get(name, 0)) for name in rhythms},
        }
        for record in records
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        output.write_text(text.getvalue(), "utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {output}: {error.strerror}", remedy="choose another place") from error
    return ImportResult(
        layout=signals.NAME,
        cases=len(records),
        patients=len({record.patient for record in records}),
        kind="signals",
        labels=tuple(kinds),
        files=(output,),
        notes=("Osler has no tasks for signals yet: this is a list of them",),
    )


def _relative(path: Path, folder: Path) -> str:
    return Path(relpath(path.resolve(), folder)).as_posix()
