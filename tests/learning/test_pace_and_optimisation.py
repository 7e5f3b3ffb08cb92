"""Progress of a run, the learning rate and averaged weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from learning_plans import small_plan
from osler.datasets.plan import OptimiserPlan
from osler.learning.optimisation import AveragedWeights, learning_rate_factor, make_optimiser
from osler.learning.pace import Pace


def run_to_end(pace: Pace, seconds: list[float]) -> list[float]:
    seen = []
    while not pace.done:
        pace.after_step(seconds[min(pace.step, len(seconds) - 1)])
        seen.append(pace.progress)
    return seen


def test_a_run_by_steps_advances_evenly_and_ends_at_one() -> None:
    seen = run_to_end(Pace(small_plan(steps=8), deadline_s=None), [1.0])
    assert seen == pytest.approx([n / 8 for n in range(1, 9)])


@pytest.mark.parametrize("slow", [0.5, 1.0, 3.0])
def test_a_run_by_time_ends_in_time_whatever_the_plan_hoped(slow: float) -> None:
    pace = Pace(small_plan(steps=100), deadline_s=100.0)
    run_to_end(pace, [slow])
    assert pace.spent_s == pytest.approx(100.0, rel=0.05)
    assert pace.progress == pytest.approx(1.0)


def test_a_machine_that_slows_down_midway_still_ends_in_time() -> None:
    pace = Pace(small_plan(steps=100), deadline_s=100.0)
    seen = run_to_end(pace, [0.5] * 80 + [2.0])
    assert pace.spent_s == pytest.approx(100.0, rel=0.06)
    assert seen == sorted(seen)


def test_a_run_by_time_can_be_repeated_exactly_by_its_anchors() -> None:
    pace = Pace(small_plan(steps=100), deadline_s=50.0)
    timed = run_to_end(pace, [0.4] * 30 + [0.9])
    again = Pace(small_plan(steps=pace.step, pace=tuple(pace.anchors)), deadline_s=None)
    assert run_to_end(again, [0.1]) == pytest.approx(timed, abs=1e-12)


def test_a_resumed_pace_goes_on_where_it_was() -> None:
    pace = Pace(small_plan(steps=100), deadline_s=50.0)
    for _ in range(20):
        pace.after_step(0.7)
    other = Pace(small_plan(steps=100), deadline_s=50.0)
    other.load(pace.state())
    pace.after_step(0.7)
    other.after_step(0.7)
    assert (pace.progress, pace.spent_s, pace.anchors) == (other.progress, other.spent_s, other.anchors)


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_the_learning_rate_warms_up_and_reaches_zero(schedule: str) -> None:
    plan = OptimiserPlan(schedule=schedule, warmup=0.1)  # type: ignore[arg-type]
    assert learning_rate_factor(0.05, plan) == pytest.approx(0.5)
    assert learning_rate_factor(0.1, plan) == pytest.approx(1.0)
    assert learning_rate_factor(1.0, plan) == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_biases_and_normalisations_are_not_decayed(name: str) -> None:
    optimiser = make_optimiser(nn.Linear(3, 2), OptimiserPlan(name=name, weight_decay=0.3))  # type: ignore[arg-type]
    decays = [(group["weight_decay"], [p.ndim for p in group["params"]]) for group in optimiser.param_groups]
    assert decays == [(0.3, [2]), (0.0, [1])]


def test_averaged_weights_follow_the_formula() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    average = AveragedWeights(layer, decay=0.5)
    nn.init.ones_(layer.weight)
    average.update(layer)  # decay (1 + 1) / (10 + 1)
    assert float(average.values["weight"]) == pytest.approx(9 / 11)
    for _ in range(30):
        average.update(layer)
    assert float(average.values["weight"]) == pytest.approx(1.0)


def test_averaged_weights_survive_a_checkpoint() -> None:
    layer = nn.BatchNorm2d(2)
    average = AveragedWeights(layer, decay=0.9)
    average.update(layer)
    other = AveragedWeights(nn.BatchNorm2d(2), decay=0.9)
    other.load(average.state())
    assert other.updates == 1
    assert all(torch.equal(other.values[name], value) for name, value in average.values.items())
