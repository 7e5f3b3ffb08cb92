"""Regression figures against scikit-learn and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from osler.errors import UsageError
from osler.metrics import NumberMetric, metrics_for
from osler.metrics.answers import number_answers
from osler.metrics.regression import limits_of_agreement


def _figures(truth: list[float], prediction: list[float], half_width: float | None = None) -> dict[str, float]:
    answers = number_answers(np.array(truth), np.array(prediction), half_width=half_width)
    return {m.name: float(m.compute(answers)[0]) for m in metrics_for("number") if isinstance(m, NumberMetric)}


def test_errors_equal_scikit_learn_far_from_zero() -> None:
    draw = np.random.default_rng(0)
    truth = 1e6 + draw.normal(0, 3, 100)
    prediction = truth + draw.normal(0.5, 1, 100)
    found = _figures(truth.tolist(), prediction.tolist())
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(truth, prediction))
    assert found["mse"] == pytest.approx(reference.mean_squared_error(truth, prediction))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, prediction))
    assert found["r2"] == pytest.approx(reference.r2_score(truth, prediction))


def test_limits_of_agreement_by_hand() -> None:
    # Errors 1, 2, 3: bias 2, standard deviation 1.
    low, high = limits_of_agreement(np.array([10.0, 20, 30]), np.array([11.0, 22, 33]))
    assert (low, high) == pytest.approx((2 - 1.959964, 2 + 1.959964), abs=1e-6)


def test_coverage_counts_what_lies_in_the_range() -> None:
    assert _figures([0, 0, 0, 0], [1, -2, 3, 4], half_width=2)["coverage"] == 0.5
    assert np.isnan(_figures([0], [1])["coverage"])


def test_r2_and_limits_are_undefined_where_there_is_no_spread() -> None:
    assert np.isnan(_figures([5, 5, 5], [4, 5, 6])["r2"])
    assert np.isnan(_figures([5], [4])["limit_low"])


@pytest.mark.parametrize(("truth", "prediction"), [([1.0, np.nan], [1.0, 1.0]), ([1.0, 1.0], [1.0, np.inf])])
def test_numbers_that_are_not_finite_are_refused(truth: list[float], prediction: list[float]) -> None:
    with pytest.raises(UsageError, match="must be finite"):
        _figures(truth, prediction)
