"""What plans of other programs ask of the grid: cropping, kept axes, interpolation of slices, regions, logits back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.transform import resize

from learning_plans import small_plan
from osler.datasets.intensities import limits_of
from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import GridPlan, NormalisationPlan, Plan, RegionPlan
from osler.datasets.plan_checks import check_plan_fields
from osler.datasets.preparation import prepare, prepare_mask, restore, restore_labels, trace_of
from osler.datasets.slabs import SlabSource, fits
from osler.errors import GeometryError, PlanError, Unsuitable
from osler.studies.image import Image
from osler.studies.resample import resample
from tiny_models import make_plan

LABELS = LabelSet(kind="mask", labels=(Label(name="one", value=1), Label(name="two", value=2)))
ALL = NormalisationPlan(kind="image", low=0, high=100)


def lumps(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.2).astype(np.float32)


def a_plan(
    grid: GridPlan, *, channels: tuple[str, ...] = ("image",), how: NormalisationPlan = ALL, **more: Any
) -> Plan:
    return make_plan(grid=grid, channels=channels, normalisation=(how,) * len(channels), **more)


def grid(spacing: tuple[float, ...] = (1, 1, 1), **more: Any) -> GridPlan:
    return GridPlan(resize="spacing", spacing=spacing, **{"order": 3, "resampling": "separate", **more})


def spaced(*spacing: float) -> np.ndarray:
    return np.diag([*spacing, 1.0])


def prepared_without_scaling(array: np.ndarray, affine: np.ndarray, plan: GridPlan) -> np.ndarray:
    wide = NormalisationPlan(kind="dataset", low=-1e6, high=1e6)
    return prepare([Image(array[None], affine)], a_plan(plan, how=wide)).array[0]


@pytest.mark.parametrize("shape", [(9, 14, 11), (20, 8, 16)])
def test_plain_interpolation_is_that_of_scikit_image(shape: tuple[int, int, int]) -> None:
    array = lumps((14, 11, 13))
    spacing = [n / m for n, m in zip((14, 11, 13), shape, strict=True)]
    got = prepared_without_scaling(array, spaced(1, 1, 1), grid(tuple(spacing), resampling="plain"))
    expected = resize(array.astype(float), shape, order=3, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_slices_are_interpolated_within_and_taken_from_the_nearest() -> None:
    array = lumps((14, 11, 6))
    got = prepared_without_scaling(array, spaced(0.9, 1.0, 4.0), grid((1.2, 0.8, 2.7)))
    shape = (round(14 * 0.9 / 1.2), round(11 / 0.8), round(6 * 4 / 2.7))
    within = np.stack(
        [resize(s.T.astype(float), shape[:2], order=3, mode="edge", anti_aliasing=False) for s in array.T], -1
    )
    at = np.meshgrid(*map(np.arange, shape[:2]), (np.arange(shape[2]) + 0.5) * 6 / shape[2] - 0.5, indexing="ij")
    np.testing.assert_allclose(got, map_coordinates(within, at, order=0, mode="nearest"), atol=2e-5)


@pytest.mark.parametrize(
    ("source", "target", "there", "back"),
    [
        ((1, 1, 1), (2, 2, 2), (3, 3, 3), (1, 1, 1)),
        ((1, 1, 3), (1, 1, 1), (3, 3, 3), (1, 1, 1)),  # three times is not more than three times
        ((1, 1, 3.1), (1, 1, 1), (3, 3, 0), (1, 1, 0)),
        ((1, 1, 1), (5, 1, 1), (0, 3, 3), (0, 1, 1)),
        ((5, 1, 1), (1, 1, 5), (0, 3, 3), (1, 1, 0)),  # each way looks at the grid it comes from first
        ((5, 5, 1), (5, 1, 1), (3, 3, 3), (0, 1, 1)),  # two sides are the longest: rods, not slices
    ],
)
def test_the_axis_from_slice_to_slice(source: Any, target: Any, there: Any, back: Any) -> None:
    image = Image(np.zeros((1, 8, 8, 8)), spaced(*source))
    ways = trace_of(image, grid(target)).interpolation
    assert (ways.there, ways.back) == (there, back)


def test_an_axis_may_keep_the_spacing_of_the_study() -> None:
    image = Image(lumps((1, 10, 12, 7)), spaced(2.0, 1.0, 6.0))
    trace = trace_of(image, grid((1.0, 1.0, 99.0), kept_axes=(2,)))
    assert trace.working_shape == (20, 12, 7)


def cropped_case() -> tuple[Image, Image, Plan]:
    first, second = np.zeros((2, 1, 12, 10, 9), np.float32)
    first[0, 3:8, 2:6, 1:5] = 5 + lumps((5, 4, 4))
    second[0, 4:10, 2:5, 2:7] = 7 + lumps((6, 3, 5), 1)
    plan = a_plan(grid(crop="nonzero"), channels=("a", "b"), labels=LABELS)
    return Image(first), Image(second), plan


def test_a_crop_holds_what_is_not_zero_in_any_channel_and_answers_come_back_into_it() -> None:
    first, second, plan = cropped_case()
    prepared = prepare([first, second], plan)
    assert prepared.trace.cropped == (slice(3, 10), slice(2, 6), slice(1, 7))
    np.testing.assert_allclose(prepared.array[0].mean(), 0, atol=1e-5)  # the statistics are those of the crop
    expected = first.array[0, 3:10, 2:6, 1:7]
    np.testing.assert_allclose(prepared.array[0], (expected - expected.mean()) / expected.std(), atol=1e-5)
    answer = np.zeros((3, 7, 4, 6), np.float32)
    answer[2] = 1
    mask = restore_labels(answer, prepared.trace, LABELS)
    whole = np.zeros((12, 10, 9), np.uint8)
    whole[3:10, 2:6, 1:7] = 2
    np.testing.assert_array_equal(mask, whole)
    back = restore(answer, prepared.trace)
    np.testing.assert_array_equal(back[0], whole == 0)  # outside is background, with certainty
    np.testing.assert_array_equal(back[2], whole == 2)


def test_a_mask_is_cropped_as_its_images_are() -> None:
    first, second, plan = cropped_case()
    trace = prepare([first, second], plan).trace
    mask = np.zeros((1, 12, 10, 9), np.uint8)
    mask[0, 5, 4, 3] = 2
    indices = prepare_mask(Image(mask), trace, plan)
    assert indices.shape == (7, 4, 6)
    assert indices[2, 2, 2] == 2


def test_a_study_without_any_voxel_above_nothing_is_refused() -> None:
    _, _, plan = cropped_case()
    with pytest.raises(Unsuitable, match="blank"):
        prepare([Image(np.zeros((1, 4, 4, 4)))] * 2, plan)


def test_statistics_over_what_is_not_zero_leave_the_rest_at_the_mean() -> None:
    array = np.zeros((1, 9, 9, 9), np.float32)
    array[0, 2:7, 2:7, 2:7] = 10 + lumps((5, 5, 5))
    array[0, 4, 4, 4] = 0  # a hole counts as inside
    how = NormalisationPlan(kind="image", low=0, high=100, over="nonzero")
    got = prepare([Image(array)], a_plan(grid(), how=how)).array[0]
    inside = np.zeros((9, 9, 9), bool)
    inside[2:7, 2:7, 2:7] = True
    values = array[0][inside]
    np.testing.assert_allclose(got[inside], (values - values.mean()) / values.std(), atol=1e-5)
    assert not got[~inside].any()


def test_a_range_becomes_zero_to_one() -> None:
    array = lumps((1, 6, 7, 8))
    got = prepare([Image(array)], a_plan(grid(), how=NormalisationPlan(kind="range", low=0, high=100))).array
    np.testing.assert_allclose(got, (array - array.min()) / np.ptp(array), atol=1e-6)


def test_limits_from_all_voxels_leave_none_out() -> None:
    values = np.zeros((1, 2048, 4096), np.float32)
    values[0, 1, 1], values[0, 5, 3] = -3, 9  # every second voxel would miss both
    found = limits_of(values, ALL, 1, "image")
    assert (found.low, found.high) == (-3, 9)
    assert found.mean == pytest.approx(6 / values.size)
    assert found.std == pytest.approx(values.std(dtype=np.float64))


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=0))
    return shifted / shifted.sum(axis=0)


def test_logits_come_back_as_if_they_had_been_interpolated() -> None:
    logits = 8 * np.stack([lumps((10, 9, 8), n) for n in range(3)])
    image = Image(lumps((1, 15, 12, 8)), spaced(1.0, 1.5, 1.0))
    trace = trace_of(image, grid((1.5, 2.0, 1.0), back="logits"))
    assert trace.working_shape == (10, 9, 8)
    expected = softmax(
        np.stack([resize(c.astype(float), (15, 12, 8), order=1, mode="edge", anti_aliasing=False) for c in logits])
    )
    answer = softmax(logits).astype(np.float32)
    np.testing.assert_allclose(restore(answer, trace), expected, atol=1e-5)
    np.testing.assert_array_equal(restore_labels(answer, trace, LABELS), expected.argmax(axis=0))


def test_regions_are_written_one_over_the_other() -> None:
    logits = 8 * np.stack([lumps((10, 9, 8), n) for n in range(2)])
    image = Image(lumps((1, 15, 12, 8)), spaced(1.0, 1.5, 1.0))
    trace = trace_of(image, grid((1.5, 2.0, 1.0), back="logits"))
    regions = (RegionPlan(name="whole", values=(1, 2), writes=1), RegionPlan(name="core", values=(2,), writes=2))
    finer = np.stack([resize(c.astype(float), (15, 12, 8), order=1, mode="edge", anti_aliasing=False) for c in logits])
    answer = (1 / (1 + np.exp(-logits))).astype(np.float32)
    np.testing.assert_allclose(restore(answer, trace, regions=regions), 1 / (1 + np.exp(-finer)), atol=1e-5)
    expected = np.where(finer[1] > 0, 2, np.where(finer[0] > 0, 1, 0))
    np.testing.assert_array_equal(restore_labels(answer, trace, LABELS, regions=regions), expected)
    with pytest.raises(PlanError, match="3 channels do not fit 2 regions"):
        restore_labels(np.zeros((3, 10, 9, 8)), trace, LABELS, regions=regions)


def in_slabs(images: list[Image], plan: Plan, step: int) -> np.ndarray:
    with SlabSource(images, plan) as source:
        size = source.shape[source.axis]
        slabs = [source.read(start, min(start + step, size)) for start in range(0, size, step)]
        source.check()
    whole = np.concatenate(slabs, axis=source.axis + 1)
    return np.flip(whole, source.axis + 1) if source.reversed else whole


@pytest.mark.parametrize("orientation", [None, "LPS", "SRA"])
@pytest.mark.parametrize(
    ("spacing", "plan"),
    [
        ((1.0, 1.0, 1.0), grid((1.3, 0.8, 1.1), crop="nonzero", resampling="plain")),
        ((1.0, 1.0, 5.0), grid((1.3, 0.8, 3.0), crop="nonzero")),
        ((5.0, 1.0, 1.0), grid((3.0, 0.8, 1.2), crop="nonzero")),
        ((1.0, 4.0, 1.0), grid((0.7, 1.0, 1.2), crop="nonzero", kept_axes=(1,))),
        ((1.0, 1.0, 1.0), grid((1.0, 1.0, 1.0), crop="nonzero")),
    ],
)
@pytest.mark.parametrize("step", [3, 100])
def test_slabs_are_the_whole_study_on_such_grids_too(
    orientation: str | None, spacing: Any, plan: GridPlan, step: int
) -> None:
    array = 40 + lumps((1, 17, 15, 19))
    array[:, :3] = array[:, :, 11:] = array[:, :, :, :4] = 0
    images = [Image(array, spaced(*spacing)), Image(np.roll(array, 1, axis=1) * 3, spaced(*spacing))]
    turned = a_plan(plan.model_copy(update={"orientation": orientation}), channels=("a", "b"))
    whole = prepare(images, turned)
    assert fits(whole.trace, turned)
    np.testing.assert_allclose(in_slabs(images, turned, step), whole.array, atol=2e-5)


def test_what_needs_the_whole_study_does_not_go_in_slabs() -> None:
    image = Image(lumps((1, 9, 9, 9)), spaced(1, 1, 4))
    masked = NormalisationPlan(kind="image", low=0, high=100, over="nonzero")
    plan = a_plan(grid(), how=masked)
    assert not fits(trace_of(image, plan.grid), plan)
    flipped = a_plan(grid((1.0, 1.0, 2.0), orientation="RAI"))  # the nearer of two is another one from the other end
    assert not fits(trace_of(image, flipped.grid), flipped)


def test_an_order_is_needed_for_each_axis() -> None:
    with pytest.raises(GeometryError, match="2 interpolation orders do not fit 3 axes"):
        resample(np.zeros((1, 4, 4, 4)), (2, 2, 2), order=(1, 1))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"regions": (RegionPlan(name="a", values=(1,), writes=1),)}, "does not learn structures that overlap"),
        ({"grid": grid((1.0, 1.0), kept_axes=(2,))}, "kept_axes"),
        ({"network": {"kernels": ((3, 3), (3, 3))}}, "the family unet does not have"),
        ({"network": {"family": "nnunet", "kernels": ((3, 2), (3, 3))}}, "an odd size for each"),
        ({"network": {"family": "nnunet", "kernels": ((3, 3),)}}, "1 entries"),
    ],
)
def test_fields_that_do_not_fit_are_named(change: dict[str, Any], match: str) -> None:
    plan = small_plan("segment", 2)
    if isinstance(change.get("network"), dict):
        change = {"network": plan.network.model_copy(update=change["network"])}
    with pytest.raises(PlanError, match=match):
        check_plan_fields(plan.model_copy(update=change))
