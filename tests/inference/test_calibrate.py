from __future__ import annotations

import numpy as np
import pytest

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.errors import Cancelled, UsageError
from osler.inference.calibrate import Collected, calibrate, collect, encode, fit, join
from osler.inference.predictor import Predictor
from osler.models.folder import Calibration
from osler.progress import CancelToken
from osler.studies.formats import write_image
from osler.studies.image import Image
from tiny_models import make_model, make_plan, thresholds


def _dataset(folder, plan, masks):
    """Volumes of noise around 100 and masks in which a voxel above 100 is the label with a chance that noise lowers."""
    random = np.random.default_rng(0)
    records = []
    for n in range(masks):
        array = random.normal(100, 50, (1, 18, 17, 16)).astype(np.float32)
        truth = (array[0] + random.normal(0, 60, array.shape[1:]) > 100).astype(np.uint8)
        write_image(Image(array, np.eye(4)), folder / f"{n}.nii.gz")
        write_image(Image(truth[None], np.eye(4)), folder / f"{n}-mask.nii.gz")
        records.append(
            Record(name=str(n), images={"image": ImageRef(path=f"{n}.nii.gz")}, mask=ImageRef(path=f"{n}-mask.nii.gz"))
        )
    return Dataset(Manifest(name="noise", root=folder, layout="test", labels=plan.labels, records=tuple(records)))


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    plan = make_plan(names=("above",))
    return make_model(folder / "m", plan, *thresholds(1.0, slope=20.0)), _dataset(folder, plan, 3)


def test_an_overconfident_segmenter_gets_a_temperature_that_makes_it_honest(segmenter):
    model, dataset = segmenter
    with Predictor(model) as predictor:
        collected = collect(predictor, dataset, dataset.records)
        calibration = fit(model.plan, collected)
    assert calibration.cases == 3
    assert calibration.temperature > 3
    from sklearn.linear_model import LogisticRegression

    margin = (collected.logits[:, 1] - collected.logits[:, 0])[:, None]
    slope = LogisticRegression(C=1e6, fit_intercept=False).fit(margin, collected.answers).coef_[0, 0]
    assert calibration.temperature == pytest.approx(1 / slope, rel=0.01)


def test_the_voxels_drawn_are_the_same_every_time(segmenter):
    model, dataset = segmenter
    with Predictor(model) as predictor:
        first, second = (collect(predictor, dataset, dataset.records[:1]) for _ in range(2))
    np.testing.assert_array_equal(first.logits, second.logits)
    np.testing.assert_array_equal(first.answers, second.answers)


def test_a_stopped_collection_fits_what_it_has(segmenter):
    model, dataset = segmenter
    token = CancelToken()
    token.cancel()
    with Predictor(model) as predictor:
        assert calibrate(predictor, dataset, dataset.records, cancel=token) == Calibration()
    with pytest.raises(Cancelled):
        token.raise_if_cancelled()


def test_the_temperature_of_classes_agrees_with_a_grid_search():
    random = np.random.default_rng(1)
    logits = random.normal(size=(400, 3)) * 6
    answers = np.array([random.choice(3, p=p) for p in np.exp(logits / 3) / np.exp(logits / 3).sum(1, keepdims=True)])
    found = fit(make_plan("classify", names=("a", "b", "c")), Collected(logits, answers, 400)).temperature
    grid = np.linspace(0.5, 8, 500)
    scaled = logits[None] / grid[:, None, None]
    loss = (np.log(np.exp(scaled).sum(-1)) - scaled[:, np.arange(400), answers]).mean(1)
    assert found == pytest.approx(grid[loss.argmin()], abs=0.05)


def test_the_half_width_of_a_number_covers_95_percent_of_new_cases():
    random = np.random.default_rng(2)
    plan = make_plan("regress", target_mean=50.0, target_std=10.0)
    truth = random.normal(50, 10, 2000)
    logits = ((truth + random.normal(0, 3, 2000) - 50) / 10)[:, None]
    calibration = fit(plan, Collected(logits[:400], truth[:400], 400))
    covered = np.abs(logits[400:, 0] * 10 + 50 - truth[400:]) <= calibration.half_width
    assert 0.93 < covered.mean() < 0.975


def test_too_few_numbers_leave_the_interval_open():
    plan = make_plan("regress")
    assert fit(plan, Collected(np.zeros((5, 1)), np.ones(5), 5)) == Calibration()


def test_folds_are_joined_and_empty_ones_do_not_matter():
    one = Collected(np.zeros((3, 2)), np.ones(3, int), 3)
    empty = Collected(np.zeros((0, 2)), np.zeros(0), 0)
    assert join([one, empty, one]).cases == 6
    assert join([empty]).cases == 0


def test_targets_take_the_form_of_the_logits():
    assert encode(2, make_plan("ordinal", names=tuple("abcd"))).tolist() == [[1, 1, 0]]
    np.testing.assert_array_equal(encode((1, None), make_plan("multilabel", names=("a", "b"))), [[1, np.nan]])
    assert encode(1, make_plan("classify")).tolist() == [1]
    with pytest.raises(UsageError, match="does not fit the task"):
        encode(None, make_plan("classify"))
