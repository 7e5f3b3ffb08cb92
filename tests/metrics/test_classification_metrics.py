"""Classification figures against scikit-learn and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from osler.errors import UsageError
from osler.metrics import metrics_for
from osler.metrics.answers import class_answers, grade_answers, several_answers
from osler.metrics.classification import auc, average_precision, confusion_matrix, precision_recall_curve, roc_curve
from osler.metrics.ordinal import quadratic_kappa
from osler.studies.geometry import Array


@pytest.fixture(params=[0, 1, 2])
def scored(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    """200 cases with many tied scores."""
    draw = np.random.default_rng(request.param)
    truth = draw.integers(0, 2, 200)
    return truth, np.round(np.clip(0.5 + 0.2 * (truth - 0.5) + draw.normal(0, 0.2, 200), 0, 1), 1)


@pytest.fixture
def three_classes() -> tuple[Array, Array]:
    draw = np.random.default_rng(5)
    truth = draw.choice(3, 150, p=[0.5, 0.3, 0.2])
    logits = draw.normal(size=(150, 3)) + 1.5 * np.eye(3)[truth]
    return truth, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_areas_and_curves_equal_scikit_learn_with_ties(scored: tuple[Array, Array]) -> None:
    truth, scores = scored
    assert auc(truth, scores) == pytest.approx(reference.roc_auc_score(truth, scores), abs=1e-12)
    assert average_precision(truth, scores) == pytest.approx(
        reference.average_precision_score(truth, scores), abs=1e-12
    )
    x, y, _ = reference.roc_curve(truth, scores, drop_intermediate=False)
    np.testing.assert_allclose(roc_curve(truth, scores).x, x)
    np.testing.assert_allclose(roc_curve(truth, scores).y, y)
    precision, recall, _ = reference.precision_recall_curve(truth, scores)
    ours = precision_recall_curve(truth, scores)
    np.testing.assert_allclose(ours.x, recall[:-1][::-1])
    np.testing.assert_allclose(ours.y, precision[:-1][::-1])


def test_an_area_of_four_cases_by_hand() -> None:
    # Pairs (0.8 > 0.7, 0.8 > 0.2, 0.5 < 0.7, 0.5 > 0.2): three of four are in order.
    assert auc(np.array([1, 0, 1, 0]), np.array([0.8, 0.7, 0.5, 0.2])) == 0.75


def test_areas_are_undefined_where_a_class_is_missing() -> None:
    scores = np.array([0.1, 0.9])
    assert np.isnan(auc(np.array([1, 1]), scores))
    assert np.isnan(auc(np.array([0, 0]), scores))
    assert np.isnan(average_precision(np.array([0, 0]), scores))
    assert average_precision(np.array([1, 1]), scores) == 1


def test_headlines_of_three_classes_equal_scikit_learn(three_classes: tuple[Array, Array]) -> None:
    truth, probabilities = three_classes
    predicted = probabilities.argmax(axis=1)
    found = {m.name: float(m.compute(class_answers(truth, probabilities))[0]) for m in metrics_for("classes")}
    onehot = np.eye(3)[truth]
    assert found["auc"] == pytest.approx(reference.roc_auc_score(truth, probabilities, multi_class="ovr"))
    assert found["average_precision"] == pytest.approx(reference.average_precision_score(onehot, probabilities))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert found["precision"] == pytest.approx(reference.precision_score(truth, predicted, average="macro"))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    assert found["brier"] == pytest.approx(((probabilities - onehot) ** 2).sum(axis=1).mean() / 2)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, 3), reference.confusion_matrix(truth, predicted))


def test_headlines_of_two_classes_are_those_of_the_positive_one(scored: tuple[Array, Array]) -> None:
    truth, scores = scored
    probabilities = np.stack([1 - scores, scores], axis=1)
    predicted = probabilities.argmax(axis=1)
    found = {m.name: float(m.compute(class_answers(truth, probabilities))[0]) for m in metrics_for("classes")}
    assert found["sensitivity"] == pytest.approx(reference.recall_score(truth, predicted))
    assert found["specificity"] == pytest.approx(reference.recall_score(truth, predicted, pos_label=0))
    assert found["precision"] == pytest.approx(reference.precision_score(truth, predicted))
    assert found["f1"] == pytest.approx(reference.f1_score(truth, predicted))
    assert found["brier"] == pytest.approx(reference.brier_score_loss(truth, scores))
    flipped = class_answers(truth, probabilities, positive=0)
    sensitivity = next(m for m in metrics_for("classes") if m.name == "sensitivity")
    assert sensitivity.compute(flipped)[0] == pytest.approx(found["specificity"])


def test_several_labels_skip_unknown_answers_and_equal_scikit_learn() -> None:
    draw = np.random.default_rng(3)
    truth = draw.integers(0, 2, (80, 3)).astype(float)
    scores = np.clip(truth * 0.3 + draw.random((80, 3)) * 0.7, 0, 1)
    truth[draw.random((80, 3)) < 0.2] = np.nan
    found = {m.name: float(m.compute(several_answers(truth, scores))[0]) for m in metrics_for("several")}
    known = [~np.isnan(column) for column in truth.T]
    expected = [reference.roc_auc_score(t[k], s[k]) for t, s, k in zip(truth.T, scores.T, known, strict=True)]
    f1 = [reference.f1_score(t[k], s[k] >= 0.5) for t, s, k in zip(truth.T, scores.T, known, strict=True)]
    assert found["auc"] == pytest.approx(np.mean(expected))
    assert found["f1"] == pytest.approx(np.mean(f1))


def test_grades_equal_scikit_learn_and_take_the_median_grade() -> None:
    draw = np.random.default_rng(4)
    truth, probabilities = draw.integers(0, 4, 120), draw.dirichlet(np.ones(4), 120)
    answers = grade_answers(truth, probabilities)
    by_question = (1 - probabilities.cumsum(axis=1)[:, :-1] > 0.5).sum(axis=1)
    np.testing.assert_array_equal(answers.predicted, by_question)
    found = {m.name: float(m.compute(answers)[0]) for m in metrics_for("grades")}
    kappa = reference.cohen_kappa_score(truth, by_question, weights="quadratic")
    assert found["kappa"] == pytest.approx(kappa)
    assert found["grade_error"] == pytest.approx(reference.mean_absolute_error(truth, by_question))
    assert found["within_one"] == pytest.approx((abs(truth - by_question) <= 1).mean())
    higher = probabilities[:, ::-1].cumsum(axis=1)[:, ::-1]
    assert found["auc"] == pytest.approx(
        np.mean([reference.roc_auc_score(truth >= k, higher[:, k]) for k in (1, 2, 3)])
    )


def test_kappa_is_undefined_where_only_one_grade_occurs() -> None:
    assert np.isnan(quadratic_kappa(np.array([[5, 0], [0, 0]])))


def test_precision_is_zero_when_never_flagged_and_undefined_when_never_there() -> None:
    answers = class_answers(np.array([0, 1, 1]), np.array([[0.9, 0.1, 0.0]] * 3))
    precision, f1, sensitivity = (
        next(m for m in metrics_for("classes") if m.name == name).compute_labels(answers)[0]  # type: ignore[attr-defined]
        for name in ("precision", "f1", "sensitivity")
    )
    np.testing.assert_allclose(precision, [1 / 3, 0, np.nan])
    np.testing.assert_allclose(f1, [0.5, 0, np.nan])
    np.testing.assert_allclose(sensitivity, [1, 0, np.nan])


@pytest.mark.parametrize(
    ("truth", "probabilities", "message"),
    [
        (np.array([0, 1]), np.array([[0.5, np.nan], [0.5, 0.5]]), "must be finite"),
        (np.array([0, np.nan]), np.full((2, 2), 0.5), "the truth must be finite"),
        (np.array([0, 2]), np.full((2, 2), 0.5), "none of the 2 labels"),
        (np.array([0, 1, 1]), np.full((2, 2), 0.5), "one entry per row"),
        (np.array([0, 1]), np.array([[3.0, -2.0], [0.1, 0.9]]), "between 0 and 1"),
        (np.zeros(0, int), np.zeros((0, 2)), r"\(cases, labels\)"),
    ],
)
def test_bad_input_is_refused(truth: Array, probabilities: Array, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        class_answers(truth, probabilities)


def test_areas_refuse_nan_scores() -> None:
    with pytest.raises(UsageError, match="must not be NaN"):
        auc(np.array([0, 1]), np.array([0.1, np.nan]))


def test_several_labels_refuse_another_truth_than_0_and_1() -> None:
    with pytest.raises(UsageError, match="0, 1 or NaN"):
        several_answers(np.array([[2.0]]), np.array([[0.5]]))
