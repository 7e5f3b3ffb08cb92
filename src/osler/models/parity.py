"""``ParityRecord``: how each compiled form of a model answers beside its float32 reference, and which may be run.

``parity.json`` of a model folder. Every form of the graphs (float32, bf16, int8) was run on the cases that the model
was calibrated on, which its training did not learn from, and so was the reference: the model's own float32 graphs or,
of a model that was pruned or distilled, those of its parent. A form that loses more than ``LIMITS`` is not run, and an
INT8 graph that loses more is not even in the folder.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["LIMITS", "PARITY_VERSION", "Form", "FormName", "ParityRecord", "Reference", "Scores", "judge", "losses"]

PARITY_VERSION = 1
FormName = Literal["float32", "bf16", "int8"]
_WORDS = {"dice": "Dice", "auc": "AUC", "ece": "ECE", "error": "mean error"}
_ROUNDING = 1e-9
_WORTH = 1.1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scores(_Frozen):
    """What a form scored, or lost; None where it is undefined or not of this task.

    Args:
        dice: of masks, the mean over cases and labels in which it is defined.
        auc: area under the ROC curve of each label against the rest, the mean over the labels.
        ece: expected calibration error in ten bins; of masks over voxels that are not certain background.
        error: of a number, the mean absolute error in standard deviations of the training answers.
    """

    dice: float | None = None
    auc: float | None = None
    ece: float | None = None
    error: float | None = None


LIMITS = Scores(dice=0.002, auc=0.002, ece=0.005, error=0.002)
"""How much a form may lose."""


def _pace(milliseconds: float) -> str:
    return f"{milliseconds:.{0 if milliseconds >= 10 else 1}f} ms a patch"


class Form(_Frozen):
    """One compiled form.

    Args:
        name: "float32" and "bf16" run the same graph; "int8" runs ``graphs/memberN.int8.xml``, and what is not
            quantised in it in bf16 where the processor has that.
        same_labels: share of answers equal to the reference's: of cases (a number: within a hundredth of a standard
            deviation), or of those voxels that either of the two calls foreground.
        scores: against the truth.
        loss: what is worse than the reference by that much; negative where it is better.
        faults: why it may not be run; empty when it may.
        milliseconds: shortest of many times of one patch (a study, where it is taken whole) through all members:
            whatever else the machine does only makes it longer.
    """

    name: FormName
    same_labels: float
    scores: Scores
    loss: Scores
    faults: tuple[str, ...] = ()
    milliseconds: float

    @property
    def allowed(self) -> bool:
        """Whether it may be run."""
        return not self.faults

    def sentence(self) -> str:
        """For people: verdict, agreement, figures with what they lost, time."""
        verdict = "allowed" if self.allowed else "NOT allowed: " + ", ".join(self.faults)
        figures = [
            f"{_WORDS[key]} {value:.4f} ({_signed(lost, lower=key in ('ece', 'error'))})"
            for key, value in self.scores
            if value is not None and (lost := getattr(self.loss, key)) is not None
        ]
        return "; ".join(
            [
                f"{self.name} {verdict}",
                f"labels {self.same_labels:.2%} the same",
                *figures,
                _pace(self.milliseconds),
            ]
        )


class Reference(_Frozen):
    """What the forms were compared with: ``digest`` is "" for the model's own float32 graphs, else the parent's."""

    name: str = ""
    digest: str = ""
    scores: Scores
    milliseconds: float

    def sentence(self) -> str:
        """For people."""
        figures = [f"{_WORDS[key]} {value:.4f}" for key, value in self.scores if value is not None]
        whose = f"{self.name} (sha256 {self.digest[:12]}) in float32" if self.digest else "its own float32 graphs"
        return ", ".join([whose, *figures, _pace(self.milliseconds)])


class ParityRecord(_Frozen):
    """``parity.json``.

    Args:
        cases: how many cases everything was measured on.
        reference: what the forms were compared with.
        forms: float32 first, each once.
        limits: that were held to.
        machine: the processor that the times are of.
        notes: what a reader should know about the cases.
    """

    schema_version: int = PARITY_VERSION
    cases: int
    reference: Reference
    forms: tuple[Form, ...]
    limits: Scores = LIMITS
    machine: str = "unknown"
    notes: tuple[str, ...] = ()

    def form(self, name: FormName) -> Form | None:
        """What was found about a form; None when it was not measured."""
        return next((form for form in self.forms if form.name == name), None)

    def allowed(self) -> tuple[FormName, ...]:
        """The forms that may be run, the one to take first.

        That is the fastest; but what is not a tenth faster than float32 is not worth its rounding, and a difference
        that small may be chance.
        """
        passed = [form for form in self.forms if form.allowed]
        passed.sort(key=lambda form: form.milliseconds * (1 if form.name == "float32" else _WORTH))
        return tuple(form.name for form in passed)

    def sentences(self) -> list[str]:
        """For people: what was compared on what, and a line for each form."""
        cases = "1 case" if self.cases == 1 else f"{self.cases} cases"
        return [
            f"parity: on {cases}, against {self.reference.sentence()}",
            *(f"  {form.sentence()}" for form in self.forms),
            *self.notes,
        ]


def losses(reference: Scores, found: Scores) -> Scores:
    """How much worse ``found`` is, score by score; None where either is undefined."""

    def lost(key: str, sign: float) -> float | None:
        before, after = getattr(reference, key), getattr(found, key)
        return None if before is None or after is None else sign * (before - after)

    return Scores(dice=lost("dice", 1), auc=lost("auc", 1), ece=lost("ece", -1), error=lost("error", -1))


def judge(loss: Scores, limits: Scores = LIMITS) -> tuple[str, ...]:
    """Why a form that lost this may not be run; empty when it may. Without any figure it may not: nothing is known."""
    if all(value is None for _, value in loss):
        return ("none of its scores could be compared",)
    return tuple(
        f"it loses {value:.4f} {_WORDS[key]}, more than {getattr(limits, key):g}"
        for key, value in loss
        if value is not None and value > getattr(limits, key) + _ROUNDING
    )


def _signed(lost: float, *, lower: bool) -> str:
    """What a score changed by; of those that are better lower, a loss is a rise."""
    changed = round(lost if lower else -lost, 4)
    return f"{changed:+.4f}" if changed else "unchanged"
