"""Figures of predicted numbers. Errors are prediction minus truth."""

from __future__ import annotations

import numpy as np

from osler.metrics.answers import NumberAnswers
from osler.metrics.base import NumberMetric
from osler.studies.geometry import Array

__all__ = ["BIAS", "COVERAGE", "LIMIT_HIGH", "LIMIT_LOW", "MAE", "MSE", "R2", "RMSE", "limits_of_agreement"]

_NORMAL_95 = 1.959963984540054


def limits_of_agreement(truth: Array, prediction: Array) -> tuple[float, float]:
    """Bland–Altman: bias ± 1.96 standard deviations (of the sample, n − 1) of the errors.

    Args:
        truth: (N,).
        prediction: (N,), same unit.

    Returns:
        (low, high) in the same unit; NaN with fewer than two cases.
    """
    answers = NumberAnswers(np.asarray(truth, float), np.asarray(prediction, float))
    low, high = _limits(answers, np.ones((1, len(answers))))
    return float(low[0]), float(high[0])


def _mean(values: Array, counts: Array) -> Array:
    return np.asarray(counts @ values / counts.sum(axis=1))


def _error(answers: NumberAnswers) -> Array:
    return np.asarray(answers.prediction - answers.truth)


def _mae(answers: NumberAnswers, counts: Array) -> Array:
    return _mean(np.abs(_error(answers)), counts)


def _mse(answers: NumberAnswers, counts: Array) -> Array:
    return _mean(_error(answers) ** 2, counts)


def _rmse(answers: NumberAnswers, counts: Array) -> Array:
    return np.asarray(np.sqrt(_mse(answers, counts)))


def _bias(answers: NumberAnswers, counts: Array) -> Array:
    return _mean(_error(answers), counts)


def _r2(answers: NumberAnswers, counts: Array) -> Array:
    # Centred on the mean of all cases first: the difference of two large squares would lose its digits.
    centred = answers.truth - answers.truth.mean()
    spread = np.maximum(_mean(centred**2, counts) - _mean(centred, counts) ** 2, 0.0)
    smallest = 1e-12 * max(float((centred**2).max()), np.finfo(float).tiny)
    return np.asarray(1 - _mse(answers, counts) / np.where(spread > smallest, spread, np.nan))


def _limits(answers: NumberAnswers, counts: Array) -> tuple[Array, Array]:
    error = _error(answers)
    shift = error.mean()
    number, bias = counts.sum(axis=1), _mean(error - shift, counts)
    variance = np.maximum(_mean((error - shift) ** 2, counts) - bias**2, 0.0)
    width = _NORMAL_95 * np.sqrt(variance * number / np.where(number > 1, number - 1, np.nan))
    return np.asarray(shift + bias - width), np.asarray(shift + bias + width)


def _limit_low(answers: NumberAnswers, counts: Array) -> Array:
    return _limits(answers, counts)[0]


def _limit_high(answers: NumberAnswers, counts: Array) -> Array:
    return _limits(answers, counts)[1]


def _coverage(answers: NumberAnswers, counts: Array) -> Array:
    if answers.half_width is None:
        return np.full(len(counts), np.nan)
    return _mean((np.abs(_error(answers)) <= answers.half_width).astype(float), counts)


MAE = NumberMetric(
    name="mae",
    title="Mean absolute error",
    definition="Mean over the cases of how far the prediction is from the truth, in either direction.",
    kinds=("number",),
    better="lower",
    best=0.0,
    unit="answer",
    function=_mae,
)
MSE = NumberMetric(
    name="mse",
    title="Mean squared error",
    definition="Mean over the cases of the squared error; large errors dominate it.",
    kinds=("number",),
    better="lower",
    best=0.0,
    unit="answer2",
    function=_mse,
)
RMSE = NumberMetric(
    name="rmse",
    title="Root mean squared error",
    definition="Square root of the mean squared error, in the unit of the answer.",
    kinds=("number",),
    better="lower",
    best=0.0,
    unit="answer",
    function=_rmse,
)
R2 = NumberMetric(
    name="r2",
    title="R²",
    definition=(
        "Share of the spread of the true values that the model explains: 1 is perfect, 0 is no better than always"
        " saying the mean, below 0 is worse. Undefined where all true values are equal."
    ),
    kinds=("number",),
    better="higher",
    best=1.0,
    unit="score",
    function=_r2,
)
BIAS = NumberMetric(
    name="bias",
    title="Bias",
    definition="Mean of prediction minus truth: above zero the model says too much.",
    kinds=("number",),
    better="zero",
    best=0.0,
    unit="answer",
    function=_bias,
)
LIMIT_LOW = NumberMetric(
    name="limit_low",
    title="Lower limit of agreement",
    definition="Bias minus 1.96 standard deviations of the errors (Bland–Altman): about 2.5 % of errors lie below.",
    kinds=("number",),
    better="zero",
    best=0.0,
    unit="answer",
    function=_limit_low,
)
LIMIT_HIGH = NumberMetric(
    name="limit_high",
    title="Upper limit of agreement",
    definition="Bias plus 1.96 standard deviations of the errors (Bland–Altman): about 2.5 % of errors lie above.",
    kinds=("number",),
    better="zero",
    best=0.0,
    unit="answer",
    function=_limit_high,
)
COVERAGE = NumberMetric(
    name="coverage",
    title="Coverage of the 95 % range",
    definition=(
        "Share of the cases whose true value lies in the range that the model states around its prediction; it "
        "should be close to 95 %. Undefined where the model states no range."
    ),
    kinds=("number",),
    better="higher",
    best=1.0,
    unit="fraction",
    function=_coverage,
)
