"""``Answers``: what was true and what was predicted, checked once, in the form that metrics compute on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.errors import UsageError
from osler.studies.geometry import Array

__all__ = ["Answers", "NumberAnswers", "class_answers", "grade_answers", "number_answers", "several_answers"]


@dataclass(frozen=True)
class Answers:
    """N cases with L labels, each label seen against the rest.

    Args:
        positive: (N, L) bool, whether the label is true.
        flagged: (N, L) bool, whether the model says so.
        known: (N, L) bool, whether the truth is known; where it is not, the case does not count for that label.
        scores: (N, L), probabilities.
        truth: (N,) index of the true class or grade; None for several labels.
        predicted: (N,) index of the predicted class or grade; None for several labels.
        positive_label: index of the label whose figures are the headline (two classes only).
    """

    positive: Array
    flagged: Array
    known: Array
    scores: Array
    truth: Array | None = None
    predicted: Array | None = None
    positive_label: int | None = None

    def __len__(self) -> int:
        return int(self.positive.shape[0])

    @property
    def labels(self) -> int:
        """L."""
        return int(self.positive.shape[1])

    @property
    def indices(self) -> tuple[Array, Array]:
        """(N,) true and (N,) predicted index of the class or grade.

        Raises:
            UsageError: for several labels, which have no such index.
        """
        if self.truth is None or self.predicted is None:
            raise UsageError("several labels at once have no one index", remedy="use a metric for several labels")
        return self.truth, self.predicted

    def only(self, label: int) -> Answers:
        """The same with one label seen against the rest, and no other."""
        one = slice(label, label + 1)
        return Answers(self.positive[:, one], self.flagged[:, one], self.known[:, one], self.scores[:, one])

    def take(self, cases: Array) -> Answers:
        """The same for some of the cases.

        Args:
            cases: (M,) indices or (N,) bool.
        """
        return Answers(
            self.positive[cases],
            self.flagged[cases],
            self.known[cases],
            self.scores[cases],
            None if self.truth is None else self.truth[cases],
            None if self.predicted is None else self.predicted[cases],
            self.positive_label,
        )


@dataclass(frozen=True)
class NumberAnswers:
    """``truth`` (N,) and ``prediction`` (N,), in the unit of the answer; ``half_width`` of the prediction interval."""

    truth: Array
    prediction: Array
    half_width: float | None = None

    def __len__(self) -> int:
        return int(self.truth.shape[0])

    def take(self, cases: Array) -> NumberAnswers:
        """The same for some of the cases, (M,) indices or (N,) bool."""
        return NumberAnswers(self.truth[cases], self.prediction[cases], self.half_width)


def class_answers(truth: Array, probabilities: Array, *, positive: int | None = -1) -> Answers:
    """Exactly one of L classes. The prediction is the most probable class (the first one on a tie).

    Args:
        truth: (N,) class indices.
        probabilities: (N, L).
        positive: which class is the positive one where there are two; it is ignored where there are more.

    Raises:
        UsageError: on NaN, shapes that do not fit, or an index that is no class.
    """
    scores, index = _indexed(truth, probabilities)
    predicted = scores.argmax(axis=1)
    positive_label = None if positive is None or scores.shape[1] != 2 else positive % 2
    return _one_of(index, predicted, scores, positive_label)


def grade_answers(truth: Array, probabilities: Array) -> Answers:
    """One of L ascending grades. The prediction is the median grade: the lowest one at which the cumulative probability
    reaches one half, which is also how many of the questions "higher than this grade?" are answered with yes.

    Args:
        truth: (N,) grade indices.
        probabilities: (N, L), of each grade.

    Raises:
        UsageError: on NaN, shapes that do not fit, or an index that is no grade.
    """
    scores, index = _indexed(truth, probabilities)
    cumulative = scores.cumsum(axis=1)
    predicted = (cumulative[:, :-1] < 0.5 * cumulative[:, -1:] - 1e-9).sum(axis=1)
    return _one_of(index, predicted, scores, None)


def several_answers(truth: Array, probabilities: Array, *, threshold: float = 0.5) -> Answers:
    """Any subset of L labels. A label is flagged from ``threshold`` upwards.

    Args:
        truth: (N, L) of 0 and 1; NaN where not known.
        probabilities: (N, L).
        threshold: 0 to 1.

    Raises:
        UsageError: on NaN in the probabilities, shapes that do not fit, or a truth other than 0, 1 and NaN.
    """
    scores = _probabilities(probabilities)
    answers = np.asarray(truth, float)
    if answers.shape != scores.shape:
        raise UsageError(
            f"truth {answers.shape} and probabilities {scores.shape} must have one shape",
            remedy="give one row per case",
        )
    known = ~np.isnan(answers)
    if not np.isin(answers[known], (0.0, 1.0)).all():
        raise UsageError("the truth of several labels must be 0, 1 or NaN", remedy="give NaN where it is not known")
    return Answers(answers == 1, scores >= threshold, known, scores)


def number_answers(truth: Array, prediction: Array, *, half_width: float | None = None) -> NumberAnswers:
    """Real numbers.

    Args:
        truth: (N,).
        prediction: (N,), same unit.
        half_width: of the 95 % prediction interval around each prediction, same unit.

    Raises:
        UsageError: on NaN, infinity, no case at all, or shapes that do not fit.
    """
    true, predicted = np.asarray(truth, float), np.asarray(prediction, float)
    if true.ndim != 1 or true.shape != predicted.shape or not len(true):
        raise UsageError(
            f"truth {true.shape} and prediction {predicted.shape} must both be (cases,)",
            remedy="give one number per case",
        )
    _finite(true, "the truth")
    _finite(predicted, "the prediction")
    return NumberAnswers(true, predicted, half_width)


def _one_of(truth: Array, predicted: Array, scores: Array, positive_label: int | None) -> Answers:
    each = np.arange(scores.shape[1])
    positive, flagged = truth[:, None] == each, predicted[:, None] == each  # (N, L)
    return Answers(positive, flagged, np.ones_like(positive), scores, truth, predicted, positive_label)


def _indexed(truth: Array, probabilities: Array) -> tuple[Array, Array]:
    scores = _probabilities(probabilities)
    raw = np.asarray(truth)
    if raw.shape != scores.shape[:1]:
        raise UsageError(
            f"truth {raw.shape} must have one entry per row of the probabilities {scores.shape}",
            remedy="give one answer per case",
        )
    _finite(np.asarray(raw, float), "the truth")
    index = raw.astype(np.int64)
    if (index != raw).any() or index.min() < 0 or index.max() >= scores.shape[1]:
        raise UsageError(
            f"the truth holds an index that is none of the {scores.shape[1]} labels", remedy="count labels from 0"
        )
    return scores, index


def _probabilities(probabilities: Array) -> Array:
    scores = np.asarray(probabilities, float)
    if scores.ndim != 2 or not scores.size:
        raise UsageError(f"probabilities must be (cases, labels), not {scores.shape}", remedy="give one row per case")
    _finite(scores, "the probabilities")
    if scores.min() < -1e-6 or scores.max() > 1 + 1e-6:
        raise UsageError(
            f"probabilities must lie between 0 and 1, not between {scores.min():.3g} and {scores.max():.3g}",
            remedy="apply softmax or sigmoid first",
        )
    return scores


def _finite(values: Array, what: str) -> None:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise UsageError(f"{what} must be finite, and {bad} of {values.size} values are not", remedy="repair the model")
