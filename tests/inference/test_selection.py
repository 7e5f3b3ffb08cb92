"""Windows that are left out: what they are, and that everything else is answered as if none were."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_fill_holes, gaussian_filter

from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import GridPlan, NormalisationPlan
from osler.datasets.preparation import prepare, restore_labels, trace_of
from osler.inference.labelling import Head, Labeller
from osler.inference.layout import Layer
from osler.inference.predictor import Predictor
from osler.inference.probabilities import softmax
from osler.inference.selection import Body, Bound, Windows, air_rule, calls_air_background, dilated, working_spacing
from osler.inference.slabs import blend
from osler.inference.windows import window_starts
from osler.studies.image import Image
from osler.studies.phantoms.chest_ct import make
from study_blocks import blocks
from tiny_models import make_model, make_plan, thresholds

PATCH = (16, 12, 20)
PLACE = np.random.default_rng(1).normal(size=(5, *PATCH)).astype(np.float32)
CT = (NormalisationPlan(kind="dataset", low=-1024.0, high=1024.0, mean=0.0, std=100.0),)


class Study:
    """An array as ``SlabSource`` gives it."""

    def __init__(self, array, axis, backwards):
        self._array = np.flip(array, axis + 1) if backwards else array
        self.axis, self.reversed, self.shape = axis, backwards, array.shape[1:]

    def read(self, start, stop):
        return np.take(self._array, range(start, stop), axis=self.axis + 1)


def network(windows):
    return windows.sum(axis=1, keepdims=True) * PLACE


def every_other(layer):
    return [(sum(corner) + layer.start) % 3 != 0 for corner in layer.corners]


def joined(array, axis, backwards, select):
    """(F, *shape) and unseen (*shape), planes as the source counts them."""
    settings = {"select": select, "channels": 5} if select else {}
    values, unseen = np.full((5, *array.shape[1:]), np.nan, np.float32), np.zeros(array.shape[1:], bool)
    for block in blend(Study(array, axis, backwards), PATCH, network, **settings):
        values[(slice(None), *block.place)] = block.values
        if block.unseen is not None:
            unseen[block.place] = block.unseen
    return values, unseen


@pytest.mark.parametrize("shape", [(40, 30, 50), (16, 12, 20), (7, 30, 15), (33, 12, 61), (41, 5, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_voxel_all_of_whose_windows_are_run_has_the_same_bits_as_if_all_were(shape, axis, backwards):
    array = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    asked = []

    def select(layer):
        kept = every_other(layer)
        asked.append([layer.box(corner) for corner, keep in zip(layer.corners, kept, strict=True) if not keep])
        return kept

    plain, _ = joined(array, axis, backwards, None)
    values, unseen = joined(array, axis, backwards, select)
    expected = np.zeros(shape, bool)
    for box in (box for boxes in asked for box in boxes):
        expected[tuple(slice(*ends) for ends in box)] = True
    np.testing.assert_array_equal(unseen, expected)
    np.testing.assert_array_equal(values[:, ~unseen], plain[:, ~unseen])


def test_a_layer_of_which_nothing_is_run_is_unseen():
    array = np.ones((1, 40, 30, 50), np.float32)
    values, unseen = joined(array, 2, False, lambda layer: [False] * len(layer.corners))
    assert unseen.all()
    assert not values.any()


GRIDS = {
    "finer in-plane": ((50, 60, 41), (0.8, 0.9, 2.0), (1.5, 1.5, 1.5)),
    "not resampled": ((40, 33, 29), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "three planes": ((20, 25, 3), (1.0, 1.0, 5.0), (1.3, 1.3, 1.0)),
    "one plane": ((20, 25, 1), (1.0, 1.0, 1.0), (1.2, 1.2, 1.0)),
    "coarser than the network": ((30, 30, 20), (3.0, 3.0, 3.0), (1.5, 1.5, 1.0)),
}


@pytest.mark.parametrize("name", list(GRIDS))
@pytest.mark.parametrize("back", ["probabilities", "logits"])
@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR"])
@pytest.mark.parametrize("step", [3, 1000])
def test_what_is_unseen_is_certain_background_before_it_is_interpolated(name, back, orientation, step):
    shape, spacing, working = GRIDS[name]
    image = Image(array=np.zeros((1, *shape), np.int16), affine=np.diag([*spacing, 1.0]))
    resampling = "plain" if back == "logits" else "antialiased"
    grid = GridPlan(resize="spacing", spacing=working, orientation=orientation, resampling=resampling, back=back)
    trace = trace_of(image, grid)
    random = np.random.default_rng(0)
    logits = np.stack([gaussian_filter(random.normal(size=trace.working_shape), 2) for _ in range(4)])
    logits = (30 * logits).astype(np.float32)
    unseen = gaussian_filter(random.normal(size=trace.working_shape), 4) > 0
    labels = LabelSet(kind="mask", labels=tuple(Label(name=f"organ {n}", value=n) for n in range(1, 4)))
    certain = np.eye(4, dtype=np.float32)[0][:, None, None, None]
    expected = restore_labels(np.where(unseen, certain, softmax(logits)), trace, labels)
    mask, tally = _labelled(trace, logits, unseen, step)
    assert np.mean(mask != expected) < 5e-5  # ties within rounding
    assert [int(profile[1:].sum()) for profile in tally.profiles] == [np.count_nonzero(mask)] * 3


def _labelled(trace, logits, unseen, step):
    labeller = Labeller(trace, Head(None, None), len(logits))
    axis = labeller.axis
    if trace.flips[axis]:
        logits, unseen = np.flip(logits, axis + 1), np.flip(unseen, axis)
    mask = np.full(trace.source_shape, 255, np.uint8)
    for block in blocks(logits, axis, step, unseen):
        for first, done in labeller.add(block):
            mask[..., first : first + done.shape[2]] = done
    return mask, labeller.tally


@pytest.mark.parametrize("reach", [(0, 0, 0), (1, 2, 0), (5, 40, 3)])
def test_dilation_is_that_of_a_box(reach):
    mask = np.random.default_rng(0).random((15, 21, 8)) > 0.98
    box = np.ones(tuple(2 * n + 1 for n in reach), bool)
    np.testing.assert_array_equal(dilated(mask, reach), binary_dilation(mask, box))


@pytest.mark.parametrize(
    ("coarse", "fine"), [((5, 7, 3), (31, 29, 40)), ((4, 4, 1), (4, 9, 1)), ((1, 1, 1), (7, 5, 3))]
)
def test_a_box_touches_a_bound_when_one_of_its_voxels_lies_in_it(coarse, fine):
    random = np.random.default_rng(0)
    mask = random.random(coarse) > 0.8
    bound = Bound(mask, fine)
    places = np.ix_(*((2 * np.arange(n) + 1) * c // (2 * n) for n, c in zip(fine, coarse, strict=True)))
    near = mask[places]  # of each fine voxel, whether its centre lies in the bound
    for _ in range(200):
        box = [sorted(random.choice(n + 1, 2, replace=False).tolist()) for n in fine]
        if near[tuple(slice(*ends) for ends in box)].any():
            assert bound.touches(box)


def _chest(seed=3, size=(96, 96, 40), border=1.0, noise=12.0):
    """A chest in more air than its scanner leaves, with noise everywhere."""
    phantom = make(seed, size=size)
    wide = np.pad(phantom.image.array, ((0, 0), (40, 40), (40, 40), (0, 0)), constant_values=-1000).astype(np.float32)
    wide += np.random.default_rng(seed).normal(0, noise, wide.shape)
    return Image(np.clip(wide, -1024, 3071).astype(np.int16), phantom.image.affine, "CT", units="HU")


@pytest.fixture(scope="module")
def ct_model(tmp_path_factory):
    plan = make_plan(
        modality="CT",
        normalisation=CT,
        grid=GridPlan(resize="spacing", spacing=(4.0, 4.0, 4.0), orientation="RAS"),
    )
    return make_model(tmp_path_factory.mktemp("m") / "ct", plan, *thresholds(-5.0, 1.0, slope=3.0))


def _labels(model, image, **options):
    with Predictor(model, **options) as predictor:
        assert predictor.takes_slabs([image])
        return predictor.label([image])[1]


def test_windows_of_noisy_air_are_not_run_and_no_label_changes(ct_model):
    image = _chest()
    some, every = _labels(ct_model, image), _labels(ct_model, image, every_window=True)
    assert every.windows is None
    assert some.windows is not None
    assert some.windows.air > some.windows.total / 4
    assert some.windows.run + some.windows.air == some.windows.total
    assert every.mask.any()
    np.testing.assert_array_equal(some.mask, every.mask)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("turn", [0.0, 17.0])
@pytest.mark.parametrize("planes", [1, 3, 40])
def test_no_label_changes_however_a_study_lies(ct_model, axes, turn, planes):
    image = _chest()
    affine = _turned(turn) @ image.affine
    array = np.transpose(image.array[..., :planes], (0, *(a + 1 for a in axes)))
    columns = [*axes, 3]
    lying = Image(np.ascontiguousarray(array), affine[:, columns], "CT", units="HU")
    some, every = _labels(ct_model, lying), _labels(ct_model, lying, every_window=True)
    np.testing.assert_array_equal(some.mask, every.mask)


def _turned(degrees):
    a = np.deg2rad(degrees)
    turned = np.eye(4)
    turned[:3, :3] = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    return turned


def _windows_left_out(model, image):
    """Boxes on the working grid of the windows that were not run, found by asking with a spy."""
    boxes = []
    from osler.inference import selection

    plain = selection.Selection.__call__

    def spy(self, layer):
        kept = plain(self, layer)
        boxes.extend(layer.box(c) for c, keep in zip(layer.corners, kept, strict=True) if not keep)
        return kept

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection.Selection, "__call__", spy)
        _labels(model, image)
    return boxes


@pytest.mark.parametrize("cut", [(0, 0), (60, 0), (0, 70), (75, 75)])
def test_no_window_that_is_left_out_holds_body_or_lung_even_where_the_border_cuts_it(ct_model, cut):
    image = _chest(noise=20.0)
    image = Image(image.array[:, cut[0] :, cut[1] :], image.affine, "CT", units="HU")
    prepared = prepare([image], ct_model.plan)
    smooth = gaussian_filter(prepared.array[0], (1, 1, 0)) * 100
    body = smooth > -850
    inside = np.stack([binary_fill_holes(body[..., k]) for k in range(body.shape[2])], axis=2)
    for box in _windows_left_out(ct_model, image):
        assert not inside[tuple(slice(*ends) for ends in box)].any()


def test_a_lung_that_is_as_empty_as_air_is_inside(ct_model):
    array = np.full((1, 96, 96, 40), -1000, np.int16)
    array[:, 20:76, 20:76] = 40
    array[:, 24:72, 24:72] = -1000  # larger than a window
    image = Image(array, np.diag([4.0, 4.0, 4.0, 1.0]), "CT", units="HU")
    boxes = _windows_left_out(ct_model, image)
    hole = np.zeros((96, 96, 40), bool)
    hole[20:76, 20:76] = True
    assert boxes
    assert not any(hole[tuple(slice(*ends) for ends in box)].any() for box in boxes)


def _scaled(array):
    return (array - array.mean()) / array.std()


NOT_CT_NUMBERS = {
    "stored from 0 on": lambda a: a + 1024,
    "an intercept applied twice": lambda a: a - 1024,
    "inverted": lambda a: -a,
    "z-scored": _scaled,
    "from 0 to 1": lambda a: (a + 1024) / 4096,
    "eight bits": lambda a: np.clip((a + 200) / 2, 0, 255).astype(np.uint8),
    "a background of 0, as of MR": lambda a: np.where(a > -500, a + 1024, 0),
    "tissue at -600, as of a cone beam": lambda a: np.where(a > -500, -600, a),
}


@pytest.mark.parametrize("name", list(NOT_CT_NUMBERS))
def test_every_window_is_run_where_numbers_are_not_those_of_ct(ct_model, name):
    image = _chest()
    odd = Image(NOT_CT_NUMBERS[name](image.array.astype(np.float32)), image.affine, "CT")
    windows = _labels(ct_model, odd).windows
    assert windows.run == windows.total


@pytest.mark.parametrize("padding", [-2000, -3024, 0])
@pytest.mark.parametrize("table", [False, True])
def test_what_surrounds_a_round_field_of_view_takes_nothing_from_the_body(ct_model, padding, table):
    image = _chest()
    array = image.array.copy()
    if table:
        array[:, 140:146, 20:-20] = -300
    i, j = (np.arange(n) - (n - 1) / 2 for n in array.shape[1:3])
    array[:, np.hypot(i[:, None], j) > array.shape[1] / 2] = padding
    round_one = Image(array, image.affine, "CT", units="HU")
    some, every = _labels(ct_model, round_one), _labels(ct_model, round_one, every_window=True)
    assert some.mask.any()
    np.testing.assert_array_equal(some.mask, every.mask)


def test_every_window_of_a_crop_that_is_all_lung_is_run(ct_model):
    lung = np.random.default_rng(0).normal(-960, 25, (1, 80, 80, 40)).astype(np.int16)  # emphysema
    lung[:, ::20, ::20] = 30  # its vessels
    windows = _labels(ct_model, Image(lung, np.diag([4.0, 4.0, 4.0, 1.0]), "CT", units="HU")).windows
    assert windows.run == windows.total


def test_gas_that_the_corner_of_an_image_cuts_open_is_inside(ct_model):
    array = np.full((1, 96, 96, 40), -1000, np.int16)
    array[:, 60:] = array[:, :, 60:] = 40  # the wall of a cavity whose other half lies beyond the border
    array[:, 80:] = array[:, :, 80:] = -1000
    windows = _labels(ct_model, Image(array, np.diag([4.0, 4.0, 4.0, 1.0]), "CT", units="HU")).windows
    boxes = _windows_left_out(ct_model, Image(array, np.diag([4.0, 4.0, 4.0, 1.0]), "CT", units="HU"))
    assert windows.air == len(boxes)
    assert not any(i[1] <= 80 and j[1] <= 80 for i, j, _ in boxes)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layers_beyond_the_patient_are_run_whole_and_what_is_not_a_number_is_not_air(axis):
    rule = air_rule(make_plan(modality="CT", normalisation=CT))
    planes = np.full((1, 48, 48, 48), -10.0, np.float32)
    shape = tuple(16 if n == axis else 48 for n in range(3))
    planes = planes[(slice(None), *(slice(0, n) for n in shape))]
    corners = [tuple(0 if n == axis else c for n, c in enumerate(place)) for place in product((0, 16, 32), repeat=3)]
    corners = sorted(set(corners))

    def asked(array):
        return Body(rule, axis, (0, 0, 0))(Layer(array, axis, 0, corners, (16, 16, 16), (0, 0, 0), shape))

    assert all(asked(planes))
    body = planes.copy()
    part = [slice(None), *(slice(None) if n == axis else slice(18, 30) for n in range(3))]
    body[tuple(part)] = 0.4
    assert sum(asked(body)) == 1
    odd = body.copy()
    odd[tuple([0, *(3 if n == axis else 40 for n in range(3))])] = np.nan
    assert sum(asked(odd)) == 2


def test_a_network_that_does_not_call_air_background_runs_every_window(tmp_path):
    plan = make_plan(
        modality="CT", normalisation=CT, grid=GridPlan(resize="spacing", spacing=(4.0,) * 3, orientation="RAS")
    )
    weights, bias = thresholds(-5.0, 1.0, slope=3.0)
    model = make_model(tmp_path / "odd", plan, weights, bias + np.array([0.0, 200.0, 0.0]))
    labelled = _labels(model, _chest())
    assert labelled.windows is None
    assert np.median(labelled.mask[:5]) == 1  # air is what it calls the first label


@pytest.mark.parametrize(("stray", "background"), [(0, True), (5, True), (6, False), (512, False)])
def test_stray_voxels_of_air_are_not_what_a_network_calls_it(stray, background):
    logits = np.zeros((2, 512), np.float32)
    logits[1] = np.where(np.arange(512) < stray, 1, -1)
    rule = air_rule(make_plan(modality="CT", normalisation=CT))
    answer = calls_air_background(rule, (8, 8, 8), lambda windows: windows, lambda _: logits, windows=2)
    assert answer is background


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "MR"},
        {"modality": ""},
        {"modality": "CT", "normalisation": (NormalisationPlan(kind="image", low=0.5, high=99.5),)},
    ],
)
def test_without_ct_numbers_there_is_no_rule_for_air(changes):
    assert air_rule(make_plan(**changes)) is None


def test_the_rule_for_air_follows_the_limits_of_the_plan():
    rule = air_rule(make_plan(modality="CT", normalisation=CT))
    assert rule is not None
    assert (*rule.mean, *rule.single, *rule.air) == pytest.approx((-9.0, -7.0, -10.0))
    soft = (NormalisationPlan(kind="dataset", low=-160.0, high=240.0, mean=40.0, std=100.0),)
    rule = air_rule(make_plan(modality="CT", normalisation=soft))
    assert rule is not None  # everything up to -160 HU is one value, and one HU more is not
    assert (*rule.mean, *rule.single, *rule.air) == pytest.approx((-1.99, -1.99, -2.0))


def test_the_spacing_of_the_working_grid_is_in_its_own_order():
    image = Image(np.zeros((1, 40, 30, 20), np.int16), np.diag([1.0, 2.0, 3.0, 1.0]))
    trace = trace_of(image, GridPlan(resize="spacing", spacing=(1.5, 1.0, 2.0), orientation="SAR"))
    assert working_spacing(trace) == pytest.approx((1.5, 1.0, 2.0))


def test_findings_say_how_many_windows_were_run():
    assert Windows(10, 10).notes() == ()
    (note,) = Windows(10, 3, air=2, beyond=5).notes()
    assert "3 of 10 windows" in note
    assert "2 hold only air" in note
    assert "5 lie away" in note


@pytest.mark.slow
def test_on_a_real_ct_no_label_changes(ct_model, shared):
    from osler.studies.formats import read_image

    path = next((shared / "ct-organs").rglob("*.nii.gz"))
    image = read_image(path)
    some, every = _labels(ct_model, image), _labels(ct_model, image, every_window=True)
    np.testing.assert_array_equal(some.mask, every.mask)


def test_windows_start_where_the_plain_way_lays_them(ct_model):
    image = _chest()
    shape = prepare([image], ct_model.plan).array.shape[1:]
    starts = window_starts(shape, ct_model.plan.patch, ct_model.plan.overlap)
    some = _labels(ct_model, image)
    assert some.windows.total == len(list(product(*starts)))
