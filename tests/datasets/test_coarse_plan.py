"""When a coarse pass is planned, and what its network's plan is."""

from __future__ import annotations

import numpy as np
import pytest

from osler.datasets.coarse import coarse_plan, worth_of
from osler.datasets.fingerprint import ChannelStatistics, Fingerprint, LabelStatistics
from osler.datasets.hardware import Hardware
from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import Plan
from osler.datasets.plan_checks import check_plan_fields
from osler.datasets.planner import make_plan
from osler.errors import PlanError
from osler.inference.windows import window_starts

HARDWARE = Hardware(cores=2, memory_gib=16.0, bf16=True)


def _fingerprint(shape=(320, 320, 200), spacing=(1.2, 1.2, 1.5), *, voxels=600.0, extent=(8.0, 8.0, 6.5), known=True):
    channel = {f.alias or name: 1.0 for name, f in ChannelStatistics.model_fields.items() if name != "name"}
    return Fingerprint(
        name="phantoms",
        cases=60,
        patients=60,
        dimensions=3,
        modality="CT",
        spacing_known=known,
        units="HU",
        labels=LabelSet(kind="mask", labels=(Label(name="nodule", value=1),)),
        channels=(
            ChannelStatistics(
                name="image", **{**channel, "foreground_percentile_00_5": -900.0, "foreground_percentile_99_5": 300.0}
            ),
        ),
        median_shape=tuple(map(float, shape)),
        minimum_shape=shape,
        maximum_shape=shape,
        median_spacing=spacing,
        minimum_spacing=spacing,
        maximum_spacing=spacing,
        orientations={"RAS": 60},
        label_statistics=(
            LabelStatistics(name="nodule", cases=60, fraction=1e-4, median_voxels=voxels, median_extent=extent),
        ),
    )


def _plan(fingerprint, **options):
    return make_plan(fingerprint, steps=1000, hardware=HARDWARE, **options)


def test_small_targets_in_a_large_volume_get_a_coarse_network():
    plan = _plan(_fingerprint())
    assert plan.coarse is not None
    assert plan.reasons["coarse"].startswith("targets are expected to touch")
    fewer = np.prod(plan.coarse.grid.spacing) / np.prod(plan.grid.spacing)
    assert fewer >= 6
    assert max(plan.coarse.grid.spacing) <= 8 * 1.2 / 2.5 + 1e-6  # two and a half voxels across the narrowest extent


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"shape": (64, 64, 48)}, "too few"),
        ({"voxels": 6e6, "extent": (220.0, 220.0, 150.0)}, "times fewer voxels"),
        ({"voxels": 20.0, "extent": (3.0, 3.0, 2.0)}, "times fewer voxels"),
    ],
)
def test_where_it_saves_nothing_there_is_none_and_the_reason_says_so(changes, why):
    plan = _plan(_fingerprint(**changes))
    assert plan.coarse is None
    assert why in plan.reasons["coarse"]


def test_targets_that_fill_the_study_leave_no_window_out():
    fingerprint = _fingerprint(voxels=6e6, extent=(220.0, 220.0, 150.0))
    plan = _plan(fingerprint, overrides={"grid.spacing": [1.2, 1.2, 1.5]})
    assert plan.coarse is None
    assert "touch" in plan.reasons["coarse"]


def test_it_can_be_refused_and_asked_for():
    fingerprint = _fingerprint()
    assert _plan(fingerprint, coarse=False).coarse is None
    crowded = _fingerprint(voxels=6e6, extent=(220.0, 220.0, 150.0))
    assert _plan(crowded, coarse=True).coarse is not None
    assert _plan(fingerprint, overrides={"coarse": None}).coarse is None


def test_asking_for_it_where_no_coarser_grid_shows_the_targets_is_refused():
    tiny = _fingerprint(voxels=2.0, extent=(1.0, 1.0, 1.0))
    with pytest.raises(PlanError, match="coarse-to-fine is not possible"):
        _plan(tiny, coarse=True)


def test_folds_have_none_because_it_would_have_seen_their_cases():
    plan = _plan(_fingerprint(), folds=3)
    assert plan.coarse is None
    assert "folds" in plan.reasons["coarse"]
    with pytest.raises(PlanError, match="other folds"):
        _plan(_fingerprint(), folds=3, coarse=True)


def test_the_plan_of_the_coarse_network_is_the_fine_one_on_another_grid():
    plan = _plan(_fingerprint())
    own = coarse_plan(plan)
    assert own is not None
    check_plan_fields(own)
    assert own.coarse is None
    assert coarse_plan(own) is None
    assert (own.labels, own.normalisation, own.modality) == (plan.labels, plan.normalisation, plan.modality)
    assert own.grid == plan.coarse.grid
    assert 0 < own.steps <= plan.steps


def test_a_plan_with_a_coarse_network_survives_its_file():
    plan = _plan(_fingerprint())
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_the_time_of_the_coarse_network_is_taken_from_the_fine_one():
    fingerprint = _fingerprint()
    with_it = make_plan(fingerprint, budget_s=900.0, hardware=HARDWARE)
    without = make_plan(fingerprint, budget_s=900.0, hardware=HARDWARE, coarse=False)
    assert with_it.steps == int(without.steps * (1 - with_it.coarse.share))


@pytest.mark.parametrize("shape", [(320, 320, 200), (97, 133, 64), (512, 512, 301)])
def test_windows_are_counted_as_they_will_lie(shape):
    fingerprint = _fingerprint(shape)
    plan = _plan(fingerprint)
    working = tuple(max(1, round(n * s / g)) for n, s, g in zip(shape, (1.2, 1.2, 1.5), plan.grid.spacing, strict=True))
    padded = [max(n, p) for n, p in zip(working, plan.patch, strict=True)]
    counted = np.prod([len(starts) for starts in window_starts(padded, plan.patch, plan.overlap)])
    assert worth_of(fingerprint, plan).windows == counted
