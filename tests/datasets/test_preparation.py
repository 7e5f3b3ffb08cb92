"""From study to network input and back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation

from osler.datasets.intensities import to_colours
from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import (
    AugmentationPlan,
    GridPlan,
    LossPlan,
    NetworkPlan,
    NormalisationPlan,
    OptimiserPlan,
    Plan,
)
from osler.datasets.preparation import (
    grid_difference,
    prepare,
    prepare_mask,
    restore,
    restore_labels,
    trace_of,
)
from osler.errors import GridMismatch, PlanError, Unsuitable
from osler.studies.image import Image

LABELS = LabelSet(kind="mask", labels=(Label(name="ball", value=2), Label(name="pea", value=7)))
CODES = ["".join(c) for p in itertools.permutations(("LR", "PA", "IS")) for c in itertools.product(*p)]


def a_plan(grid, *, dimensions=3, channels=("image",), colours=1, modality="", normalisation=None, labels=LABELS):
    kind = normalisation or NormalisationPlan(kind="image", low=0.5, high=99.5)
    return Plan(
        task="segment",
        dimensions=dimensions,
        channels=channels,
        colours=colours,
        labels=labels,
        modality=modality,
        grid=grid,
        normalisation=(kind,) * len(channels),
        patch=(8,) * dimensions,
        batch=1,
        network=NetworkPlan(family="unet", features=(8,), strides=((1,) * dimensions,), blocks=(1,)),
        loss=LossPlan(name="dice_ce"),
        optimiser=OptimiserPlan(),
        augmentation=AugmentationPlan(flips=(False,) * dimensions),
        steps=1,
    )


def keep(dimensions=3, spacing=1.0, orientation="RAS"):
    return GridPlan(resize="spacing", spacing=(spacing,) * dimensions, orientation=orientation)


def shapes_mask(shape, spacing=(1, 1, 1)):
    """Two balls in a (1, *shape) mask with the values of ``LABELS``."""
    at = np.stack(np.meshgrid(*[(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=False)], indexing="ij"))
    extent = np.array([n * s for n, s in zip(shape, spacing, strict=False)])[(slice(None), *[None] * len(shape))]
    mask = np.zeros(shape, np.int16)
    mask[np.sqrt(((at - extent * 0.35) ** 2).sum(0)) < extent.min() * 0.25] = 2
    mask[np.sqrt(((at - extent * 0.75) ** 2).sum(0)) < extent.min() * 0.22] = 7
    return mask[None]


def _signed(codes, spacing):
    """The affine of a grid whose axes grow towards ``codes``, by nibabel's reading of the codes."""
    ornt = axcodes2ornt(tuple(codes))
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(ornt):
        affine[int(world), axis] = sign * spacing[axis]
    affine[:3, 3] = (3, -5, 8)
    return affine


def one_hot(indices, classes=3):
    return (indices[None] == np.arange(classes)[(slice(None), *[None] * indices.ndim)]).astype(np.float32)


def dice(a, b):
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


def noisy(mask, seed=0):
    return np.random.default_rng(seed).normal(mask * 10.0, 1).astype(np.float32)


@pytest.mark.parametrize("codes", CODES)
def test_a_mask_comes_back_exactly_from_every_orientation(codes):
    mask = np.random.default_rng(3).choice([0, 2, 7], size=(1, 5, 7, 4))
    affine = _signed(codes, (1, 1, 1))
    plan = a_plan(keep())
    prepared = prepare([Image(noisy(mask), affine)], plan)
    indices = prepare_mask(Image(mask, affine), prepared.trace, plan)
    assert np.array_equal(restore_labels(one_hot(indices), prepared.trace, LABELS), mask[0])
    back = restore(one_hot(indices), prepared.trace)
    assert np.array_equal(np.array([0, 2, 7])[back.argmax(0)], mask[0])


@pytest.mark.parametrize("codes", CODES)
def test_the_working_grid_is_that_of_nibabel(codes):
    array = np.random.default_rng(4).normal(size=(1, 5, 7, 4))
    affine = _signed(codes, (1, 1, 1))
    plan = a_plan(keep(), normalisation=NormalisationPlan(kind="dataset", low=-99, high=99))
    expected = apply_orientation(array[0], io_orientation(affine))
    np.testing.assert_allclose(prepare([Image(array, affine)], plan).array[0], expected, rtol=1e-6)


@given(
    st.sampled_from(CODES),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.sampled_from(CODES),
    st.integers(0, 2**31),
)
@settings(max_examples=50, deadline=None)
def test_any_two_orientations_and_shapes_round_trip(source, shape, working, seed):
    mask = Image(np.random.default_rng(seed).choice([0, 2, 7], size=(1, *shape)), _signed(source, (1, 1, 1)))
    trace = trace_of(mask, keep(orientation=working))
    indices = prepare_mask(mask, trace, a_plan(keep()))
    assert np.array_equal(restore_labels(one_hot(indices), trace, LABELS), mask.array[0])


@pytest.mark.parametrize(
    ("shape", "spacing", "target"),
    [
        ((48, 40, 44), (1, 1, 1), (0.7, 0.7, 0.7)),
        ((48, 40, 44), (1, 1, 1), (1.4, 1.3, 1.2)),
        ((64, 60, 16), (0.7, 0.7, 3), (1, 1, 1)),
        ((64, 60, 20), (0.8, 0.8, 2.5), (0.8, 0.8, 2.5)),
    ],
)
def test_blobs_survive_down_and_up_sampling(shape, spacing, target):
    mask = Image(shapes_mask(shape, spacing), _signed("LPS", spacing))
    plan = a_plan(GridPlan(resize="spacing", spacing=target, orientation="RAS", order=3))
    prepared = prepare([Image(noisy(mask.array), mask.affine)], plan)
    indices = prepare_mask(mask, prepared.trace, plan)
    assert indices.shape == prepared.array.shape[1:]
    back = restore_labels(one_hot(indices), prepared.trace, LABELS)
    assert min(dice(back == v, mask.array[0] == v) for v in (2, 7)) > 0.97


@pytest.mark.parametrize("resize", ["fit", "stretch"])
@pytest.mark.parametrize("shape", [(64, 64), (120, 50), (31, 90), (300, 200)])
def test_pictures_of_unequal_sizes_come_onto_one_grid_and_back(resize, shape):
    mask = Image(shapes_mask(shape), spacing_known=False)
    plan = a_plan(GridPlan(resize=resize, shape=(96, 80)), dimensions=2)
    prepared = prepare([Image(noisy(mask.array), spacing_known=False)], plan)
    indices = prepare_mask(mask, prepared.trace, plan)
    assert prepared.array.shape == (1, 96, 80)
    assert indices.shape == (96, 80)
    back = restore_labels(one_hot(indices), prepared.trace, LABELS)
    assert back.shape == shape
    assert min(dice(back == v, mask.array[0] == v) for v in (2, 7)) > 0.93


def test_fit_keeps_proportions_and_pads_centrally_with_the_darkest_value():
    picture = Image(np.random.default_rng(0).uniform(1, 2, (1, 100, 40)), spacing_known=False)
    prepared = prepare([picture], a_plan(GridPlan(resize="fit", shape=(50, 50)), dimensions=2))
    assert prepared.trace.working_shape == (50, 20)
    assert prepared.trace.pad_low == (0, 15)
    assert (prepared.array[0, :, :15] == prepared.array.min()).all()
    assert prepared.array[0, :, 15:35].std() > 0


def test_fit_is_uniform_in_millimetres():
    volume = Image(np.random.default_rng(0).normal(size=(1, 40, 40, 10)), np.diag([1, 1, 5.0, 1]))
    trace = trace_of(volume, GridPlan(resize="fit", shape=(32, 32, 32)))
    assert trace.working_shape == (26, 26, 32)


def test_image_normalisation_is_that_of_numpy():
    array = np.random.default_rng(1).gamma(2, 50, (1, 20, 30)).astype(np.float32)
    plan = a_plan(keep(2), dimensions=2, normalisation=NormalisationPlan(kind="image", low=1, high=99))
    clipped = np.clip(array.astype(float), *np.percentile(array, (1, 99)))
    expected = (clipped - clipped.mean()) / clipped.std()
    np.testing.assert_allclose(prepare([Image(array)], plan).array, expected, atol=1e-5)


def test_dataset_normalisation_uses_the_plans_four_numbers():
    array = np.array([[[-2000.0, -100, 0, 50, 3000]]])
    plan = a_plan(
        keep(2), dimensions=2, normalisation=NormalisationPlan(kind="dataset", low=-100, high=300, mean=50, std=25)
    )
    np.testing.assert_allclose(prepare([Image(array)], plan).array[0, 0], [-6, -6, -2, 0, 10])


def test_preparing_twice_gives_the_same_bits():
    image = Image(noisy(shapes_mask((30, 20, 10))), _signed("PIR", (1, 2, 3)))
    plan = a_plan(keep(spacing=1.5))
    assert prepare([image], plan).array.tobytes() == prepare([image], plan).array.tobytes()


def test_grey_and_colour_become_each_other():
    colour = np.random.default_rng(0).integers(0, 255, (3, 6, 5)).astype(np.uint8)
    luma = np.tensordot([0.299, 0.587, 0.114], colour.astype(float), axes=1)
    np.testing.assert_allclose(to_colours(colour, 1)[0], luma, rtol=1e-5)
    prepared = prepare([Image(colour[:1])], a_plan(keep(2), dimensions=2, colours=3))
    assert prepared.array.shape == (3, 6, 5)
    assert np.array_equal(prepared.array[0], prepared.array[2])
    assert (
        prepare([Image(colour)], a_plan(keep(2), dimensions=2, colours=3)).array[0].tobytes()
        != prepared.array[0].tobytes()
    )
    with pytest.raises(Unsuitable, match="4 channels"):
        to_colours(np.zeros((4, 6, 5)), 3)


def test_channels_are_stacked_in_the_plans_order():
    one, other = (Image(noisy(shapes_mask((8, 8)), seed)) for seed in (1, 2))
    plan = a_plan(keep(2), dimensions=2, channels=("T1", "FLAIR"))
    assert np.array_equal(prepare([one, other], plan).array[::-1], prepare([other, one], plan).array)


def picture(shape=(1, 6, 6), **changes):
    return replace(Image(np.random.default_rng(0).normal(size=shape)), **changes)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([picture((1, 6, 6, 6))], "3D with shape .* the plan is for 2D"),
        ([picture(), picture()], "2 images where 1 are needed. give one image for each of image"),
        ([picture(modality="MR")], "of modality MR, the plan is for DX. give DX studies"),
        ([picture(array=np.full((1, 6, 6), 3.0))], "blank: every value is 3"),
        ([picture(array=np.array([[[1.0, np.nan], [2, 3]]]))], "NaN or infinite"),
        ([picture(array=np.array([[[1.0, np.inf], [2, 3]]]))], "NaN or infinite"),
    ],
)
def test_an_unsuitable_study_is_refused_with_the_remedy(images, message):
    with pytest.raises(Unsuitable, match=message):
        prepare(images, a_plan(keep(2), dimensions=2, modality="DX"))


def test_the_kinds_of_plain_radiograph_are_one_modality():
    assert prepare([picture(modality="CR")], a_plan(keep(2), dimensions=2, modality="DX")).array.shape == (1, 6, 6)


def test_a_study_in_other_units_is_blank_after_the_window():
    plan = a_plan(keep(2), dimensions=2, normalisation=NormalisationPlan(kind="dataset", low=1000, high=2000))
    with pytest.raises(Unsuitable, match="intensities are in the units"):
        prepare([picture()], plan)


def test_pixels_are_not_taken_for_millimetres():
    grid = GridPlan(resize="spacing", spacing=(1, 1), spacing_known=True)
    with pytest.raises(Unsuitable, match="in pixels, the plan's in millimetres"):
        prepare([picture(spacing_known=False)], a_plan(grid, dimensions=2))


def test_channels_on_two_grids_are_refused():
    shifted = picture(affine=np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 2)
    with pytest.raises(Unsuitable, match="channel b does not lie on the grid of a"):
        prepare([picture(affine=np.eye(4)), shifted], a_plan(keep(2), dimensions=2, channels=("a", "b")))


def test_a_mask_on_another_grid_or_with_foreign_values_is_refused():
    image = picture()
    plan = a_plan(keep(2), dimensions=2)
    trace = prepare([image], plan).trace
    with pytest.raises(GridMismatch, match=r"shape \(7, 6\) instead of \(6, 6\)"):
        prepare_mask(Image(np.zeros((1, 7, 6), np.uint8)), trace, plan)
    with pytest.raises(Unsuitable, match=r"no label: 1, 3\. the labels are 2 ball, 7 pea"):
        prepare_mask(Image(np.arange(36).reshape(1, 6, 6) % 4), trace, plan)
    with pytest.raises(Unsuitable, match=r"no label: 0\.5"):
        prepare_mask(Image(np.full((1, 6, 6), 0.5)), trace, plan)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.float32, np.float64, np.int64])
def test_a_mask_may_have_any_type(dtype):
    mask = shapes_mask((8, 8)).astype(dtype)
    plan = a_plan(keep(2), dimensions=2)
    trace = trace_of(Image(mask), plan.grid)
    assert np.array_equal(np.array([0, 2, 7])[prepare_mask(Image(mask), trace, plan)], mask[0])


def test_an_empty_mask_is_all_background():
    plan = a_plan(GridPlan(resize="stretch", shape=(9, 4)), dimensions=2)
    trace = trace_of(picture(), plan.grid)
    assert not prepare_mask(Image(np.zeros((1, 6, 6), bool)), trace, plan).any()


def test_restored_labels_take_the_smallest_type_and_need_a_channel_per_label():
    trace = trace_of(picture(), keep(2))
    wide = LabelSet(kind="mask", labels=(Label(name="a", value=1), Label(name="b", value=700)))
    assert restore_labels(np.zeros((3, 6, 6)), trace, LABELS).dtype == np.uint8
    assert restore_labels(np.zeros((3, 6, 6)), trace, wide).dtype == np.uint16
    with pytest.raises(PlanError, match="2 channels do not fit"):
        restore_labels(np.zeros((2, 6, 6)), trace, LABELS)


def test_class_by_class_is_the_same_as_all_at_once():
    image = Image(noisy(shapes_mask((20, 14, 9))), _signed("LIP", (1, 1, 2)))
    trace = trace_of(image, keep(spacing=1.6))
    scores = np.random.default_rng(5).random((3, *trace.padded_shape), np.float32)
    expected = np.array([0, 2, 7])[restore(scores, trace).argmax(0)]
    assert np.array_equal(restore_labels(scores, trace, LABELS), expected)


def test_headers_that_round_are_one_grid():
    assert grid_difference(picture(affine=np.eye(4)), picture(affine=np.eye(4) * 1.001)) == ""
    assert "corners lie" in grid_difference(picture(affine=np.eye(4)), picture(affine=np.diag([1.2, 1, 1, 1])))


def test_a_grid_plan_of_another_dimension_is_refused():
    with pytest.raises(PlanError, match="no size per axis of a 2D image"):
        trace_of(picture(), keep(3))
