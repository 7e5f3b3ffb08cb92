"""How well scores rank positives above negatives: ROC and precision-recall curves and the areas under them.

Everything is computed from two rows of counts: how many positives and how many negatives have each distinct score, from
the highest score to the lowest. Cases of one score are passed together, so ties get half the credit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.errors import UsageError
from osler.metrics.answers import Answers
from osler.metrics.base import CaseMetric, LabelMetric, defined_mean
from osler.studies.geometry import Array

__all__ = [
    "AUC",
    "AVERAGE_PRECISION",
    "GRADE_AUC",
    "Curve",
    "auc",
    "average_precision",
    "precision_recall_curve",
    "roc_curve",
]


@dataclass(frozen=True)
class Curve:
    """Points ``x`` and ``y``, and the score from which on a case is flagged at each point; each (K,)."""

    x: Array
    y: Array
    threshold: Array


def auc(truth: Array, scores: Array) -> float:
    """Area under the ROC curve: the chance that a positive case scores higher than a negative one.

    Args:
        truth: (N,) of 0 and 1.
        scores: (N,), any scale.

    Returns:
        0 to 1; NaN when one of the two is missing.

    Raises:
        UsageError: on NaN or shapes that do not fit.
    """
    positives, negatives, _ = _tally(*_checked(truth, scores))
    return float(_area(positives[None], negatives[None])[0])


def average_precision(truth: Array, scores: Array) -> float:
    """Average precision: the mean of the precision at each positive, weighted by the rise of recall; no interpolation.

    Args:
        truth: (N,) of 0 and 1.
        scores: (N,), any scale.

    Returns:
        0 to 1; NaN without positives.

    Raises:
        UsageError: on NaN or shapes that do not fit.
    """
    positives, negatives, _ = _tally(*_checked(truth, scores))
    return float(_average_precision(positives[None], negatives[None])[0])


def roc_curve(truth: Array, scores: Array) -> Curve:
    """x: 1 − specificity, y: sensitivity, from (0, 0) to (1, 1). NaN where a class is missing.

    Raises:
        UsageError: on NaN or shapes that do not fit.
    """
    positives, negatives, threshold = _tally(*_checked(truth, scores))
    x = np.concatenate([[0.0], _ratio(negatives.cumsum(), negatives.sum())])
    y = np.concatenate([[0.0], _ratio(positives.cumsum(), positives.sum())])
    return Curve(x, y, np.concatenate([[np.inf], threshold]))


def precision_recall_curve(truth: Array, scores: Array) -> Curve:
    """x: recall (sensitivity), y: precision, from the highest threshold to the lowest.

    Raises:
        UsageError: on NaN or shapes that do not fit.
    """
    positives, negatives, threshold = _tally(*_checked(truth, scores))
    found, flagged = positives.cumsum(), (positives + negatives).cumsum()
    return Curve(_ratio(found, positives.sum()), found / flagged, threshold)


def _checked(truth: Array, scores: Array) -> tuple[Array, Array]:
    true, score = np.asarray(truth), np.asarray(scores, float)
    if true.ndim != 1 or true.shape != score.shape or not len(true):
        raise UsageError(
            f"truth {true.shape} and scores {score.shape} must both be (cases,)", remedy="give one per case"
        )
    if np.isnan(score).any() or not np.isin(true, (0, 1)).all():
        raise UsageError("truth must be 0 or 1 and scores must not be NaN", remedy="leave such cases out")
    return true.astype(bool), score


def _tally(truth: Array, scores: Array) -> tuple[Array, Array, Array]:
    """Positives and negatives at each distinct score, highest first, and the scores; each (K,)."""
    distinct, inverse = np.unique(-scores, return_inverse=True)
    everything = np.bincount(inverse, minlength=len(distinct))
    positives = np.bincount(inverse[truth], minlength=len(distinct))
    return positives.astype(float), (everything - positives).astype(float), -distinct


def _ratio(part: Array, whole: Array) -> Array:
    return np.asarray(part / np.where(whole > 0, whole, np.nan))


def _area(positives: Array, negatives: Array) -> Array:
    """(B,) from counts (B, K): each negative is beaten by the positives above it and by half of those beside it."""
    above = positives.cumsum(axis=1) - 0.5 * positives
    return _ratio((above * negatives).sum(axis=1), positives.sum(axis=1) * negatives.sum(axis=1))


def _average_precision(positives: Array, negatives: Array) -> Array:
    """(B,) from counts (B, K)."""
    found = positives.cumsum(axis=1)
    precision = found / np.maximum((positives + negatives).cumsum(axis=1), 1.0)
    return _ratio((precision * positives).sum(axis=1), positives.sum(axis=1))


def _resampled_tally(positive: Array, known: Array, scores: Array, counts: Array) -> tuple[Array, Array]:
    """Counts (B, K) of positives and negatives at each distinct score (N,) when case n is drawn counts[b, n] times."""
    order = np.argsort(-scores[known], kind="stable")
    cases = np.flatnonzero(known)[order]
    if not len(cases):
        return np.zeros((len(counts), 1)), np.zeros((len(counts), 1))
    starts = np.flatnonzero(np.diff(scores[cases], prepend=np.inf) != 0)
    drawn = counts[:, cases]
    positives = np.add.reduceat(drawn * positive[cases], starts, axis=1)
    return positives, np.add.reduceat(drawn, starts, axis=1) - positives


def _auc_per_label(answers: Answers, counts: Array) -> Array:
    columns = zip(answers.positive.T, answers.known.T, answers.scores.T, strict=True)
    return np.stack([_area(*_resampled_tally(p, k, s, counts)) for p, k, s in columns], axis=1)


def _average_precision_per_label(answers: Answers, counts: Array) -> Array:
    columns = zip(answers.positive.T, answers.known.T, answers.scores.T, strict=True)
    return np.stack([_average_precision(*_resampled_tally(p, k, s, counts)) for p, k, s in columns], axis=1)


def _auc_of_cutoffs(answers: Answers, counts: Array) -> Array:
    """(B,): mean over the cut-offs k of the AUC of "higher than grade k", scored by its probability."""
    truth, _ = answers.indices
    higher = answers.scores[:, ::-1].cumsum(axis=1)[:, ::-1]  # (N, L): P(grade >= k)
    everyone = np.ones(len(answers), bool)
    areas = [
        _area(*_resampled_tally(truth >= k, everyone, higher[:, k].round(12), counts)) for k in range(1, answers.labels)
    ]
    return defined_mean(np.stack(areas, axis=1))


AUC = LabelMetric(
    name="auc",
    title="AUC",
    definition=(
        "Area under the ROC curve: the chance that the model gives a randomly drawn case with the label a higher "
        "probability than one without it. 0.5 is chance, 1 is perfect. Each label against the rest; with more "
        "than two labels the mean over the labels. Undefined where all or none of the cases have the label."
    ),
    kinds=("classes", "several"),
    better="higher",
    best=1.0,
    unit="score",
    function=_auc_per_label,
)
AVERAGE_PRECISION = LabelMetric(
    name="average_precision",
    title="Average precision",
    definition=(
        "Area under the precision-recall curve (without interpolation): how clean the list of flagged cases stays"
        " as more of those with the label are found. Chance is the label's share of the cases. Undefined without "
        "a case that has the label."
    ),
    kinds=("classes", "several"),
    better="higher",
    best=1.0,
    unit="score",
    function=_average_precision_per_label,
)
GRADE_AUC = CaseMetric(
    name="auc",
    title="AUC of cut-offs",
    definition=(
        "Mean over the cut-offs between neighbouring grades of the area under the ROC curve of “higher than this "
        "grade”."
    ),
    kinds=("grades",),
    better="higher",
    best=1.0,
    unit="score",
    function=_auc_of_cutoffs,
)
