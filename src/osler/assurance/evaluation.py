"""The way into evaluation: one function per kind of answer, all giving an ``Evaluation``."""

from __future__ import annotations

from osler.assurance.classes import evaluate_classes, evaluate_grades, evaluate_several
from osler.assurance.masks import DEFAULT_TOLERANCE, CaseScores, LabelScores, evaluate_masks, score_mask
from osler.assurance.numbers import evaluate_numbers
from osler.assurance.results import NOT_A_MEDICAL_DEVICE, CaseRow, Evaluation, Figure, PatientRow

__all__ = [
    "DEFAULT_TOLERANCE",
    "NOT_A_MEDICAL_DEVICE",
    "CaseRow",
    "CaseScores",
    "Evaluation",
    "Figure",
    "LabelScores",
    "PatientRow",
    "evaluate_classes",
    "evaluate_grades",
    "evaluate_masks",
    "evaluate_numbers",
    "evaluate_several",
    "score_mask",
]
