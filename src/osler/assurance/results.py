"""What an evaluation found: plain, frozen, typed, and the same in ``metrics.json`` and in memory."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from osler.metrics.base import Kind

__all__ = [
    "EVALUATION_VERSION",
    "NOT_A_MEDICAL_DEVICE",
    "Bin",
    "CaseRow",
    "Confusion",
    "Decisions",
    "Evaluation",
    "Figure",
    "Line",
    "PatientRow",
    "SplitBy",
]

EVALUATION_VERSION = 1
NOT_A_MEDICAL_DEVICE = "Research use only. Not a medical device; not for diagnosis or treatment."
SplitBy = Literal["patient", "image", "given"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Frozen):
    """A figure and its 95 % interval over patients.

    ``value`` is None where undefined, ``low`` and ``high`` where there is no interval. ``n`` is how many cases are in
    its denominator, from ``patients`` patients. ``n_undefined`` is in how many resamples it was undefined.
    ``method`` is how the interval was made: "exact" is Clopper–Pearson, used for shares of 0 and 1, which resampling
    cannot widen.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    patients: int = 0
    n_undefined: int = 0
    method: Literal["bootstrap", "exact", "none"] = "none"


class Confusion(_Frozen):
    """``counts[i][j]``: cases of label i that were taken for label j."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Decisions(_Frozen):
    """Cases with (true) and without the label that were flagged or not."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


class Line(_Frozen):
    """A curve, thinned to a few hundred points."""

    x: tuple[float, ...]
    y: tuple[float, ...]


class Bin(_Frozen):
    """One bin of a reliability diagram; None where it is empty."""

    low: float
    high: float
    cases: int
    probability: float | None
    observed: float | None


class CaseRow(_Frozen):
    """One case. ``score`` orders the cases (``Evaluation.score_name`` says what it is); ``scores`` holds its figures.

    ``answer`` and ``predicted`` are in words, "" for masks; ``note`` says what is special ("anterior missed").
    """

    name: str
    patient: str | None = None
    answer: str = ""
    predicted: str = ""
    score: float | None = None
    scores: dict[str, float | None] = {}
    note: str = ""


class PatientRow(_Frozen):
    """One patient: how many cases, and the mean of their scores."""

    patient: str
    cases: int
    score: float | None


class Evaluation(_Frozen):
    """Everything that was measured on one set of cases.

    ``kind`` is that of the answer; ``unit`` the unit of a number (UCUM) or of distances ("mm", "px").
    ``split_by`` is how the cases were kept apart from those of training: by patient, by image (patients are unknown),
    or by a split that came with the data. ``resampled_by`` is what intervals are over: patients, or images where
    patients are unknown; ``patients`` counts these.
    ``metrics`` are the headline; ``per_class`` by label; ``subgroups`` by column and value.
    ``curves`` are "roc" (1 − specificity, sensitivity) and "precision_recall" (recall, precision) by label.
    ``reliability`` is by label, and "answer" is the probability of the answer that was given.
    ``undefined`` says for masks, by label, how many cases were "absent", "missed" and "invented".
    ``per_case`` and ``per_patient`` are worst first; ``score_name`` is the key of the score in words.
    """

    schema_version: int = EVALUATION_VERSION
    task: str
    kind: Kind
    name: str
    cases: int
    patients: int
    split_by: SplitBy
    resampled_by: Literal["patient", "image"] = "patient"
    unit: str = ""
    positive: str | None = None
    metrics: dict[str, Figure]
    per_class: dict[str, dict[str, Figure]] = {}
    subgroups: dict[str, dict[str, dict[str, Figure]]] = {}
    confusion: Confusion | None = None
    decisions: dict[str, Decisions] = {}
    curves: dict[str, dict[str, Line]] = {}
    reliability: dict[str, tuple[Bin, ...]] = {}
    score_name: str = ""
    per_case: tuple[CaseRow, ...] = ()
    per_patient: tuple[PatientRow, ...] = ()
    undefined: dict[str, dict[str, int]] = {}
    notes: tuple[str, ...] = ()
    tolerance: float | None = None
    seed: int = 0
    resamples: int = 0
    not_a_medical_device: str = NOT_A_MEDICAL_DEVICE

    def without_cases(self) -> Evaluation:
        """The same without any row about one case or one patient, as a model folder may hold it."""
        return self.model_copy(update={"per_case": (), "per_patient": ()})
