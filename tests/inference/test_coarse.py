"""A coarse network bounds where the fine one looks: the law, the choice of the bound, and what is counted as lost."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from osler.datasets.plan import GridPlan
from osler.datasets.preparation import prepare, restore_labels, trace_of
from osler.errors import ModelError
from osler.inference.bounding import Seen, Target, choose, look, lost_of, target_of
from osler.inference.coarse import CoarseMap, CoarsePass, reach_of
from osler.inference.decoders import DECODERS
from osler.inference.predictor import Predictor
from osler.inference.windows import window_starts
from osler.metrics.bootstrap import exact_bound
from osler.models.folder import Calibration, Coarse, Lost, Model, seal
from osler.studies.image import Image
from tiny_models import make_model, make_plan, thresholds

NAMES = ("grey", "white")
FINE, COARSE = (1.0, 1.0, 1.0), (2.5, 2.5, 3.0)
LOST = Lost(cases=8, patients=8, voxels=1000, voxels_lost=1, lesions=200, lesions_lost=1, lesions_cut=3)


def _plan(spacing, orientation="RAS", **changes):
    return make_plan(names=NAMES, grid=GridPlan(resize="spacing", spacing=spacing, orientation=orientation), **changes)


def _bounded(folder, *, threshold=0.5, margin=3.0, orientation="RAS", coarse_levels=(1.5, 2.0), test=None):
    """A model whose fine network finds intensities above 100 and 200, and whose coarse one those above 150."""
    plan = _plan(FINE, orientation)
    fine = make_model(folder / "m", plan, *thresholds(1.0, 2.0, slope=8.0))
    own = _plan(COARSE, orientation, patch=(8, 8, 8))
    make_model(folder / "m" / "coarse", own, *thresholds(*coarse_levels, slope=8.0))
    entry = Coarse(threshold=threshold, margin=margin, windows=0.5, validation={}, test=test or {"white": LOST})
    return seal(fine.path, fine.info.model_copy(update={"coarse": entry}))


def _study(shape=(60, 55, 50), affine=None, seed=0, spots=3):
    """A grey background with a few bright balls, and stripes that only the fine network takes for something."""
    random = np.random.default_rng(seed)
    array = random.uniform(0, 60, shape)
    index = np.indices(shape)
    array[:, :: max(1, shape[1] // 4)] = 120
    for _ in range(spots):
        centre = [random.uniform(0.1, 0.9) * n for n in shape]
        distance = np.sqrt(sum((i - c) ** 2 for i, c in zip(index, centre, strict=True)))
        array[distance < 5] = 260
    return Image(array[None].astype(np.float32), np.eye(4) if affine is None else affine)


def _unseen(model, image):
    """(*working) bool: in a window that touches no voxel of the bound; the plain way, over whole arrays."""
    coarse = model.coarse()
    entry = model.info.coarse
    prepared = prepare([image], coarse.plan)
    with Predictor(coarse) as predictor:
        foreground = 1 - predictor.predict(prepared)[0]
    box = np.ones(tuple(2 * n + 1 for n in reach_of(prepared.trace, entry.margin)), bool)
    bound = binary_dilation(foreground >= entry.threshold, box)
    if not bound.any():
        return np.zeros(prepare([image], model.plan).array.shape[1:], bool)  # everything is looked at
    shape, patch = prepare([image], model.plan).array.shape[1:], model.plan.patch
    padded = tuple(max(n, p) for n, p in zip(shape, patch, strict=True))
    unseen = np.zeros(shape, bool)
    for corner in product(*window_starts(padded, patch, model.plan.overlap)):
        begin = [c - (full - n) // 2 for c, full, n in zip(corner, padded, shape, strict=True)]
        ends = [(max(b, 0), min(b + p, n)) for b, p, n in zip(begin, patch, shape, strict=True)]
        scale = [m / n for m, n in zip(bound.shape, shape, strict=True)]
        part = tuple(
            slice(int(np.floor(a * s + 1e-9)), int(np.ceil(b * s - 1e-9)))
            for (a, b), s in zip(ends, scale, strict=True)
        )
        if not bound[part].any():
            unseen[tuple(slice(a, b) for a, b in ends)] = True
    return unseen


def _turned(degrees, spacing):
    a = np.deg2rad(degrees)
    turned = np.eye(4)
    turned[:3, :3] = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]) @ np.diag(spacing)
    return turned


STUDIES = {
    "even": _study(),
    "odd, anisotropic": _study((41, 67, 23), np.diag([1.3, 0.8, 2.7, 1.0])),
    "oblique, backwards": _study((50, 44, 61), _turned(14, (-1.1, 1.0, -0.9))),
    "below a patch": _study((11, 40, 9), spots=1),
    "one slice": _study((50, 60, 1), np.diag([1.0, 1.0, 4.0, 1.0])),
    "nothing there": _study((40, 40, 40), spots=0),
}


@pytest.mark.parametrize("name", list(STUDIES))
@pytest.mark.parametrize("orientation", ["RAS", "SPL"])
def test_labels_are_those_of_every_window_but_background_in_windows_beyond_the_bound(tmp_path, name, orientation):
    model, image = _bounded(tmp_path, orientation=orientation), STUDIES[name]
    prepared = prepare([image], model.plan)
    with Predictor(model) as predictor, Predictor(model, every_window=True) as everywhere:
        certain = np.eye(3, dtype=np.float32)[0][:, None, None, None]
        whole = everywhere.predict(prepared)
        expected = restore_labels(np.where(_unseen(model, image), certain, whole), prepared.trace, model.plan.labels)
        _, labelled = predictor.label([image])
        _, every = everywhere.label([image])
    assert np.mean(labelled.mask != expected) < 5e-5  # ties within rounding
    assert every.windows is None
    assert not (labelled.mask[labelled.mask > 0] != every.mask[labelled.mask > 0]).any()  # lost perhaps, never invented
    assert labelled.windows.run + labelled.windows.beyond == labelled.windows.total


def test_every_window_is_run_where_the_coarse_pass_finds_nothing_and_that_is_said(tmp_path):
    model = _bounded(tmp_path, coarse_levels=(9.0, 9.5))  # blind
    with Predictor(model) as predictor, Predictor(model, every_window=True) as everywhere:
        trace, labelled = predictor.label([STUDIES["even"]])
        _, every = everywhere.label([STUDIES["even"]])
    assert labelled.mask.any()
    np.testing.assert_array_equal(labelled.mask, every.mask)
    assert labelled.windows.run == labelled.windows.total
    decoded = DECODERS["segment"].decode(labelled, trace, model.plan, Calibration())
    assert "found nothing in this study" in decoded.notes[0]


def _record(**changes):
    return LOST.model_copy(update=changes)


@pytest.mark.parametrize(
    ("validation", "test", "problem"),
    [
        ({}, {}, "fewer than 5 test cases"),
        ({}, {"white": _record(cases=4)}, "fewer than 5 test cases"),
        ({"grey": LOST}, {"white": LOST}, "no test case has grey"),
        ({}, {"white": LOST, "grey": _record(voxels_lost=3)}, "loses 0.30% of grey"),
        ({}, {"white": _record(lesions_lost=3)}, "1.5% of its parts"),
    ],
)
def test_a_coarse_network_is_off_unless_its_record_of_test_cases_allows_it(tmp_path, validation, test, problem):
    model = _bounded(tmp_path, test={"white": LOST})
    entry = model.info.coarse.model_copy(update={"validation": validation, "test": test})
    assert problem in entry.problem
    model = seal(model.path, model.info.model_copy(update={"coarse": entry}))
    with Predictor(model) as predictor:
        assert predictor.label([STUDIES["even"]])[1].windows is None


def test_the_map_is_the_probability_of_anything_but_background(tmp_path):
    model, image = _bounded(tmp_path).coarse(), STUDIES["oblique, backwards"]
    coarse = CoarsePass(model)
    coarse.load()
    found = coarse([image])
    coarse.release()
    with Predictor(model) as predictor:
        expected = 1 - predictor.predict(prepare([image], model.plan))[0]
    axis = found.trace.order.index(2)
    seen = np.flip(found.foreground, axis) if found.trace.flips[axis] else found.foreground
    np.testing.assert_allclose(seen, expected, atol=1e-3)


def test_a_changed_coarse_network_is_noticed(tmp_path):
    model = _bounded(tmp_path)
    assert model.verify().faults == ()
    path = model.path / "coarse" / "model.json"
    path.write_text(path.read_text().replace("tests", "other"))
    assert Model.open(model.path).verify().faults == ("coarse/model.json was changed",)
    with pytest.raises(ModelError, match=r"coarse/model\.json"):
        Predictor(Model.open(model.path))


@pytest.mark.parametrize("name", list(STUDIES))
def test_a_target_lies_in_the_coarse_voxels_that_hold_its_centres(name):
    image = STUDIES[name]
    trace = trace_of(image, GridPlan(resize="spacing", spacing=COARSE, orientation="RAS"))
    here = image.array[0] > 200
    target = target_of(here, trace)
    assert target.voxels.sum() == here.sum()
    counted = np.zeros(trace.working_shape, np.int64)
    counted[tuple(target.places.T)] = target.voxels
    oriented = np.transpose(here, trace.order)
    flips = tuple(n for n, flip in enumerate(trace.flips) if flip)
    index = np.nonzero(np.flip(oriented, flips))
    expected = np.zeros(trace.working_shape, np.int64)
    sizes = zip(index, oriented.shape, trace.working_shape, strict=True)
    np.add.at(expected, tuple(np.floor((i + 0.5) * n / full).astype(int) for i, full, n in sizes), 1)
    axis = trace.order.index(2)
    np.testing.assert_array_equal(counted, np.flip(expected, axis) if trace.flips[axis] else expected)
    assert len(np.unique(target.lesions[:, 0])) == label(here, np.ones((3, 3, 3)))[1]


def _seen(foreground, here, *, name="grey", patient="a"):
    """A study on whose grid fine and coarse voxels are the same."""
    image = Image(np.zeros((1, *here.shape), np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
    trace = trace_of(image, GridPlan(resize="spacing", spacing=(4.0,) * 3, orientation="RAS"))
    return Seen(CoarseMap(trace, foreground.astype(np.float16)), here.shape, {name: target_of(here, trace)}, patient)


def _line(*places, size=40):
    line = np.zeros((size, 9, 9))
    for place, value in places:
        line[place, 4, 4] = value
    return line


def test_the_margin_reaches_every_voxel_of_validation_and_a_little_further():
    plan = _plan(FINE, patch=(8, 8, 8))
    near = _seen(_line((10, 0.9)), _line((12, 1)) > 0)
    on = _seen(_line((30, 0.7)), _line((30, 1)) > 0)
    choice = choose([near, on], plan)
    assert choice.margin == pytest.approx(2 * 4.0 + 10.0)  # two voxels of 4 mm, and the allowance
    assert 0 < choice.windows < 1
    bound = near.map.bound(choice.threshold, choice.margin)
    assert bound[12, 4, 4]
    assert not bound[30, 4, 4]


def test_a_lower_threshold_is_taken_where_a_target_was_hardly_seen():
    faint = _seen(_line((20, 0.03)), _line((20, 1)) > 0)
    assert choose([faint], _plan(FINE, patch=(8, 8, 8))).threshold <= 0.02


def test_there_is_no_choice_when_a_target_was_not_seen_at_all():
    missed = _seen(_line(), _line((20, 1)) > 0)
    assert choose([missed], _plan(FINE, patch=(8, 8, 8))) is None


def test_what_is_lost_is_counted_by_voxel_and_by_lesion():
    here = _line((5, 1), (6, 1), (20, 1), (30, 1), (31, 1), (32, 1)) > 0  # lesions of 2, 1 and 3 voxels
    seen = _seen(_line((5, 0.9), (31, 0.9)), here)
    other = _seen(_line((8, 0.9)), _line((8, 1)) > 0, patient="b")
    lost = lost_of([seen, other], 0.5, 0.0)["grey"]
    assert (lost.cases, lost.patients, lost.voxels, lost.lesions) == (2, 2, 7, 4)
    assert lost.voxels_lost == 4  # the second, the third, and both ends of the last
    assert (lost.lesions_lost, lost.lesions_cut) == (1, 2)
    assert lost.voxel_interval[0] <= 4 / 7 <= lost.voxel_interval[1]


def test_where_nothing_is_lost_the_interval_is_what_so_few_patients_allow():
    cases = [_seen(_line((8, 0.9)), _line((8, 1)) > 0, patient=name) for name in "abcde"]
    lost = lost_of(cases, 0.5, 0.0)["grey"]
    assert lost.voxels_lost == lost.lesions_lost == 0
    assert lost.voxel_interval == lost.lesion_interval == exact_bound(0.0, 5)


def test_a_labelled_study_is_looked_at_on_its_own_grid(tmp_path):
    model, image = _bounded(tmp_path), STUDIES["odd, anisotropic"]
    coarse = CoarsePass(model.coarse())
    truth = (image.array[0] > 200) * 2
    seen = look([image], truth, model.plan.labels, coarse, model.plan, patient="p")
    coarse.release()
    assert set(seen.targets) == {"white"}
    assert isinstance(seen.targets["white"], Target)
    assert seen.shape == prepare([image], model.plan).array.shape[1:]
    lost = lost_of([seen], 0.5, 3.0)["white"]
    assert lost.voxels == np.count_nonzero(truth)
    assert lost.voxels_lost == 0
