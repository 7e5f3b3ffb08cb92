"""Figures of decisions: accuracy, sensitivity, specificity, precision, F1, and the confusion matrix.

Decisions where a figure has nothing to count:
- sensitivity is undefined (NaN) without positive cases, specificity without negative ones;
- precision is 0 when the label occurs and is never flagged, and undefined when it neither occurs nor is flagged;
- F1 is 2·TP / (2·TP + FP + FN): 0 when nothing is found, undefined when the label neither occurs nor is flagged;
- balanced accuracy is the mean sensitivity over the classes that occur.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.metrics.answers import Answers
from osler.metrics.base import CaseMetric, LabelMetric, defined_mean
from osler.metrics.ranking import Curve, auc, average_precision, precision_recall_curve, roc_curve
from osler.studies.geometry import Array

__all__ = [
    "ACCURACY",
    "BALANCED_ACCURACY",
    "EXACT_MATCH",
    "F1",
    "PRECISION",
    "SENSITIVITY",
    "SPECIFICITY",
    "Curve",
    "Tally",
    "auc",
    "average_precision",
    "confusion_matrix",
    "precision_recall_curve",
    "roc_curve",
    "tally",
]


@dataclass(frozen=True)
class Tally:
    """True and false positives and negatives, each (B, L)."""

    true_positive: Array
    false_positive: Array
    false_negative: Array
    true_negative: Array


def tally(answers: Answers, counts: Array) -> Tally:
    """Count the four outcomes of each label.

    Args:
        answers: N cases, L labels.
        counts: (B, N), how often each case was drawn.
    """
    known, positive, flagged = answers.known, answers.positive, answers.flagged
    outcomes = [positive & flagged, ~positive & flagged, positive & ~flagged, ~positive & ~flagged]
    table = np.concatenate([o & known for o in outcomes], axis=1).astype(float)  # (N, 4 L)
    drawn = (counts @ table).reshape(len(counts), 4, answers.labels)
    return Tally(drawn[:, 0], drawn[:, 1], drawn[:, 2], drawn[:, 3])


def confusion_matrix(truth: Array, predicted: Array, labels: int, counts: Array | None = None) -> Array:
    """How often class i was taken for class j.

    Args:
        truth: (N,) indices.
        predicted: (N,) indices.
        labels: L.
        counts: (B, N), how often each case was drawn; None for once.

    Returns:
        (L, L), rows are the truth; (B, L, L) with ``counts``.
    """
    cell = np.asarray(truth) * labels + np.asarray(predicted)
    if counts is None:
        return np.bincount(cell, minlength=labels * labels).reshape(labels, labels)
    onehot = (cell[:, None] == np.arange(labels * labels)).astype(float)
    return np.asarray((counts @ onehot).reshape(len(counts), labels, labels))


def _ratio(part: Array, whole: Array) -> Array:
    return np.asarray(part / np.where(whole > 0, whole, np.nan))


def _with_label(answers: Answers) -> Array:
    return np.asarray(answers.known & answers.positive)


def _without_label(answers: Answers) -> Array:
    return np.asarray(answers.known & ~answers.positive)


def _flagged(answers: Answers) -> Array:
    return np.asarray(answers.known & answers.flagged)


def _sensitivity(answers: Answers, counts: Array) -> Array:
    t = tally(answers, counts)
    return _ratio(t.true_positive, t.true_positive + t.false_negative)


def _specificity(answers: Answers, counts: Array) -> Array:
    t = tally(answers, counts)
    return _ratio(t.true_negative, t.true_negative + t.false_positive)


def _precision(answers: Answers, counts: Array) -> Array:
    t = tally(answers, counts)
    never_flagged = (t.true_positive + t.false_positive == 0) & (t.false_negative > 0)
    return np.where(never_flagged, 0.0, _ratio(t.true_positive, t.true_positive + t.false_positive))


def _f1(answers: Answers, counts: Array) -> Array:
    t = tally(answers, counts)
    return _ratio(2 * t.true_positive, 2 * t.true_positive + t.false_positive + t.false_negative)


def _accuracy(answers: Answers, counts: Array) -> Array:
    """(B,): for one class or grade the share of cases that got the right one; for several, the mean over labels."""
    if answers.truth is not None:
        return _ratio(counts @ (answers.truth == answers.predicted).astype(float), counts.sum(axis=1))
    t = tally(answers, counts)
    right = t.true_positive + t.true_negative
    return defined_mean(_ratio(right, right + t.false_positive + t.false_negative))


def _balanced_accuracy(answers: Answers, counts: Array) -> Array:
    sensitivity = _sensitivity(answers, counts)
    if answers.truth is not None:
        return defined_mean(sensitivity)
    return defined_mean((sensitivity + _specificity(answers, counts)) / 2)


def _exact_match(answers: Answers, counts: Array) -> Array:
    """(B,): the share of cases all of whose known labels are right; cases without a known label do not count."""
    counted = answers.known.any(axis=1)
    right = ((answers.positive == answers.flagged) | ~answers.known).all(axis=1) & counted
    return _ratio(counts @ right.astype(float), counts @ counted.astype(float))


ACCURACY = CaseMetric(
    name="accuracy",
    title="Accuracy",
    definition=(
        "Share of the cases that got the right answer (with several labels at once: the mean over the labels). It"
        " flatters a model where one answer is much more common than the others."
    ),
    kinds=("classes", "several", "grades"),
    better="higher",
    best=1.0,
    unit="fraction",
    function=_accuracy,
)
BALANCED_ACCURACY = CaseMetric(
    name="balanced_accuracy",
    title="Balanced accuracy",
    definition=(
        "Mean over the classes that occur of the share of their cases that got the right answer, so that a rare "
        "class counts as much as a common one (with several labels at once: the mean of sensitivity and "
        "specificity)."
    ),
    kinds=("classes", "several", "grades"),
    better="higher",
    best=1.0,
    unit="fraction",
    function=_balanced_accuracy,
)
EXACT_MATCH = CaseMetric(
    name="exact_match",
    title="All labels right",
    definition="Share of the cases in which every known label is right at once.",
    kinds=("several",),
    better="higher",
    best=1.0,
    unit="fraction",
    function=_exact_match,
)
SENSITIVITY = LabelMetric(
    name="sensitivity",
    title="Sensitivity",
    definition=(
        "Of the cases that have the label, the share that the model flags (also called recall). With more than "
        "two labels the headline is the mean over the labels. Undefined where no case has the label."
    ),
    kinds=("classes", "several", "grades"),
    better="higher",
    best=1.0,
    unit="fraction",
    function=_sensitivity,
    counted=_with_label,
)
SPECIFICITY = LabelMetric(
    name="specificity",
    title="Specificity",
    definition=(
        "Of the cases that do not have the label, the share that the model does not flag. Undefined where every "
        "case has the label."
    ),
    kinds=("classes", "several", "grades"),
    better="higher",
    best=1.0,
    unit="fraction",
    function=_specificity,
    counted=_without_label,
)
PRECISION = LabelMetric(
    name="precision",
    title="Precision",
    definition=(
        "Of the cases that the model flags, the share that has the label (positive predictive value). It depends "
        "on how common the label is in these data. 0 where the label occurs and is never flagged; undefined where"
        " it neither occurs nor is flagged."
    ),
    kinds=("classes", "several", "grades"),
    better="higher",
    best=1.0,
    unit="fraction",
    function=_precision,
    counted=_flagged,
)
F1 = LabelMetric(
    name="f1",
    title="F1",
    definition=(
        "Harmonic mean of sensitivity and precision: 2·TP / (2·TP + FP + FN). Undefined where the label neither "
        "occurs nor is flagged."
    ),
    kinds=("classes", "several", "grades"),
    better="higher",
    best=1.0,
    unit="score",
    function=_f1,
)
