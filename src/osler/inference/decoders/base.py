"""``Decoder``: from calibrated probabilities to findings. One per task, under the task's name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from osler.datasets.labels import Label
from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace
from osler.findings.finding import Concept, Finding, Region
from osler.models.folder import Calibration
from osler.studies.geometry import Array

__all__ = ["THRESHOLD", "Cell", "Decoded", "Decoder", "Whole", "concept_of", "label_findings", "label_row"]

Cell = str | float
THRESHOLD = 0.5
"""A label of several at once is in the answer from this probability upwards."""
Whole = Region(kind="image")


@dataclass(frozen=True)
class Decoded:
    """What a model says about one study.

    Args:
        answer: the most probable class or grade, the names of the labels that are present, or the number.
        findings: one per label (for a number: one), in the order of the labels.
        mask: source shape (I, J[, K]), the data set's values, on the source grid; None for tasks without masks.
        row: this study's columns of ``summary.csv``.
        notes: what the reader of the findings should know of how they were made.
    """

    answer: str | float | list[str]
    findings: tuple[Finding, ...]
    mask: Array | None = None
    row: dict[str, Cell] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Decoder(ABC):
    """The story: made once per run, asked once per study, holds nothing between studies.
    Every decoder passes ``tests/inference/test_decoders.py``."""

    @abstractmethod
    def decode(self, output: Any, trace: Trace, plan: Plan, calibration: Calibration) -> Decoded:
        """Make findings.

        Args:
            output: probabilities (O,) or, for masks, (O, \\*trace.padded_shape) or ``Labelled``.
            trace: of the prepared study.
            plan: its labels.
            calibration: of the predictor.
        """

    def columns(self, plan: Plan) -> tuple[str, ...]:
        """The keys of ``Decoded.row`` that a typical study brings; for a table in which every study failed."""
        return ("label", *(f"p_{name}" for name in plan.labels.names))


def concept_of(label: Label) -> Concept:
    """The label's coded concept; without one its name stands for itself."""
    return label.concept or Concept(name=label.name)


def label_findings(
    probabilities: Sequence[float], labels: Sequence[Label], calibration: Calibration
) -> tuple[Finding, ...]:
    """One finding about the whole study per label, with its probability."""
    return tuple(
        Finding(concept=concept_of(label), probability=p, calibrated=calibration.cases > 0, region=Whole)
        for label, p in zip(labels, probabilities, strict=True)
    )


def label_row(label: str, probabilities: Sequence[float], names: Sequence[str]) -> dict[str, Cell]:
    """The columns ``label`` and ``p_<name>`` of a study."""
    return {"label": label, **{f"p_{name}": p for name, p in zip(names, probabilities, strict=True)}}
