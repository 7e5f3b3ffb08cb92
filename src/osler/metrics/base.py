"""``Metric``: what turns answers and predictions into one figure, and how to say it to a reader.

The story of a metric's lifetime: it is made once, at import, as one of the four forms below, and put on the list in
``osler.metrics``. Evaluation asks ``metrics_for(kind)`` for those that fit the task, calls ``compute`` once with
every case counted once, and once more with a thousand rows of counts, one per bootstrap resample. Between the calls
nothing is kept. The page prints ``title`` and, at its end, ``definition``. Every metric passes the conformance tests in
``tests/metrics/test_metric_conformance.py``.

- ``CaseMetric``: one figure of all cases (accuracy, kappa, mean absolute error).
- ``LabelMetric``: one figure per label, each against the rest. The headline is that of the positive label where there
  are two classes, else the mean over the labels in which it is defined, unless ``overall`` says otherwise.
- ``NumberMetric``: one figure of all cases of a regression.
- ``MaskMetric``: one figure per label of one case; the headline is the mean over the cases in which it is defined.

An undefined figure is NaN (the area under the ROC curve without a positive case, Dice of two empty masks). It is left
out of means and counted; it is never replaced by 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.errors import UsageError
from osler.metrics.answers import Answers, NumberAnswers
from osler.metrics.masks import MaskPair
from osler.studies.geometry import Array

__all__ = [
    "Better",
    "CaseMetric",
    "Kind",
    "LabelMetric",
    "MaskMetric",
    "Metric",
    "NumberMetric",
    "Unit",
    "defined_mean",
]

Kind = Literal["classes", "several", "grades", "number", "mask"]
Better = Literal["higher", "lower", "zero"]
Unit = Literal["fraction", "score", "answer", "answer2", "distance", "size", "percent", "grades"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What all metrics have.

    Args:
        name: the key in ``metrics.json``.
        title: two or three words for a table.
        definition: one or two sentences for a reader who is no statistician, with the undefined case.
        kinds: the kinds of answer that it is for.
        better: which direction is good; "zero" for signed errors.
        best: the value of a perfect prediction.
        unit: how to print it. "fraction" is 0 to 1 and printed as a percentage, "score" is a bare number, "answer" has
            the unit of the answer (regression) and "answer2" its square, "distance" is mm or pixels, "size" mm³, mm²,
            voxels or pixels, "percent" is in percent already, "grades" counts grades.
    """

    name: str
    title: str
    definition: str
    kinds: tuple[Kind, ...]
    better: Better
    best: float
    unit: Unit


def _known(answers: Answers) -> Array:
    return answers.known


@dataclass(frozen=True, kw_only=True)
class CaseMetric(Metric):
    """``function(answers, counts (B, N)) -> (B,)``."""

    function: Callable[[Answers, Array], Array]

    def compute(self, answers: Answers, counts: Array | None = None) -> Array:
        """The figure of each resample.

        Args:
            answers: N cases.
            counts: (B, N), how often each case was drawn; None for every case once.

        Returns:
            (B,), NaN where undefined.

        Raises:
            UsageError: when the counts do not fit the cases.
        """
        return self.function(answers, _checked(counts, len(answers)))


@dataclass(frozen=True, kw_only=True)
class LabelMetric(Metric):
    """``function(answers, counts (B, N)) -> (B, L)``, each label against the rest.

    ``overall(answers, counts) -> (B,)`` gives the headline of classes and grades where it is not made of the labels'
    own figures. ``counted(answers) -> (N, L)`` says which cases are in the figure's denominator.
    """

    function: Callable[[Answers, Array], Array]
    overall: Callable[[Answers, Array], Array] | None = None
    counted: Callable[[Answers], Array] = _known

    def compute_labels(self, answers: Answers, counts: Array | None = None) -> Array:
        """(B, L): the figure of each label, NaN where undefined.

        Raises:
            UsageError: when the counts do not fit the cases.
        """
        return self.function(answers, _checked(counts, len(answers)))

    def compute(self, answers: Answers, counts: Array | None = None) -> Array:
        """(B,): the headline.

        Raises:
            UsageError: when the counts do not fit the cases.
        """
        if self.overall is not None and answers.truth is not None:
            return self.overall(answers, _checked(counts, len(answers)))
        per_label = self.compute_labels(answers, counts)
        if answers.positive_label is not None:
            return np.asarray(per_label[:, answers.positive_label])
        return defined_mean(per_label)


@dataclass(frozen=True, kw_only=True)
class NumberMetric(Metric):
    """``function(answers, counts (B, N)) -> (B,)`` for numbers."""

    function: Callable[[NumberAnswers, Array], Array]

    def compute(self, answers: NumberAnswers, counts: Array | None = None) -> Array:
        """(B,): the figure of each resample.

        Raises:
            UsageError: when the counts do not fit the cases.
        """
        return self.function(answers, _checked(counts, len(answers)))


@dataclass(frozen=True, kw_only=True)
class MaskMetric(Metric):
    """``function(pair) -> float`` for one label of one case, NaN where undefined."""

    function: Callable[[MaskPair], float]

    def compute(self, pair: MaskPair) -> float:
        """The figure of one pair of masks."""
        return float(self.function(pair))


def defined_mean(values: Array) -> Array:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(axis=-1)
    return np.asarray(total / np.where(defined.any(axis=-1), defined.sum(axis=-1), np.nan))


def _checked(counts: Array | None, cases: int) -> Array:
    if counts is None:
        return np.ones((1, cases))
    if counts.ndim != 2 or counts.shape[1] != cases:
        raise UsageError(f"counts must be (resamples, {cases}), not {counts.shape}", remedy="give one column per case")
    return np.asarray(counts, float)
