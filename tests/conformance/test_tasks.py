"""Every task goes through this."""

from __future__ import annotations

import pytest
import torch

from learning_plans import MemoryCases, small_plan
from osler.errors import Unsuitable
from osler.inference.decoders import DECODERS
from osler.learning.feed import Feed
from osler.learning.networks import build_network
from osler.learning.tasks import TASKS, Task, make_task


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return make_task(small_plan(request.param))


def perfect_logits(task: Task, answer: torch.Tensor) -> torch.Tensor:
    if task.plan.task in ("classify", "segment"):
        return 20 * torch.nn.functional.one_hot(answer, task.plan.outputs).float().movedim(-1, 1)
    if task.plan.task == "regress":
        return answer.clone()
    return 40 * (torch.nan_to_num(answer) - 0.5)


def answers(task: Task) -> torch.Tensor:
    feed = Feed(MemoryCases(task.plan), task.plan, task)
    return torch.cat([feed.whole(name)[1] for name in feed.names])


def test_a_task_has_a_decoder_of_the_same_name(task: Task) -> None:
    assert task.plan.task in DECODERS


def test_the_loss_of_the_right_answer_is_near_zero_and_below_that_of_noise(task: Task) -> None:
    answer = answers(task)
    right = perfect_logits(task, answer)
    noise = torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    assert float(task.loss({"logits": right}, answer)) < 0.01
    assert float(task.loss({"logits": right}, answer)) < float(task.loss({"logits": noise}, answer))


def test_the_right_answer_scores_highest(task: Task) -> None:
    answer = answers(task)
    right, wrong = task.scorer(), task.scorer()
    logits = perfect_logits(task, answer)
    right.update(logits, answer)
    wrong.update(-logits if task.plan.task != "regress" else logits + 3, answer)
    assert right.value() > wrong.value()


def test_scoring_in_batches_equals_scoring_at_once(task: Task) -> None:
    answer = answers(task)
    logits = torch.randn(perfect_logits(task, answer).shape, generator=torch.Generator().manual_seed(1))
    once, parts = task.scorer(), task.scorer()
    once.update(logits, answer)
    for n in range(len(answer)):
        parts.update(logits[n : n + 1], answer[n : n + 1])
    assert once.value() == pytest.approx(parts.value())


def test_the_loss_has_a_gradient(task: Task) -> None:
    feed = Feed(MemoryCases(task.plan), task.plan, task)
    image, answer = feed.whole("case0")
    network = build_network(task.plan)
    task.loss(network({"image": image}), answer).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_a_target_of_another_kind_is_refused(task: Task) -> None:
    with pytest.raises(Unsuitable, match="is needed, not"):
        task.encode("three")  # type: ignore[arg-type]
