"""Preparation slab by slab against preparation of the whole study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osler.datasets.plan import GridPlan, NormalisationPlan
from osler.datasets.preparation import prepare
from osler.datasets.slabs import SlabSource, fits
from osler.errors import PlanError, Unsuitable
from osler.studies.image import Image
from tiny_models import make_plan

CT = NormalisationPlan(kind="dataset", low=-500.0, high=700.0, mean=50.0, std=300.0)
MR = NormalisationPlan(kind="image", low=0.5, high=99.5)


def plan_of(spacing=(1.5, 1.4, 1.6), orientation="RAS", order=1, normalisation=(MR,), **changes):
    grid = GridPlan(resize="spacing", spacing=spacing, orientation=orientation, order=order)
    channels = tuple(f"c{n}" for n in range(len(normalisation)))
    plan = make_plan(dimensions=3)
    return plan.model_copy(update={"grid": grid, "normalisation": normalisation, "channels": channels, **changes})


def study(shape=(31, 27, 45), spacing=(0.9, 1.0, 2.5), channels=1, seed=0):
    random = np.random.default_rng(seed)
    affine = np.diag([*spacing, 1.0])
    return [Image(random.normal(0, 400, (1, *shape)).astype(np.int16), affine) for _ in range(channels)]


def joined(images, plan, step):
    with SlabSource(images, plan) as source:
        size = source.shape[source.axis]
        slabs = [source.read(start, min(start + step + 5, size)) for start in range(0, size, step)]
        source.check()
    cut = [np.take(slab, range(min(step, slab.shape[source.axis + 1])), axis=source.axis + 1) for slab in slabs]
    whole = np.concatenate(cut, axis=source.axis + 1)
    return np.flip(whole, source.axis + 1) if source.reversed else whole


@pytest.mark.parametrize("step", [1, 8, 100])
@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SAR", "ILP"])
def test_slabs_are_the_prepared_study(step, order, orientation):
    images, plan = study(channels=2), plan_of(order=order, orientation=orientation, normalisation=(CT, MR))
    whole = prepare(images, plan)
    np.testing.assert_allclose(joined(images, plan, step), whole.array, atol=2e-5)


@pytest.mark.parametrize("spacing", [(0.9, 1.0, 2.5), (3.0, 3.0, 0.4), (0.5, 0.5, 9.0)])
@pytest.mark.parametrize("shape", [(31, 27, 45), (9, 8, 1), (1, 5, 60)])
def test_any_spacing_and_shape_goes(spacing, shape):
    images, plan = study(shape), plan_of(spacing)
    np.testing.assert_allclose(joined(images, plan, 4), prepare(images, plan).array, atol=2e-5)


def test_colour_becomes_grey_as_in_the_whole_study():
    image = study()[0]
    colour = replace(image, array=np.concatenate([image.array, image.array // 2, -image.array]))
    plan = plan_of()
    np.testing.assert_allclose(joined([colour], plan, 8), prepare([colour], plan).array, atol=2e-5)


def test_a_study_that_is_blank_within_its_limits_is_refused():
    image = replace(study()[0], array=np.where(study()[0].array > 0, -3000, -2000).astype(np.int16))
    with pytest.raises(Unsuitable, match="is blank"):
        joined([image], plan_of(normalisation=(CT,)), 8)


def test_a_plan_for_a_fixed_shape_does_not_go_in_slabs():
    plan = plan_of(grid=GridPlan(resize="fit", shape=(16, 16, 16), orientation="RAS"))
    whole = prepare(study(), plan)
    assert not fits(whole.trace, plan)
    with pytest.raises(PlanError, match="in slabs"):
        SlabSource(study(), plan)
