"""The plan: a pure function of fingerprint, task, budget, hardware and timings."""

from __future__ import annotations

import math
from typing import Any

import pytest

from osler.datasets.candidates import step_cost, steps_needed, variants
from osler.datasets.fingerprint import ChannelStatistics, Fingerprint, LabelStatistics
from osler.datasets.hardware import Hardware
from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import Plan
from osler.datasets.planner import make_plan, offered, override, timing_key
from osler.errors import PlanError

MACHINE = Hardware(processor="test", cores=2, memory_gib=16, bf16=True)
CHANNEL = ChannelStatistics(
    name="image",
    minimum=-1000,
    maximum=2000,
    mean=-200,
    std=400,
    percentile_00_5=-990,
    percentile_50=-100,
    percentile_99_5=1200,
    foreground_mean=60,
    foreground_std=110,
    foreground_percentile_00_5=-150,
    foreground_percentile_99_5=300,
)


def fingerprint(kind: str = "mask", names: tuple[str, ...] = ("liver", "tumour"), **changes: Any) -> Fingerprint:
    labels = tuple(Label(name=name, value=n + 1) for n, name in enumerate(names))
    statistics = tuple(
        LabelStatistics(name=name, cases=50, fraction=0.02, median_voxels=900.0, median_extent=(20.0, 20.0, 12.0))
        for name in names
    )
    fields: dict[str, Any] = {
        "name": "test",
        "cases": 100,
        "patients": 100,
        "dimensions": 3,
        "modality": "MR",
        "spacing_known": True,
        "labels": LabelSet(kind=kind, labels=labels),  # type: ignore[arg-type]
        "channels": (CHANNEL,),
        "median_shape": (36.0, 50.0, 35.0),
        "minimum_shape": (31, 40, 24),
        "maximum_shape": (43, 59, 47),
        "median_spacing": (1.0, 1.0, 1.0),
        "minimum_spacing": (1.0, 1.0, 1.0),
        "maximum_spacing": (1.0, 1.0, 1.0),
        "orientations": {"RAS": 100},
        "label_statistics": statistics,
        "symmetry": (1.7, 1.5, 1.8),
    }
    return Fingerprint(**{**fields, **changes})


def picture(kind: str = "classes", side: float = 28.0, **changes: Any) -> Fingerprint:
    shape = (side, side)
    fields: dict[str, Any] = {
        "dimensions": 2,
        "modality": "",
        "spacing_known": False,
        "median_shape": shape,
        "minimum_shape": (int(side), int(side)),
        "maximum_shape": (int(side), int(side)),
        "median_spacing": (1.0, 1.0),
        "minimum_spacing": (1.0, 1.0),
        "maximum_spacing": (1.0, 1.0),
        "label_statistics": (LabelStatistics(name="a", cases=50), LabelStatistics(name="b", cases=50)),
        "symmetry": (0.5, 1.2),
    }
    return fingerprint(kind, ("a", "b"), **{**fields, **changes})


def plan_of(found: Fingerprint, **changes: Any) -> Plan:
    return make_plan(found, **{"budget_s": 900.0, "hardware": MACHINE, **changes})


def test_the_same_input_gives_the_same_plan() -> None:
    assert plan_of(fingerprint()) == plan_of(fingerprint())


def test_a_small_study_is_one_patch_that_can_be_halved() -> None:
    plan = plan_of(fingerprint())
    total = [math.prod(stride[axis] for stride in plan.network.strides) for axis in range(3)]
    assert plan.patch == (40, 56, 40)
    assert all(size % by == 0 for size, by in zip(plan.patch, total, strict=True))


def test_a_longer_budget_never_gives_a_smaller_network() -> None:
    widths = [plan_of(fingerprint(), budget_s=s).network.features[0] for s in (30.0, 120.0, 900.0, 36000.0)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


def test_measured_times_decide_and_what_was_not_measured_is_not_chosen() -> None:
    choice = offered(fingerprint(), "segment", MACHINE)
    best = variants(MACHINE)[-1]
    slow, fast = choice[0], choice[3]
    timings = {timing_key(slow, best): 0.5, timing_key(fast, best): 0.01}
    assert plan_of(fingerprint(), timings=timings).network == fast.network
    assert plan_of(fingerprint(), timings={timing_key(slow, best): 99.0}).network == slow.network


def test_the_fastest_arithmetic_is_taken() -> None:
    candidate = offered(fingerprint(), "segment", MACHINE)[2]
    timings = {timing_key(candidate, v): 1.0 for v in variants(MACHINE)}
    plain = variants(MACHINE)[0]
    timings[timing_key(candidate, plain)] = 0.2
    plan = plan_of(fingerprint(), timings=timings)
    assert (plan.precision, plan.channels_last) == (plain.precision, plain.channels_last)


def test_answers_come_from_three_networks_where_each_gets_its_steps() -> None:
    assert plan_of(picture(), budget_s=3600.0).members == 3
    assert plan_of(picture(), budget_s=2.0).members == 1
    assert plan_of(picture(), budget_s=3600.0, folds=5).members == 1
    assert plan_of(picture(), steps=1000).members == 1
    assert plan_of(fingerprint(), budget_s=36000.0).members == 1


def test_a_run_by_steps_depends_on_no_timing() -> None:
    candidate = offered(fingerprint(), "segment", MACHINE)[0]
    timings = {timing_key(candidate, v): 0.1 for v in variants(MACHINE)}
    with_times = plan_of(fingerprint(), steps=700, timings=None)
    assert with_times.steps == 700
    assert with_times.budget_s is None
    assert plan_of(fingerprint(), steps=700, timings=timings).steps == 700


def test_a_processor_without_bf16_plans_float32() -> None:
    plan = plan_of(fingerprint(), hardware=MACHINE.model_copy(update={"bf16": False}))
    assert plan.precision == "float32"


def test_a_ct_is_normalised_by_the_dataset_and_an_mr_by_the_image() -> None:
    ct = plan_of(fingerprint(modality="CT", units="HU")).normalisation[0]
    assert (ct.kind, ct.low, ct.high, ct.mean, ct.std) == ("dataset", -150, 300, 60, 110)
    assert plan_of(fingerprint()).normalisation[0].kind == "image"


def test_masks_of_volumes_of_ct_learn_air_and_nothing_else_does() -> None:
    ct = plan_of(fingerprint(modality="CT", units="HU"))
    assert ct.air == 0.1
    assert "wide field of view" in ct.reasons["air"]
    assert plan_of(fingerprint()).air == 0
    assert plan_of(fingerprint("classes", modality="CT", units="HU")).air == 0
    assert plan_of(picture("mask", modality="CT", units="HU")).air == 0


def test_a_large_ct_is_coarsened_but_not_beyond_the_smallest_label() -> None:
    found = fingerprint(
        median_shape=(512.0, 512.0, 300.0),
        minimum_shape=(512, 512, 200),
        maximum_shape=(512, 512, 400),
        median_spacing=(0.8, 0.8, 1.5),
        label_statistics=(
            LabelStatistics(name="liver", cases=50, median_extent=(250.0, 200.0, 100.0)),
            LabelStatistics(name="tumour", cases=50, median_extent=(24.0, 24.0, 12.0)),
        ),
    )
    plan = plan_of(found)
    assert plan.grid.spacing is not None
    assert all(s > 0.8 for s in plan.grid.spacing[:2])
    assert plan.grid.spacing[0] <= 24 * 0.8 / 6 + 1e-6
    assert math.prod(plan.patch) <= 2 * 64**3


def test_thick_slices_are_not_halved_before_the_plane_is() -> None:
    found = fingerprint(
        median_shape=(256.0, 256.0, 20.0),
        minimum_shape=(256, 256, 18),
        maximum_shape=(256, 256, 22),
        median_spacing=(0.7, 0.7, 6.0),
        label_statistics=(LabelStatistics(name="l", cases=50, median_extent=(40.0, 40.0, 6.0)),),
    )
    strides = plan_of(found).network.strides
    assert strides[1] == (2, 2, 1)


def test_pictures_of_one_size_keep_it_and_others_are_fitted() -> None:
    same = plan_of(picture()).grid
    assert (same.resize, same.shape) == ("stretch", (28, 28))
    mixed = plan_of(picture(side=400.0, minimum_shape=(200, 300), maximum_shape=(800, 600))).grid
    assert mixed.resize == "fit"


@pytest.mark.parametrize("side", [28.0, 64.0, 500.0, 4000.0])
def test_every_candidate_of_a_picture_is_no_larger_than_the_picture(side: float) -> None:
    for candidate in offered(picture(side=side), "classify", MACHINE):
        assert max(candidate.patch) <= side


@pytest.mark.parametrize(
    ("kind", "task"),
    [
        ("classes", "classify"),
        ("several", "multilabel"),
        ("grades", "ordinal"),
        ("number", "regress"),
        ("mask", "segment"),
    ],
)
def test_the_kind_of_labels_decides_the_task(kind: str, task: str) -> None:
    assert plan_of(picture(kind)).task == task


def test_mirroring_follows_the_symmetry_of_the_average_study() -> None:
    assert plan_of(picture(symmetry=(0.05, 1.4))).augmentation.flips == (True, False)
    assert plan_of(picture(symmetry=(0.6, 1.4))).mirror_axes == ()


def test_a_label_that_names_a_side_forbids_mirroring() -> None:
    found = fingerprint(names=("left lung", "right lung"), symmetry=(0.0, 0.0, 0.0))
    assert plan_of(found).augmentation.flips == (False, False, False)


def test_rare_classes_are_weighted_and_balanced_ones_are_not() -> None:
    rare = (LabelStatistics(name="a", cases=990), LabelStatistics(name="b", cases=10))
    weights = plan_of(picture(label_statistics=rare)).loss.class_weights
    assert weights[1] > weights[0]
    assert plan_of(picture()).loss.class_weights == ()


def test_colour_pictures_give_three_inputs() -> None:
    assert plan_of(picture(colours=3)).inputs == 3


def test_any_field_can_be_overridden_and_says_so() -> None:
    changed = {"optimiser.learning_rate": "3e-4", "network.features": "8,16,32,64", "augmentation.mixup": "0"}
    plan = plan_of(fingerprint(), overrides=changed)
    assert plan.optimiser.learning_rate == 3e-4
    assert plan.network.features == (8, 16, 32, 64)
    assert plan.reasons["optimiser.learning_rate"] == "set by the user"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("optimizer.lr", "1", "no field 'optimizer.lr'"),
        ("optimiser.rate", "1", "choose one of clip"),
        ("batch", "many", "batch cannot be 'many'"),
    ],
)
def test_an_override_that_does_not_fit_is_answered(field: str, value: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        override(plan_of(fingerprint()), {field: value})


def test_a_task_that_does_not_fit_the_labels_is_refused() -> None:
    with pytest.raises(PlanError, match="does not fit labels of kind mask"):
        plan_of(fingerprint(), task="classify")


def test_a_plan_survives_json() -> None:
    plan = plan_of(fingerprint())
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_every_decision_has_a_reason() -> None:
    reasons = plan_of(fingerprint()).reasons
    expected = {"grid", "patch", "batch", "network", "precision", "normalisation", "loss", "optimiser", "augmentation"}
    assert expected <= set(reasons)


def test_candidates_ascend_in_cost_and_in_the_steps_that_they_need() -> None:
    choice = offered(fingerprint(), "segment", MACHINE)
    assert [step_cost(c) for c in choice] == sorted(step_cost(c) for c in choice)
    needs = [steps_needed(c, "segment", 100) for c in choice]
    assert needs == sorted(needs)


def test_the_cost_of_one_convolution_by_hand() -> None:
    candidate = offered(picture(), "classify", MACHINE)[0]
    one = candidate.model_copy(
        update={
            "network": candidate.network.model_copy(update={"features": (8,), "strides": ((1, 1),), "blocks": (1,)}),
            "batch": 2,
            "patch": (10, 10),
        }
    )
    # two 3×3 convolutions, 1→8 and 8→8, on 100 places; three times for backward; two cases
    assert step_cost(one) == pytest.approx(3 * 2 * 100 * 9 * 8 * (1 + 8) / 1e9)
