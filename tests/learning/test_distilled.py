"""A student learns from its teachers' answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learning_plans import MemoryCases, small_plan
from osler.datasets.plan import Plan, TaskName
from osler.learning.feed import Feed
from osler.learning.methods.distilled import Distilled, soft_loss
from osler.learning.methods.supervised import Supervised
from osler.learning.networks import build_network
from osler.learning.tasks import make_task
from osler.learning.trainer import make_fabric

TASKS: tuple[TaskName, ...] = ("classify", "multilabel", "ordinal", "regress", "segment")


def _logits(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("task", TASKS)
def test_the_soft_loss_is_nothing_where_student_and_teacher_agree_and_more_elsewhere(task: TaskName) -> None:
    plan = small_plan(task)
    shape = (4, plan.outputs, 5, 5) if task == "segment" else (4, plan.outputs)
    one, other = _logits(0, *shape), _logits(1, *shape)
    assert float(soft_loss(one, one, plan)) == pytest.approx(0, abs=1e-6)
    assert float(soft_loss(one, other, plan)) > 0.01


def test_the_soft_loss_of_classes_is_the_divergence_at_temperature_2() -> None:
    one, other = _logits(0, 6, 3), _logits(1, 6, 3)
    p = np.exp(other.numpy() / 2) / np.exp(other.numpy() / 2).sum(1, keepdims=True)
    q = np.exp(one.numpy() / 2) / np.exp(one.numpy() / 2).sum(1, keepdims=True)
    by_hand = 4 * (p * np.log(p / q)).sum(1).mean()
    assert float(soft_loss(one, other, small_plan("classify"))) == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_a_student_is_closer_to_its_teachers_than_one_without_and_they_stay_as_they_are(task: TaskName) -> None:
    plan = small_plan(task, steps=30)
    torch.manual_seed(1)
    teachers = [build_network(plan), build_network(plan)]
    for teacher in teachers:  # an untrained network answers nearly the same to everything
        teacher.head.weight.data *= 5
    before = [value.clone() for value in teachers[0].state_dict().values()]
    image = _logits(3, 4, 1, *plan.patch)
    with torch.no_grad():
        taught = torch.stack([teacher.eval()({"image": image})["logits"] for teacher in teachers]).mean(0)
    task_ = make_task(plan)
    weights = build_network(_seeded(plan)).state_dict()
    student = Distilled(plan, task_, teachers=teachers, weights=weights)
    with_teachers = _distance(student, plan, image, taught)
    without = _distance(Supervised(_seeded(plan), task_), plan, image, taught)
    assert with_teachers < 0.9 * without
    assert all(torch.equal(a, b) for a, b in zip(before, teachers[0].state_dict().values(), strict=True))


def _seeded(plan: Plan) -> Plan:
    torch.manual_seed(0)
    return plan


def _distance(method: Supervised, plan: Plan, image: torch.Tensor, taught: torch.Tensor) -> float:
    """Between the answers of a method after 30 steps and those of the teachers."""
    method.setup(make_fabric(plan, device="cpu", several=False))
    feed = Feed(MemoryCases(plan), plan, method.task)
    for step in range(30):
        method.step(feed.batch(step), progress=step / 30, generator=torch.Generator().manual_seed(step))
    return float(soft_loss(method.outputs(image)["logits"], taught, plan))


def test_a_student_starts_from_the_weights_that_it_is_given() -> None:
    plan = small_plan("segment")
    torch.manual_seed(1)
    teacher = build_network(plan)
    method = Distilled(plan, make_task(plan), teachers=[teacher], weights=teacher.state_dict())
    for name, value in method.result().state_dict().items():
        assert torch.equal(value, teacher.state_dict()[name])
