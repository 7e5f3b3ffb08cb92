"""Figures of ascending grades, in which a near miss is better than a far one."""

from __future__ import annotations

import numpy as np

from osler.metrics.answers import Answers
from osler.metrics.base import CaseMetric
from osler.metrics.classification import confusion_matrix
from osler.studies.geometry import Array

__all__ = ["GRADE_ERROR", "KAPPA", "WITHIN_ONE", "quadratic_kappa"]


def quadratic_kappa(confusion: Array) -> Array:
    """Cohen's kappa with quadratic weights.

    Args:
        confusion: (..., L, L), rows are the truth.

    Returns:
        (...): 1 is perfect, 0 what chance gives; NaN when truth and prediction both hold only one and the same grade.
    """
    matrix = np.asarray(confusion, float)
    grade = np.arange(matrix.shape[-1])
    weights = (grade[:, None] - grade[None, :]) ** 2
    expected = matrix.sum(axis=-1)[..., :, None] * matrix.sum(axis=-2)[..., None, :]
    total = matrix.sum(axis=(-1, -2))
    by_chance = (weights * expected).sum(axis=(-1, -2))
    observed = (weights * matrix).sum(axis=(-1, -2)) * total
    return np.asarray(1 - observed / np.where(by_chance > 0, by_chance, np.nan))


def _kappa(answers: Answers, counts: Array) -> Array:
    truth, predicted = answers.indices
    return quadratic_kappa(confusion_matrix(truth, predicted, answers.labels, counts))


def _grade_error(answers: Answers, counts: Array) -> Array:
    truth, predicted = answers.indices
    return np.asarray(counts @ np.abs(truth - predicted).astype(float) / counts.sum(axis=1))


def _within_one(answers: Answers, counts: Array) -> Array:
    truth, predicted = answers.indices
    return np.asarray(counts @ (np.abs(truth - predicted) <= 1).astype(float) / counts.sum(axis=1))


KAPPA = CaseMetric(
    name="kappa",
    title="Weighted kappa",
    definition=(
        "Agreement with the truth beyond chance (Cohen's kappa), where an error weighs as the square of the "
        "grades it is off: 1 is perfect, 0 is chance. Undefined where truth and prediction hold only one and the "
        "same grade."
    ),
    kinds=("grades",),
    better="higher",
    best=1.0,
    unit="score",
    function=_kappa,
)
GRADE_ERROR = CaseMetric(
    name="grade_error",
    title="Mean grade error",
    definition="Mean over the cases of how many grades the prediction is off.",
    kinds=("grades",),
    better="lower",
    best=0.0,
    unit="grades",
    function=_grade_error,
)
WITHIN_ONE = CaseMetric(
    name="within_one",
    title="Within one grade",
    definition="Share of the cases in which the prediction is off by one grade at most.",
    kinds=("grades",),
    better="higher",
    best=1.0,
    unit="fraction",
    function=_within_one,
)
