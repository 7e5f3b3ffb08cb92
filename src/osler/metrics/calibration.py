"""Whether probabilities mean what they say, and how to make them do so.

Expected calibration error (ECE): cases are put into bins of equal width by probability; ECE is the mean over the bins,
weighted by their cases, of |mean probability − share that was right|. A bin holds (low, high], the first one 0 too.

- *top label* (one class or grade): the probability of the predicted one, against whether it was right (Guo 2017);
- *per label*: the probability of the label, against whether the case has it; for several labels the headline is the
  mean over these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from osler.errors import UsageError
from osler.metrics.answers import Answers
from osler.metrics.base import LabelMetric
from osler.studies.geometry import Array

__all__ = [
    "BINS",
    "BRIER",
    "ECE",
    "CalibrationTally",
    "ReliabilityBin",
    "expected_calibration_error",
    "fit_interval_half_width",
    "fit_temperature",
    "fit_temperature_sigmoid",
    "reliability_table",
]

BINS = 10
_LOG_TEMPERATURE = (math.log(0.05), math.log(20.0))


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin: ``cases`` with a probability in (low, high], their mean probability and the share that was right.

    ``probability`` and ``observed`` are NaN in an empty bin.
    """

    low: float
    high: float
    cases: int
    probability: float
    observed: float


def reliability_table(probability: Array, right: Array, *, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """What a reliability diagram shows.

    Args:
        probability: (N,), 0 to 1.
        right: (N,) of 0 and 1, whether what was predicted came true.
        bins: how many bins of equal width.
    """
    number, predicted, observed = (row[0] for row in _bin_sums(probability, right, np.ones((1, len(right))), bins))
    edges = np.linspace(0, 1, bins + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = zip(edges[:-1], edges[1:], number, predicted / number, observed / number, strict=True)
    return tuple(ReliabilityBin(float(a), float(b), int(n), float(p), float(o)) for a, b, n, p, o in rows)


def expected_calibration_error(probability: Array, right: Array, *, bins: int = BINS) -> float:
    """ECE of (N,) probabilities against (N,) outcomes of 0 and 1; 0 to 1, NaN without cases."""
    return float(_ece(np.asarray(probability, float), np.asarray(right), np.ones((1, len(right))), bins)[0])


class CalibrationTally:
    """``expected_calibration_error`` of cases or voxels that come in parts, none of which is kept."""

    def __init__(self, *, bins: int = BINS) -> None:
        self._sums = np.zeros((3, bins))  # number, sum of probabilities, sum of outcomes

    def add(self, probability: Array, right: Array) -> None:
        """(N,) probabilities and (N,) outcomes of 0 and 1."""
        bins = self._sums.shape[1]
        index = _bin_of(probability, bins)
        weights = (np.ones(len(index)), np.asarray(probability, float), np.asarray(right, float))
        self._sums += [np.bincount(index, weights=weight, minlength=bins) for weight in weights]

    def value(self) -> float:
        """0 to 1; NaN when nothing was added."""
        number, predicted, observed = self._sums
        return float(np.abs(predicted - observed).sum() / number.sum()) if number.any() else math.nan


def fit_temperature(logits: Array, targets: Array) -> float:
    """The temperature T for which ``softmax(logits / T)`` gives the targets the highest likelihood.

    One imaginary case with evenly spread answers is added, so that T stays away from 0 when every case was right.

    Args:
        logits: (N, L).
        targets: (N,) class indices.

    Returns:
        0.05 to 20.

    Raises:
        UsageError: on NaN, no case, or shapes that do not fit.
    """
    scores, index = _checked_logits(logits), np.asarray(targets)
    if index.shape != scores.shape[:1]:
        raise UsageError(
            f"targets {index.shape} must have one entry per row of logits {scores.shape}", remedy="check both"
        )
    onehot = (index[:, None] == np.arange(scores.shape[1])).astype(float)
    soft = (len(scores) * onehot + 1 / scores.shape[1]) / (len(scores) + 1)

    def loss(log_temperature: float) -> float:
        scaled = scores / math.exp(log_temperature)
        top = scaled.max(axis=1, keepdims=True)
        log_total = top + np.log(np.exp(scaled - top).sum(axis=1, keepdims=True))
        return float(((log_total - scaled) * soft).sum())

    return _minimise(loss)


def fit_temperature_sigmoid(logits: Array, targets: Array) -> float:
    """The temperature T for which ``sigmoid(logits / T)`` gives the targets the highest likelihood; one for all labels.

    Args:
        logits: (N, L), or (N,) for one label.
        targets: the same shape, of 0 and 1; NaN where not known.

    Returns:
        0.05 to 20; 1 when no target is known.

    Raises:
        UsageError: on NaN in the logits, no case, or shapes that do not fit.
    """
    truth = np.asarray(targets, float)
    scores = _checked_logits(np.asarray(logits, float).reshape(len(truth), -1)).reshape(np.shape(logits))
    if truth.shape != scores.shape:
        raise UsageError(f"targets {truth.shape} and logits {scores.shape} must have one shape", remedy="check both")
    known = ~np.isnan(truth)
    if not known.any():
        return 1.0
    signed, number = scores[known], int(known.sum())
    soft = (number * truth[known] + 0.5) / (number + 1)

    def loss(log_temperature: float) -> float:
        scaled = signed / math.exp(log_temperature)
        return float((np.logaddexp(0, scaled) - soft * scaled).sum())

    return _minimise(loss)


def fit_interval_half_width(targets: Array, predictions: Array, *, coverage: float = 0.95) -> float | None:
    """Half-width of the range around a prediction that holds the truth with the given probability (split conformal).

    Args:
        targets: (N,) of cases that training did not see.
        predictions: (N,), same unit.
        coverage: 0 to 1.

    Returns:
        The ⌈(N + 1) · coverage⌉-th smallest absolute error, same unit; None when there are too few cases to tell (fewer
        than 19 for 95 %).

    Raises:
        UsageError: when a value is not finite.
    """
    errors = np.sort(np.abs(np.asarray(targets, float) - np.asarray(predictions, float)))
    if not np.isfinite(errors).all():
        raise UsageError("targets and predictions must be finite", remedy="leave out cases without an answer")
    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    return float(errors[rank - 1]) if rank <= len(errors) else None


def _checked_logits(logits: Array) -> Array:
    scores = np.asarray(logits, float)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise UsageError(f"logits {scores.shape} must be finite and (cases, labels)", remedy="repair the model")
    return scores


def _minimise(loss: Callable[[float], float]) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURE, method="bounded", options={"xatol": 1e-5})
    return float(math.exp(found.x))


def _bin_of(probability: Array, bins: int) -> Array:
    """(N,) index of the bin (low, high] that each falls into."""
    return np.asarray(np.clip(np.ceil(np.asarray(probability, float) * bins).astype(np.int64) - 1, 0, bins - 1))


def _bin_sums(probability: Array, right: Array, counts: Array, bins: int) -> tuple[Array, Array, Array]:
    """(B, bins): cases, sum of probabilities, sum of outcomes."""
    index = _bin_of(probability, bins)
    member = (index[:, None] == np.arange(bins)).astype(float)  # (N, bins)
    return counts @ member, counts @ (member * probability[:, None]), counts @ (member * np.asarray(right)[:, None])


def _ece(probability: Array, right: Array, counts: Array, bins: int) -> Array:
    number, predicted, observed = _bin_sums(probability, right, counts, bins)
    total = number.sum(axis=1)
    return np.asarray(np.abs(predicted - observed).sum(axis=1) / np.where(total > 0, total, np.nan))


def _top_label_ece(answers: Answers, counts: Array) -> Array:
    truth, predicted = answers.indices
    return _ece(answers.scores[np.arange(len(answers)), predicted], truth == predicted, counts, BINS)


def _label_ece(answers: Answers, counts: Array) -> Array:
    columns = zip(answers.scores.T, answers.positive.T, answers.known.T, strict=True)
    return np.stack([_ece(s[k], p[k], counts[:, k], BINS) for s, p, k in columns], axis=1)


def _brier(answers: Answers, counts: Array) -> Array:
    """(B,): half of the squared distance between the probabilities and the truth, so that two classes give (p − y)²."""
    per_case = ((answers.scores - answers.positive) ** 2).sum(axis=1) / 2
    return np.asarray(counts @ per_case / counts.sum(axis=1))


def _label_brier(answers: Answers, counts: Array) -> Array:
    squared = (answers.scores - answers.positive) ** 2 * answers.known
    number = counts @ answers.known.astype(float)
    return np.asarray(counts @ squared / np.where(number > 0, number, np.nan))


ECE = LabelMetric(
    name="ece",
    title="Calibration error",
    definition=(
        "Expected calibration error: how far stated probabilities are from what happened, on average over ten "
        "groups of cases of similar probability. Of answers given with 80 % confidence, 80 % should be right. The"
        " headline looks at the answer that the model gives (with several labels at once: the mean over the "
        "labels); the figures by label look at the label's own probability. With few cases it is too high by "
        "chance."
    ),
    kinds=("classes", "several", "grades"),
    better="lower",
    best=0.0,
    unit="score",
    function=_label_ece,
    overall=_top_label_ece,
)
BRIER = LabelMetric(
    name="brier",
    title="Brier score",
    definition=(
        "Mean squared distance between probabilities and the truth, 0 to 1 (halved over the classes, so that two "
        "classes give the usual figure; with several labels at once the mean over the labels). It rewards right, "
        "confident and calibrated answers together."
    ),
    kinds=("classes", "several", "grades"),
    better="lower",
    best=0.0,
    unit="score",
    function=_label_brier,
    overall=_brier,
)
