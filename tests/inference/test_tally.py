from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from osler.datasets.preparation import Prepared, trace_of
from osler.inference.tally import Case, make_tally
from osler.metrics.calibration import CalibrationTally, expected_calibration_error
from osler.studies.image import Image
from tiny_models import make_plan


def test_calibration_in_parts_is_that_of_all_at_once():
    random = np.random.default_rng(0)
    p, right = random.uniform(0, 1, 1000), random.integers(0, 2, 1000)
    tally = CalibrationTally()
    for part in np.array_split(np.arange(1000), 7):
        tally.add(p[part], right[part])
    assert tally.value() == pytest.approx(expected_calibration_error(p, right), abs=1e-12)
    assert np.isnan(CalibrationTally().value())


def _mask_case(plan, mask):
    image = Image(np.zeros((1, *mask.shape), np.float32), np.eye(4))
    prepared = Prepared(np.zeros((1, *mask.shape), np.float32), trace_of(image, plan.grid))
    return Case(prepared, mask=mask, classes=mask.astype(np.uint8))


def _probabilities(mask, outputs=3, sure=0.9):
    rest = (1 - sure) / (outputs - 1)
    return np.stack([np.where(mask == k, sure, rest) for k in range(outputs)]).astype(np.float32)


def test_masks_are_scored_by_dice_against_the_truth_and_by_agreement_with_the_reference():
    plan = make_plan()
    truth = np.zeros((16, 16, 16), int)
    truth[:4, :4, :4], truth[8:12] = 1, 2
    found = truth.copy()
    found[0, :4, :4] = 0  # 16 of 64 voxels of label 1 are missed
    tally = make_tally(plan)
    tally.add(_mask_case(plan, truth), _probabilities(truth), _probabilities(found))
    assert tally.scores().dice == pytest.approx((2 * 48 / (48 + 64) + 1) / 2)
    assert tally.same_labels() == pytest.approx(1 - 16 / (64 + 4 * 16 * 16))
    # all voxels count, each is sure by 0.9, and 16 are wrong
    assert tally.scores().ece == pytest.approx(abs(0.9 - (1 - 16 / 16**3)), abs=1e-6)


def test_certain_background_is_not_counted_in_the_calibration_of_masks():
    plan = make_plan()
    truth = np.zeros((16, 16, 16), int)
    truth[8:12] = 2
    reference = np.where(truth > 0, _probabilities(truth, sure=0.8), _probabilities(truth, sure=0.9999))
    tally = make_tally(plan)
    tally.add(_mask_case(plan, truth), reference, reference)
    assert tally.scores().ece == pytest.approx(0.2, abs=1e-6)


def test_classes_are_scored_as_scikit_learn_scores_them():
    plan = make_plan("classify", names=("a", "b", "c"), dimensions=2)
    random = np.random.default_rng(0)
    p = random.dirichlet(np.ones(3), 60).astype(np.float32)
    truth = random.integers(0, 3, 60)
    tally = make_tally(plan)
    for one, target in zip(p, truth, strict=True):
        tally.add(Case(None, target=int(target)), np.roll(one, 1), one)
    expected = roc_auc_score(np.eye(3)[truth], p.astype(float), average="macro")
    assert tally.scores().auc == pytest.approx(expected, abs=1e-9)
    assert tally.scores().ece == pytest.approx(expected_calibration_error(p.max(1), p.argmax(1) == truth))
    assert tally.same_labels() == 0


def test_labels_that_are_not_known_do_not_count():
    plan = make_plan("multilabel", names=("a", "b"), dimensions=2)
    tally = make_tally(plan)
    for target, p in [((1, None), (0.9, 0.1)), ((0, 1), (0.2, 0.8)), ((0, 0), (0.3, 0.4))]:
        answer = np.array(p, np.float32)
        tally.add(Case(None, target=target), answer, answer)
    assert tally.scores().auc == 1
    assert tally.scores().ece == pytest.approx(((0.1 + 0.2 + 0.3) / 3 + (0.2 + 0.4) / 2) / 2, abs=1e-6)


def test_numbers_are_scored_in_deviations_of_the_training_answers():
    plan = make_plan("regress", dimensions=2, target_mean=50.0, target_std=10.0)
    tally = make_tally(plan)
    tally.add(Case(None, target=50.0), np.array([55.0]), np.array([55.05]))
    tally.add(Case(None, target=60.0), np.array([55.0]), np.array([56.0]))
    assert tally.scores().error == pytest.approx((0.505 + 0.4) / 2)
    assert tally.same_labels() == 0.5
