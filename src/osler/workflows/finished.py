"""What a run over many studies has finished, written down as it goes, so that it can go on after it was stopped.

    OUT/finished.jsonl    first the model and the settings; then a line per study whose results are all there

A line is added after the last file of a study is in its place, so a process that is killed at any moment leaves either
results with a line, or results that are made again. What says which files a study was read from is a digest of their
paths, sizes and times of change: paths can hold names of patients.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from osler.errors import OutputExists, StorageError
from osler.findings.finding import Findings
from osler.report.files import put
from osler.studies.discovery import Found
from osler.studies.files import JOURNAL
from osler.workflows.predictions import PredictedStudy

__all__ = ["Finished", "Journal", "Origin", "SourceDigests"]

_REMEDY = "give another --output, or --force to predict all studies again"


class Origin(BaseModel):
    """What results come from: the digest of the model folder and the settings that can change an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = 1
    model: str
    digest: str
    settings: dict[str, Any]


class Finished(BaseModel):
    """One study: what it was read from, its files with their sizes, and its row of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    study: str
    source: str
    files: dict[str, int]
    seconds: float
    peak_mb: float
    cells: dict[str, str | float]
    notes: tuple[str, ...] = ()


class Journal:
    """The story: ``begin`` or ``go_on`` for a folder, ``finished`` once, ``add`` for each study whose results are all
    there. ``add`` may be called from threads.

    Args:
        folder: the output.
        known: what was finished before, by study.
    """

    def __init__(self, folder: Path, known: Mapping[str, Finished]) -> None:
        self._folder = folder
        self._known = known
        self._lock = threading.Lock()

    @classmethod
    def begin(cls, folder: Path, origin: Origin) -> Journal:
        """A run that knows of nothing that was done before.

        Raises:
            StorageError: when it cannot be written.
        """
        _sweep(folder)
        put(folder / JOURNAL, origin.model_dump_json().encode() + b"\n")
        return cls(folder, {})

    @classmethod
    def go_on(cls, folder: Path, origin: Origin) -> Journal:
        """The run that was stopped; ``begin`` where there was none.

        Raises:
            OutputExists: when what is there comes from another model or other settings.
            StorageError: when it cannot be written.
        """
        path = folder / JOURNAL
        if not path.exists():
            return cls.begin(folder, origin)
        first, *rest = path.read_text(errors="replace").split("\n")
        _check_same(first, origin, folder)
        _sweep(folder)
        if rest[-1:] != [""]:  # it was killed while it wrote its last line
            _append(path, "\n")
        known = [found for line in rest if (found := _parsed(line)) is not None]
        return cls(folder, {one.study: one for one in known})

    def finished(self, found: Sequence[Found]) -> dict[str, PredictedStudy]:
        """Those studies whose files are what they were and whose results are all there, by name."""
        digests = SourceDigests()
        done = {}
        for study in found:
            known = self._known.get(study.name)
            before = self._before(known) if known is not None and known.source == digests.of(study) else None
            if before is None:
                _sweep(self._folder / study.name)
            else:
                done[study.name] = before
        return done

    def add(self, study: PredictedStudy) -> None:
        """Write down that a study is finished; its files must be in their places.

        Raises:
            StorageError: when the disk is full.
        """
        if not study.source:  # its files went away while it was read
            return
        line = Finished(
            study=study.name,
            source=study.source,
            files={file.name: _size(file) for file in study.files},
            seconds=round(study.seconds, 6),
            peak_mb=round(study.peak_mb, 3),
            cells=study.cells,
            notes=study.notes,
        )
        with self._lock:
            _append(self._folder / JOURNAL, line.model_dump_json() + "\n")

    def _before(self, known: Finished) -> PredictedStudy | None:
        folder = self._folder / known.study
        if any(_size(folder / name) != size for name, size in known.files.items()):
            return None
        try:
            findings = Findings.model_validate_json((folder / "findings.json").read_bytes())
        except (OSError, ValidationError):
            return None
        return PredictedStudy(
            name=known.study,
            status="ok",
            seconds=known.seconds,
            peak_mb=known.peak_mb,
            cells=dict(known.cells),
            findings=findings,
            files=tuple(folder / name for name in known.files),
            notes=known.notes,
            source=known.source,
            before=True,
        )


class SourceDigests:
    """What studies are read from, as digests: path, size and time of change of each file. Folders are listed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, str] = {}

    def of(self, found: Found) -> str:
        """Of a study's files, and of all files below its folders; "" when one is not there."""
        lines = []
        for channel, path in found.paths.items():
            state = self._of_folder(path) if path.is_dir() else _state(path)
            if not state:
                return ""
            lines.append(f"{channel}\0{found.keys.get(channel, '')}\0{state}")
        return _digest(lines)

    def _of_folder(self, folder: Path) -> str:
        if folder not in self._folders:
            self._folders[folder] = _digest([_state(file) for file in sorted(folder.rglob("*"))])
        return self._folders[folder]


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{path.absolute()}\0{status.st_size}\0{status.st_mtime_ns}"


def _check_same(line: str, origin: Origin, folder: Path) -> None:
    try:
        before = Origin.model_validate_json(line)
    except ValidationError as error:
        raise OutputExists(f"{folder / JOURNAL} cannot be read, so nothing can be continued", remedy=_REMEDY) from error
    if before.digest != origin.digest:
        other = "" if before.model == origin.model else f" ({before.model})"
        raise OutputExists(f"{folder} holds results of another model{other}", remedy=_REMEDY)
    names = sorted({*before.settings, *origin.settings})
    differing = [name for name in names if before.settings.get(name) != origin.settings.get(name)]
    if differing:
        listed = ", ".join(f"{name} was {json.dumps(before.settings.get(name))}" for name in differing)
        raise OutputExists(f"{folder} holds results of other settings ({listed})", remedy=_REMEDY)


def _parsed(line: str) -> Finished | None:
    try:
        return Finished.model_validate_json(line)
    except ValidationError:  # a line that was cut off: its study is done again
        return None


def _sweep(folder: Path) -> None:
    """Take away what a process that was killed had not finished writing."""
    for pattern in (".*.part", ".*.part.nii.gz"):
        for part in folder.glob(pattern):
            part.unlink(missing_ok=True)


def _append(path: Path, text: str) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError.of(error, path) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
