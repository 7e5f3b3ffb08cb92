"""The run folder beside a model: request, splits, plan, checkpoints, records. It may hold what identifies patients."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import Manifest
from osler.datasets.plan import Plan
from osler.errors import OutputExists, StorageError

__all__ = ["RunFolder", "request_digest"]


def request_digest(dataset: Dataset, settings: Mapping[str, Any]) -> str:
    """Names what was asked for: the manifest and the settings that decide the result."""
    manifest = dataset.manifest.model_dump_json()
    return hashlib.sha256((manifest + json.dumps(settings, sort_keys=True, default=str)).encode()).hexdigest()


class RunFolder:
    """``MODEL.run/``.

    request.json, splits.json, plan.json, prepared/, fold0/ (last.pt, best.pt, tensorboard/, curves.png), coarse/ (the
    same of a coarse network), evaluation/
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.path = output.with_name(output.name + ".run")
        self._held: TextIO | None = None

    def claim(self, digest: str, *, force: bool, resume: bool = True) -> bool:
        """Make it ours.

        Args:
            digest: of the request.
            force: replace a finished model and discard a different unfinished run.
            resume: False starts anew even where this request was stopped.

        Returns:
            Whether an unfinished run of the same request is there to go on with.

        Raises:
            OutputExists: when the model or another run's records exist and ``force`` is off, or what lies there is no
                run's.
            StorageError: when the folder cannot be made.
        """
        if self.output.exists() and not self.output.is_dir():
            raise OutputExists(f"{self.output} is a file", remedy="give another --output")
        if self.output.is_dir() and any(self.output.iterdir()) and not force:
            raise OutputExists(
                f"{self.output} exists already", remedy="give another --output, or --force to replace it"
            )
        self._lock()
        same = self._same_request(digest)
        finished = (self.path / "finished").exists()
        resumes = resume and same and not finished
        if not resumes:
            self._clear(same=same, finished=finished, force=force)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError.of(error, self.path) from error
        self._write("request.json", json.dumps({"digest": digest}))
        return resumes

    def _lock(self) -> None:
        """Hold the run for this process; the system lets go of it when the process ends, however it ends.

        The lock lies beside the folder, which may be removed and made anew.
        """
        import fcntl

        place = self.path.with_name(self.path.name + ".lock")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._held = place.open("a")
        except OSError as error:
            raise StorageError.of(error, place.parent) from error
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._held.close()
            raise OutputExists(
                f"another process is training into {self.output}", remedy="wait for it, or give another --output"
            ) from error

    def release(self) -> None:
        """Let go of the run; the lock's file is removed."""
        if self._held is not None:
            self.path.with_name(self.path.name + ".lock").unlink(missing_ok=True)
            self._held.close()
            self._held = None

    def _clear(self, *, same: bool, finished: bool, force: bool) -> None:
        """Remove an earlier run's records where that was asked for; never a folder that is no run's."""
        if not self.path.exists() or not any(self.path.iterdir()):
            return
        if not (self.path / "request.json").is_file():
            raise OutputExists(f"{self.path} exists and is no run of Osler's", remedy="give another --output")
        if not force and not same:
            what = "the records of a finished run" if finished else "an unfinished run of another request"
            raise OutputExists(
                f"{self.path} holds {what}", remedy="give another --output, or --force to discard what is there"
            )
        shutil.rmtree(self.path)

    def _same_request(self, digest: str) -> bool:
        path = self.path / "request.json"
        try:
            return bool(json.loads(path.read_text())["digest"] == digest)
        except (OSError, json.JSONDecodeError, KeyError):  # none, or one cut off by a kill: not the same
            return False

    def save_splits(self, datasets: list[Dataset]) -> None:
        """One manifest per fold, each record with its split."""
        manifests = [json.loads(dataset.manifest.model_dump_json()) for dataset in datasets]
        self._write("splits.json", json.dumps(manifests))

    def load_splits(self) -> list[Dataset] | None:
        """The datasets of ``save_splits``; None when the run was stopped before."""
        path = self.path / "splits.json"
        if not path.is_file():
            return None
        return [Dataset(Manifest.model_validate(raw)) for raw in json.loads(path.read_text())]

    def save_plan(self, plan: Plan) -> None:
        """For reading and for resuming."""
        self._write("plan.json", plan.model_dump_json(indent=1))

    def load_plan(self) -> Plan | None:
        """The plan; None when the run was stopped before."""
        path = self.path / "plan.json"
        return Plan.model_validate_json(path.read_text()) if path.is_file() else None

    def fold(self, number: int) -> Path:
        """The folder of one member."""
        return self.path / f"fold{number}"

    def discard(self) -> None:
        """Remove what was stored before anything was trained."""
        shutil.rmtree(self.path, ignore_errors=True)

    def finish(self) -> None:
        """Mark the run as finished and drop what only resuming needs."""
        shutil.rmtree(self.path / "prepared", ignore_errors=True)
        for path in self.path.glob("*/*.pt"):
            path.unlink()
        self._write("finished", "")

    def _write(self, name: str, text: str) -> None:
        try:
            temporary = self.path / f"{name}.partial"
            temporary.write_text(text)
            temporary.replace(self.path / name)
        except OSError as error:
            raise StorageError.of(error, self.path / name) from error
