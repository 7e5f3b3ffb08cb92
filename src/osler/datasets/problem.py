"""``Problem``: one thing that is wrong with a dataset: how bad, in which cases, where in them, and what to do."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

__all__ = ["CODES", "Box", "Code", "Problem", "Severity", "counted"]

Severity = Literal["error", "warning", "note"]
Code = Literal[
    "unreadable",
    "geometry",
    "unsuitable",
    "incomplete",
    "missing-channel",
    "channels",
    "not-finite",
    "grid",
    "grid-shift",
    "dimensions",
    "no-spacing",
    "blank",
    "blank-slices",
    "saturated",
    "inverted",
    "turned",
    "modality",
    "unlike-others",
    "laterality",
    "mask-values",
    "mask-empty",
    "mask-overlap",
    "mask-islands",
    "mask-border",
    "mask-shifted",
    "outlier-shape",
    "outlier-spacing",
    "outlier-extent",
    "outlier-intensity",
    "outlier-label-size",
    "copies-across",
    "copies-answers",
    "copies-patients",
    "copies-within",
    "near-across",
    "near-answers",
    "near-patients",
    "near-within",
    "patient-across",
    "patients-unknown",
    "patients-some",
    "patients-share",
    "patients-pattern",
    "layout",
    "reader-note",
    "no-answer",
    "few-cases",
    "text",
    "marks",
    "acquisition",
    "label-error",
    "quality-noise",
    "quality-sharpness",
    "quality-ghosting",
    "quality-bias",
    "quality-exposure",
    "quality-clipping",
    "quality-coverage",
    "signal-flat",
    "signal-gaps",
    "signal-clipped",
    "signal-unlike",
    "table-rows",
    "table-first-row",
    "table-no-number",
    "table-marks",
    "table-suspect",
    "table-empty",
    "table-outlier",
    "table-source",
    "plan",
]
CODES: tuple[Code, ...] = get_args(Code)
"""Every code, in the order in which a page shows them within one severity."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Box(_Frozen):
    """A place in an image: ``start`` to ``stop`` (exclusive), 0-based voxel indices along the axes of the file.

    ``channel`` is the name of the image in the record, or "mask".
    """

    channel: str
    start: tuple[int, ...]
    stop: tuple[int, ...]


class Problem(_Frozen):
    """``error``: cases are refused or figures would be untrue. ``warning``: figures will be weak. ``note``: fine.

    Args:
        severity: how bad.
        what: a sentence for a person, without a full stop.
        code: the same for a program; it stays when words change.
        cases: the names of the cases concerned, the worst first where they can be ranked.
        remedy: what to do; "" when nothing need be done.
        details: says more about single cases, by name.
        boxes: where in the image, by case.
        groups: which of ``cases`` belong together (copies of one another, images of one patient).
        leave_out: those of ``cases`` that a cleaned manifest goes without; the others need a person's decision or
            are fine. Of copies on both sides of a split it is those in training.
        figures: what was measured on the set as a whole, such as an AUC with its limits ("auc", "low", "high").
        scores: what was measured on single cases, by name; higher is worse.
    """

    severity: Severity
    what: str
    code: Code
    cases: tuple[str, ...] = ()
    remedy: str = ""
    details: dict[str, str] = {}
    boxes: dict[str, tuple[Box, ...]] = {}
    groups: tuple[tuple[str, ...], ...] = ()
    leave_out: tuple[str, ...] = ()
    figures: dict[str, float] = {}
    scores: dict[str, float] = {}


def counted(number: int) -> str:
    """``"1 case"``, ``"3 cases"``."""
    return f"{number} case{'' if number == 1 else 's'}"
