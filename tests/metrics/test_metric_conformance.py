"""What every metric on the list must keep to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osler.errors import GridMismatch, UsageError
from osler.metrics import METRICS, CaseMetric, LabelMetric, MaskMetric, Metric, NumberMetric, metrics_for
from osler.metrics.answers import Answers, NumberAnswers, class_answers, grade_answers, number_answers, several_answers
from osler.metrics.masks import MaskPair

MASKS = [m for m in METRICS if isinstance(m, MaskMetric)]
PAIRS = [(m, kind) for m in METRICS if not isinstance(m, MaskMetric) for kind in m.kinds]
BY_KIND = pytest.mark.parametrize(("metric", "kind"), PAIRS, ids=[f"{m.name}-{k}" for m, k in PAIRS])
BY_MASK = pytest.mark.parametrize("metric", MASKS, ids=[m.name for m in MASKS])


def _answers(kind: str, *, perfect: bool = False, cases: int = 40) -> Answers | NumberAnswers:
    draw = np.random.default_rng(7)
    if kind == "number":
        truth = draw.normal(50, 10, cases)
        return number_answers(truth, truth if perfect else truth + draw.normal(1, 3, cases), half_width=5.0)
    truth = np.arange(cases) % 3
    if kind == "several":
        truth = draw.integers(0, 2, (cases, 3)).astype(float)
        return several_answers(truth, truth if perfect else draw.random((cases, 3)))
    probabilities = np.eye(3)[truth] if perfect else draw.dirichlet(np.ones(3), cases)
    return (class_answers if kind == "classes" else grade_answers)(truth, probabilities)


def _compute(metric: Metric, answers: Answers | NumberAnswers, counts: np.ndarray | None = None) -> np.ndarray:
    if isinstance(metric, NumberMetric) and isinstance(answers, NumberAnswers):
        return metric.compute(answers, counts)
    assert isinstance(metric, CaseMetric | LabelMetric)
    assert isinstance(answers, Answers)
    return metric.compute(answers, counts)


@BY_KIND
def test_a_perfect_prediction_has_the_best_value(metric: Metric, kind: str) -> None:
    assert _compute(metric, _answers(kind, perfect=True))[0] == pytest.approx(metric.best, abs=1e-9)


@BY_KIND
def test_the_order_of_cases_changes_nothing(metric: Metric, kind: str) -> None:
    answers = _answers(kind)
    shuffled = answers.take(np.random.default_rng(1).permutation(len(answers)))
    np.testing.assert_allclose(_compute(metric, shuffled), _compute(metric, answers), rtol=1e-12)


@BY_KIND
def test_counting_a_case_twice_is_having_it_twice(metric: Metric, kind: str) -> None:
    """The fast path of the bootstrap against the plain one."""
    answers = _answers(kind)
    counts = np.random.default_rng(2).integers(0, 4, (5, len(answers)))
    plain = [_compute(metric, answers.take(np.repeat(np.arange(len(answers)), row)))[0] for row in counts]
    np.testing.assert_allclose(_compute(metric, answers, counts), plain, rtol=1e-9)


@BY_KIND
def test_a_single_case_gives_a_number_or_nan_and_never_fails(metric: Metric, kind: str) -> None:
    assert _compute(metric, _answers(kind).take(np.array([0]))).shape == (1,)


@BY_KIND
def test_counts_that_do_not_fit_are_refused(metric: Metric, kind: str) -> None:
    with pytest.raises(UsageError, match="counts must be"):
        _compute(metric, _answers(kind), np.ones((2, 3)))


@pytest.mark.parametrize("metric", [m for m in METRICS if isinstance(m, LabelMetric)], ids=lambda m: m.name)
def test_a_missing_class_is_never_counted_as_zero_recall(metric: LabelMetric) -> None:
    answers = class_answers(np.array([0, 1, 0, 1]), np.eye(3)[[0, 1, 0, 1]])
    assert metric.compute(answers)[0] == pytest.approx(metric.best)


@BY_MASK
def test_identical_masks_have_the_best_value_in_2d_and_3d(metric: MaskMetric) -> None:
    mask = np.zeros((6, 7, 5), bool)
    mask[2:4, 1:5, 1:4] = True
    assert metric.compute(MaskPair(mask, mask, (1, 2, 3))) == metric.best
    assert metric.compute(MaskPair(mask[:, :, 2], mask[:, :, 2], (1, 2))) == metric.best


@BY_MASK
def test_one_slice_in_3d_equals_2d(metric: MaskMetric) -> None:
    draw = np.random.default_rng(0)
    truth, prediction = draw.random((12, 12)) > 0.6, draw.random((12, 12)) > 0.6
    # The faces above and below a slice are outside: every voxel is surface, as in a 2D mask without inside.
    pair = MaskPair(truth, prediction, (1.0, 1.5))
    solid = MaskPair(truth[:, :, None], prediction[:, :, None], (1.0, 1.5, 1.0))
    if metric.unit in ("fraction", "percent", "size") or metric.name in ("dice", "iou"):
        assert metric.compute(solid) == pytest.approx(metric.compute(pair))
    assert np.isfinite(metric.compute(solid))


@BY_MASK
def test_a_single_voxel_is_a_mask(metric: MaskMetric) -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[1, 1, 1] = True
    assert metric.compute(MaskPair(mask, mask, (1, 1, 1))) == metric.best


@BY_MASK
def test_two_empty_masks_are_undefined_or_without_error(metric: MaskMetric) -> None:
    value = metric.compute(MaskPair(np.zeros((3, 3)), np.zeros((3, 3)), (1, 1)))
    assert np.isnan(value) or (metric.unit == "size" and value == 0)


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(GridMismatch, match="different shapes"):
        MaskPair(np.zeros((3, 3)), np.zeros((3, 4)), (1, 1))


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, float("nan"))])
def test_a_spacing_that_is_none_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="positive numbers"):
        MaskPair(np.zeros((3, 3)), np.zeros((3, 3)), spacing)


def test_names_are_unique_within_a_kind_and_every_metric_is_defined_in_words() -> None:
    for kind in ("classes", "several", "grades", "number", "mask"):
        names = [metric.name for metric in metrics_for(kind)]  # type: ignore[arg-type]
        assert len(names) == len(set(names))
    assert all(len(metric.definition) > 30 and metric.title for metric in METRICS)


def test_the_conformance_test_sees_a_metric_that_forgets_the_counts() -> None:
    accuracy = next(m for m in METRICS if isinstance(m, CaseMetric) and m.name == "accuracy")
    broken = replace(accuracy, function=lambda answers, counts: np.full(len(counts), 0.5))
    with pytest.raises(AssertionError):
        test_a_perfect_prediction_has_the_best_value(broken, "classes")
