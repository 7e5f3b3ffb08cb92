"""Whether a model folder is whole, what it is for, on what it was measured, and what it scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from osler.assurance.evaluation import Evaluation
from osler.assurance.wording import headline_sentences
from osler.errors import ModelError
from osler.models.folder import Model, ModelInfo
from osler.models.parity import ParityRecord

__all__ = ["Verification", "verify"]


@dataclass(frozen=True)
class Verification:
    """What was found. ``faults`` is empty when every file is as it was sealed.

    ``evaluation`` is what the model scored; None when it was never measured or the figures cannot be trusted any more.
    ``parity`` says which compiled forms may be run; None likewise.
    """

    path: Path
    info: ModelInfo
    task: str
    labels: tuple[str, ...]
    files: int
    faults: tuple[str, ...]
    evaluation: Evaluation | None
    parity: ParityRecord | None = None

    def summary(self) -> list[str]:
        """Lines for a person."""
        state = "whole" if not self.faults else "NOT WHOLE, do not use it"
        lines = [
            f"{self.info.name}: {state} ({self.files} files checked)",
            *(f"fault: {fault}" for fault in self.faults),
            f"for: {self.info.intended_use}",
            f"answers: {self.task} ({', '.join(self.labels)})" if self.labels else f"answers: {self.task}",
            f"trained on: {self._trained_on}",
        ]
        if self.evaluation is None:
            lines.append("measured: never, on cases that it had not seen")
        else:
            lines.append(f"measured on: {self.evaluation.cases} cases of {self.evaluation.patients} {self._whose}")
            lines += [f"  {sentence}" for sentence in headline_sentences(self.evaluation)]
        if self.parity is None:
            lines.append("parity: its compiled forms were never compared with float32, so it runs in float32")
        else:
            lines += self.parity.sentences()
        lines += self._parent
        return [*lines, self.info.not_a_medical_device]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "model": str(self.path),
            "name": self.info.name,
            "task": self.task,
            "labels": list(self.labels),
            "intended_use": self.info.intended_use,
            "files": self.files,
            "faults": list(self.faults),
            "data": self.info.data.model_dump(exclude={"salt", "seen", "seen_patients", "calibrated"}),
            "metrics": {}
            if self.evaluation is None
            else {name: figure.model_dump() for name, figure in self.evaluation.metrics.items()},
            "parity": None if self.parity is None else self.parity.model_dump(mode="json"),
            "parent": self.info.lineage.get("parent"),
        }

    @property
    def _parent(self) -> list[str]:
        parent = self.info.lineage.get("parent")
        if not isinstance(parent, dict):
            return []
        return [f"compressed from: {parent.get('name')} (sha256 {str(parent.get('digest'))[:12]})"]

    @property
    def _trained_on(self) -> str:
        data = self.info.data
        if data.split_by == "unknown":
            cases = f"{data.train} cases of " if data.train else ""
            return f"{cases}{data.name}, by another program; which cases, and of which patients, is not recorded"
        split = "split as it came with the data" if data.split_by == "given" else f"split by {data.split_by}"
        return f"{data.train} cases of {data.name}, calibrated on {data.validation}, {split}"

    @property
    def _whose(self) -> str:
        return "patients" if self.evaluation is not None and self.evaluation.resampled_by == "patient" else "images"


def verify(model: Model | str | Path) -> Verification:
    """Check a model folder.

    Raises:
        PathNotFound: when there is no such folder.
        ModelError: when it is no finished model folder, or was written by a newer Osler.
    """
    opened = model if isinstance(model, Model) else Model.open(model)
    check = opened.verify()
    evaluation, fault = _evaluation(opened)
    parity, unread = _parity(opened, check.faults)
    return Verification(
        path=opened.path,
        info=opened.info,
        task=opened.plan.task,
        labels=opened.plan.labels.names,
        files=check.files,
        faults=(*check.faults, *fault, *unread),
        evaluation=evaluation,
        parity=parity,
    )


def _evaluation(model: Model) -> tuple[Evaluation | None, tuple[str, ...]]:
    """What the model scored, and what is wrong with the file that says so (a wrong hash is a fault already)."""
    try:
        performance = model.performance()
        return (Evaluation.model_validate(performance) if performance else None), ()
    except ModelError:
        return None, ()
    except (ValidationError, ValueError):
        return None, ("performance.json is no evaluation that this Osler can read",)


def _parity(model: Model, known: tuple[str, ...]) -> tuple[ParityRecord | None, tuple[str, ...]]:
    """The record, and what is wrong with it beyond a wrong hash, which is a fault already."""
    try:
        return model.parity(), ()
    except ModelError as error:
        return None, () if any(fault.startswith("parity.json") for fault in known) else (error.problem,)
