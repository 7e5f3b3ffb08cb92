"""Calibration, temperature, prediction intervals and the bootstrap over patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from osler.errors import UsageError
from osler.metrics.answers import class_answers
from osler.metrics.bootstrap import bootstrap, bootstrap_cases, exact_bound, resample, summarise
from osler.metrics.calibration import (
    expected_calibration_error,
    fit_interval_half_width,
    fit_temperature,
    fit_temperature_sigmoid,
    reliability_table,
)
from osler.metrics.classification import auc
from osler.metrics.ranking import AUC


def test_calibration_error_of_four_cases_by_hand() -> None:
    # (0.7, 0.8]: mean 0.75, half right: 0.25 off. (0.1, 0.2]: mean 0.2, none right: 0.2 off.
    probability, right = np.array([0.71, 0.79, 0.2, 0.2]), np.array([1, 0, 0, 0])
    assert expected_calibration_error(probability, right) == pytest.approx(0.5 * 0.25 + 0.5 * 0.2)
    rows = reliability_table(probability, right)
    assert [row.cases for row in rows] == [0, 2, 0, 0, 0, 0, 0, 2, 0, 0]
    assert rows[7].observed == 0.5
    assert np.isnan(rows[0].observed)


def test_the_ends_of_the_scale_fall_into_the_first_and_the_last_bin() -> None:
    rows = reliability_table(np.array([0.0, 0.1, 0.100001, 1.0]), np.zeros(4))
    assert (rows[0].cases, rows[1].cases, rows[9].cases) == (2, 1, 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_data_is_found(temperature: float) -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(20_000, 3)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (probabilities.cumsum(axis=1) < draw.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(logits * temperature, targets) == pytest.approx(temperature, rel=0.05)
    flags = (draw.random(20_000) < 1 / (1 + np.exp(-logits[:, 0]))).astype(float)
    flags[::7] = np.nan
    assert fit_temperature_sigmoid(logits[:, 0] * temperature, flags) == pytest.approx(temperature, rel=0.05)


def test_the_temperature_stays_reasonable_when_every_case_is_right() -> None:
    logits = np.array([[2.0, -2.0], [-2.0, 2.0]] * 10)
    found = fit_temperature(logits, np.array([0, 1] * 10))
    probability = 1 / (1 + np.exp(-4 / found))
    assert 0.95 < probability < 0.99


def test_a_temperature_of_nothing_known_is_one() -> None:
    assert fit_temperature_sigmoid(np.ones((3, 2)), np.full((3, 2), np.nan)) == 1


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="must be finite"):
        fit_temperature(np.array([[np.nan, 1.0]]), np.array([0]))


def test_the_prediction_range_holds_the_truth_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    held = []
    for _ in range(300):
        errors = draw.standard_t(4, 60)
        width = fit_interval_half_width(np.zeros(60), errors)
        held.append(abs(draw.standard_t(4)) <= (width or 0.0))
    assert np.mean(held) == pytest.approx(0.95, abs=0.035)


def test_too_few_cases_give_no_prediction_range() -> None:
    assert fit_interval_half_width(np.zeros(18), np.arange(18.0)) is None
    assert fit_interval_half_width(np.zeros(19), np.arange(19.0)) == 18


def test_whole_patients_are_drawn() -> None:
    patients = ["a", "a", "b", "c", "c", "c"]
    counts = next(resample(patients, resamples=50, seed=0))
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 3] == counts[:, 5]).all()
    np.testing.assert_array_equal(counts[:, 0] + counts[:, 2] + counts[:, 3], 3)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_should() -> None:
    draw = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        values = np.repeat(draw.normal(size=40), 3) + draw.normal(size=120) * 0.1
        patients = np.repeat(np.arange(40), 3).tolist()
        found = bootstrap(lambda c, v=values: (c @ v / c.sum(axis=1))[:, None], patients, resamples=300, seed=trial)[0]
        covered += (found.low or 0) <= 0 <= (found.high or 0)
    assert 0.88 <= covered / 200 <= 0.98


def test_a_bootstrap_over_cases_would_be_too_narrow() -> None:
    draw = np.random.default_rng(3)
    values = np.repeat(draw.normal(size=20), 10)
    widths = []
    for patients in (np.repeat(np.arange(20), 10).tolist(), list(range(200))):
        found = bootstrap(lambda c: (c @ values / c.sum(axis=1))[:, None], patients)[0]
        widths.append((found.high or 0) - (found.low or 0))
    assert widths[0] > 2.5 * widths[1]


def test_a_thousand_areas_of_624_cases_are_the_same_at_once_and_one_by_one() -> None:
    draw = np.random.default_rng(4)
    truth = draw.integers(0, 2, 624)
    score = np.clip(truth * 0.3 + draw.random(624) * 0.7, 0, 1)
    answers = class_answers(truth, np.stack([1 - score, score], axis=1))
    fast = bootstrap(lambda counts: AUC.compute(answers, counts)[:, None], list(range(624)))[0]
    plain = bootstrap_cases(lambda cases: auc(truth[cases], score[cases]), list(range(624)))
    assert (plain.low, plain.high) == pytest.approx((fast.low, fast.high))


def test_resamples_without_a_class_are_left_out_and_counted() -> None:
    truth, score = np.array([1, 0, 0, 0]), np.array([0.9, 0.1, 0.2, 0.3])
    found = bootstrap_cases(lambda cases: auc(truth[cases], score[cases]), list("abcd"), resamples=400)
    # The one positive is not drawn in (3/4)^4 of the resamples, and nothing else in (1/4)^4.
    assert found.n_undefined / 400 == pytest.approx(0.75**4 + 0.25**4, abs=0.07)
    assert (found.low, found.high) == (1, 1)


def test_one_patient_has_no_interval() -> None:
    found = bootstrap(lambda c: (c @ np.arange(3.0) / c.sum(axis=1))[:, None], ["a", "a", "a"])[0]
    assert (found.value, found.low, found.high) == (1, None, None)


def test_a_figure_undefined_in_most_resamples_has_no_interval() -> None:
    drawn = np.array([np.nan] * 6 + [0.5] * 4)
    assert summarise(0.5, drawn).low is None
    assert summarise(0.5, drawn).n_undefined == 6


def test_one_seed_draws_the_same_patients_and_no_case_is_refused() -> None:
    first, second = (next(resample(list("abcde"), resamples=5, seed=9)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(UsageError, match="no case"):
        next(resample([]))


@pytest.mark.parametrize("patients", [1, 10, 50])
def test_the_exact_interval_of_all_right_equals_scipy(patients: int) -> None:
    expected = stats.binomtest(patients, patients).proportion_ci(0.95, "exact")
    assert exact_bound(1.0, patients) == pytest.approx((expected.low, expected.high))
    assert exact_bound(0.0, patients) == pytest.approx((1 - expected.high, 1 - expected.low))
