"""What is gathered plane by plane against what is taken of the whole study in memory."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from osler.datasets.cropping import box_of
from osler.datasets.first_pass import box_of_planes, ranges_of
from osler.datasets.intensities import Moments
from osler.datasets.plan import GridPlan, NormalisationPlan
from osler.datasets.preparation import prepare
from osler.datasets.slabs import SlabSource
from osler.datasets.trace import trace_of
from osler.errors import Unsuitable
from osler.studies.geometry import flip_and_permute
from osler.studies.image import Image
from osler.studies.volume import Volume, stand_in
from tiny_models import make_plan

CT = NormalisationPlan(kind="dataset", low=-500.0, high=700.0, mean=50.0, std=300.0)
KINDS = {
    "of the data set": CT,
    "percentiles": NormalisationPlan(kind="image", low=0.5, high=99.5),
    "all of the image": NormalisationPlan(kind="image", low=0.0, high=100.0),
    "range": NormalisationPlan(kind="range", low=0.0, high=100.0),
    "range of percentiles": NormalisationPlan(kind="range", low=1.0, high=99.0),
}


class Planes:
    def __init__(self, array, passes):
        self._array, self._passes, self._next = array, passes, 0

    def read(self, start, stop):
        assert start >= self._next
        self._next = stop
        return self._array[..., start:stop]

    def finish(self):
        self._passes.append("finished")


def on_disk(image, passes=None):
    """A volume that gives an image's planes, and tells of each pass."""
    passes = [] if passes is None else passes

    @contextmanager
    def opened():
        passes.append("opened")
        yield Planes(image.array, passes)

    return Volume(replace(image, array=stand_in(image.array.shape, image.array.dtype)), opened, lambda: image)


def study(shape=(31, 27, 45), spacing=(0.9, 1.0, 2.5), dtype=np.int16, seed=0):
    random = np.random.default_rng(seed)
    array = np.asfortranarray(random.normal(0, 400, shape).astype(dtype))
    array[:4], array[:, :, -7:] = 0, 0
    return Image(array[None], np.diag([*spacing, 1.0]))


def plan_of(normalisation, **grid):
    settings = {"resize": "spacing", "spacing": (1.5, 1.4, 1.6), "orientation": "RAS", **grid}
    return make_plan(dimensions=3).model_copy(
        update={"grid": GridPlan(**settings), "normalisation": (normalisation,), "channels": ("image",)}
    )


@pytest.mark.parametrize("normalisation", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("shape", [(31, 27, 45), (130, 180, 190)])
def test_limits_are_those_of_the_whole_study(normalisation, dtype, shape):
    image, plan = study(shape, dtype=dtype), plan_of(normalisation)
    trace = trace_of(image, plan.grid)
    assert ranges_of(on_disk(image), normalisation, 1, "image", trace) == ranges_of(
        image, normalisation, 1, "image", trace
    )


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR", "ILP"])
def test_the_crop_is_that_of_the_whole_study(orientation):
    image, plan = study(), plan_of(CT, orientation=orientation, crop="nonzero")
    trace = trace_of(image, plan.grid)
    laid, _ = flip_and_permute(image.array, np.eye(4), trace.order, trace.flips)
    assert box_of_planes([on_disk(image)], trace) == box_of([laid])


@pytest.mark.parametrize("spacing", [(0.9, 1.0, 2.5), (1.0, 1.0, 5.0), (5.0, 1.0, 1.0)])
@pytest.mark.parametrize("resampling", ["antialiased", "plain", "separate"])
@pytest.mark.parametrize("crop", ["none", "nonzero"])
@pytest.mark.parametrize("normalisation", [CT, KINDS["percentiles"]], ids=["dataset", "image"])
def test_a_study_on_disk_is_prepared_as_in_memory(spacing, resampling, crop, normalisation):
    image = study(spacing=spacing)
    plan = plan_of(normalisation, order=3, resampling=resampling, crop=crop)
    whole = prepare([image], plan).array
    with SlabSource([on_disk(image)], plan) as source:
        size = source.shape[source.axis]
        parts = [source.read(n, min(n + 9, size)) for n in range(0, size, 9)]
        source.check()
    joined = np.concatenate(parts, axis=source.axis + 1)
    np.testing.assert_allclose(np.flip(joined, source.axis + 1) if source.reversed else joined, whole, atol=3e-5)


def test_limits_of_the_data_set_need_no_pass_of_their_own():
    passes = []
    with SlabSource([on_disk(study(), passes)], plan_of(CT)) as source:
        source.read(0, source.shape[source.axis])
        source.check()
    assert passes == ["opened", "finished"]


def test_percentiles_need_one():
    passes = []
    with SlabSource([on_disk(study(), passes)], plan_of(KINDS["percentiles"])) as source:
        source.read(0, source.shape[source.axis])
        source.check()
    assert passes == ["opened", "finished"] * 2


@pytest.mark.parametrize("place", [0, 30, 44])
@pytest.mark.parametrize("normalisation", [CT, KINDS["percentiles"]], ids=["dataset", "image"])
def test_a_value_that_is_not_finite_is_found_wherever_it_lies(place, normalisation):
    """Also in planes that thinning out leaves unread."""
    image = study(dtype=np.float32)
    image.array[0, 5, 5, place] = np.nan
    with pytest.raises(Unsuitable, match="NaN or infinite"):
        _through(image, plan_of(normalisation, spacing=(1.5, 1.4, 60.0), resampling="plain"))


@pytest.mark.parametrize(("value", "match"), [(7, "every value is 7"), (None, "is blank: all its values")])
def test_a_blank_study_is_refused_at_the_end(value, match):
    image = study()
    image.array[...] = value if value is not None else np.where(image.array > 0, -3000, -2000)
    with pytest.raises(Unsuitable, match=match):
        _through(image, plan_of(CT))


def _through(image, plan):
    with SlabSource([on_disk(image)], plan) as source:
        for start in range(source.shape[source.axis]):
            source.read(start, start + 1)
        source.check()


def test_moments_of_parts_are_those_of_the_whole():
    values, moments = np.random.default_rng(0).normal(1e4, 3, 10_000), Moments()
    for part in np.array_split(values, [1, 10, 11, 5000]):
        moments.add(part)
    assert moments.mean == pytest.approx(values.mean(), rel=1e-14)
    assert moments.std == pytest.approx(values.std(), rel=1e-12)
    assert (moments.low, moments.high) == (values.min(), values.max())
