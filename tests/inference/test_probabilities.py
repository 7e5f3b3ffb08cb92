from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.special import softmax as scipy_softmax

from osler.inference.probabilities import cumulative, probabilities, sigmoid, softmax
from tiny_models import make_plan

LOGITS = np.random.default_rng(0).normal(scale=8, size=(5, 7)).astype(np.float32)


def test_softmax_and_sigmoid_agree_with_scipy():
    np.testing.assert_allclose(softmax(LOGITS, axis=1), scipy_softmax(LOGITS, axis=1), rtol=1e-5)
    np.testing.assert_allclose(sigmoid(LOGITS), expit(LOGITS), rtol=1e-5)


def test_enormous_logits_overflow_nowhere():
    with np.errstate(all="raise", under="ignore"):
        assert softmax(np.array([1e4, -1e4], np.float32)).tolist() == [1, 0]
        assert sigmoid(np.array([1e4, -1e4], np.float32)).tolist() == [1, 0]


def test_grades_come_from_the_differences_of_the_cumulative_probabilities():
    logits = np.log(np.array([0.9 / 0.1, 0.6 / 0.4, 0.2 / 0.8]))  # P(> 0), P(> 1), P(> 2)
    np.testing.assert_allclose(cumulative(logits), [0.1, 0.3, 0.4, 0.2], atol=1e-12)


def test_grades_stay_probabilities_when_the_logits_are_out_of_order():
    result = cumulative(LOGITS, axis=1)
    assert result.shape == (5, 8)
    assert result.min() >= 0
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-6)


def test_the_temperature_divides_the_logits():
    plan = make_plan("classify", names=tuple("abcdefg"))
    np.testing.assert_allclose(probabilities(LOGITS, plan, 2.5, axis=1), scipy_softmax(LOGITS / 2.5, axis=1), rtol=1e-5)


def test_several_labels_are_independent():
    plan = make_plan("multilabel", names=tuple("abcdefg"))
    np.testing.assert_allclose(probabilities(LOGITS, plan, 2.0, axis=1), expit(LOGITS / 2), rtol=1e-5)


def test_a_number_is_brought_back_to_its_unit_and_knows_no_temperature():
    plan = make_plan("regress", target_mean=40.0, target_std=10.0)
    assert probabilities(np.array([1.5]), plan, 3.0).tolist() == [55.0]


@pytest.mark.parametrize("task", ["classify", "multilabel", "ordinal", "segment", "regress"])
def test_every_task_gives_float32_on_the_axis_of_the_outputs(task):
    plan = make_plan(task, names=("a", "b", "c"))
    logits = np.zeros((2, plan.outputs, 3, 3), np.float64)
    result = probabilities(logits, plan, axis=1)
    assert result.dtype == np.float32
    assert result.shape == (2, {"segment": 4, "regress": 1}.get(task, 3), 3, 3)
