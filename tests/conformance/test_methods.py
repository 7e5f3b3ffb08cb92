"""Every method goes through this, and so does one with two networks and two optimisers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from learning_plans import MemoryCases, small_plan
from osler.datasets.plan import Plan, TaskName
from osler.learning.feed import Feed
from osler.learning.methods import METHODS, Batch, Method
from osler.learning.networks import Network, build_network
from osler.learning.optimisation import make_optimiser
from osler.learning.tasks import Task, make_task
from osler.learning.trainer import Outcome, Trainer, make_fabric
from osler.progress import CancelToken, Silent


class Mutual(Method):
    """Two networks that learn from the answers and from each other (Zhang et al. 2018), each with its optimiser."""

    def __init__(self, plan: Plan, task: Task) -> None:
        super().__init__(plan, task)
        for name in ("one", "two"):
            network = build_network(plan)
            self.modules[name] = network
            self.optimisers[name] = make_optimiser(network, plan.optimiser)

    def step(self, batch: Batch, *, progress: float, generator: torch.Generator) -> dict[str, float]:
        assert self.fabric is not None
        self.set_learning_rates(progress)
        noisy = batch.image + 0.05 * torch.randn(batch.image.shape, generator=generator)
        answer = batch.answer.long() if self.task.dense else batch.answer
        total = 0.0
        for name, other in (("one", "two"), ("two", "one")):
            self.modules[name].train()
            outputs = self.modules[name]({"image": noisy})
            with torch.no_grad():
                target = self.modules[other]({"image": noisy})["logits"]
            loss = self.task.loss(outputs, answer) + 0.1 * (outputs["logits"] - target).square().mean()
            self.optimisers[name].zero_grad()
            self.fabric.backward(loss)
            self.optimisers[name].step()
            total += float(loss.detach())
        return {"loss": total}

    @torch.no_grad()
    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        return self.result()({"image": image})

    def result(self) -> Network:
        network = build_network(self.plan)
        network.load_state_dict(self.modules["one"].state_dict())
        return network.eval()


ALL: dict[str, type[Method]] = {**METHODS, "mutual": Mutual}


class StopAt(Silent):
    """Asks for a stop when a step is reached: as a Ctrl-C there would."""

    def __init__(self, step: int, cancel: CancelToken) -> None:
        self.step, self.cancel, self.count = step, cancel, -1  # the first advance says where it starts

    def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
        self.count += 1
        if self.count == self.step:
            self.cancel.cancel()


def run(kind: type[Method], plan: Plan, folder: Path, *, stop_at: int | None = None) -> Outcome:
    cancel = CancelToken()
    task = make_task(plan)
    torch.manual_seed(plan.seed)
    trainer = Trainer(
        kind(plan, task),
        Feed(MemoryCases(plan), plan, task),
        Feed(MemoryCases(plan, seed=1, count=3), plan, task),
        folder,
        fabric=make_fabric(plan, device="cpu"),
        progress=Silent() if stop_at is None else StopAt(stop_at, cancel),
        cancel=cancel,
        record=False,
    )
    return trainer.fit()


def same(one: Network, two: Network) -> bool:
    other: dict[str, Any] = two.state_dict()
    return all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


@pytest.fixture(params=list(ALL))
def kind(request: pytest.FixtureRequest) -> type[Method]:
    return ALL[request.param]


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_a_run_stopped_anywhere_and_resumed_ends_in_the_same_bits(
    kind: type[Method], task: TaskName, tmp_path: Path
) -> None:
    plan = small_plan(task)
    whole = run(kind, plan, tmp_path / "whole")
    first = run(kind, plan, tmp_path / "parts", stop_at=5)
    resumed = run(kind, plan, tmp_path / "parts")
    assert first.stopped_early
    assert first.steps == 5
    assert resumed.steps == whole.steps == plan.steps
    assert same(whole.network, resumed.network)


def test_another_seed_gives_other_weights(kind: type[Method], tmp_path: Path) -> None:
    one = run(kind, small_plan(steps=3), tmp_path / "one")
    two = run(kind, small_plan(steps=3, seed=1), tmp_path / "two")
    assert not same(one.network, two.network)


def test_training_lowers_the_loss(kind: type[Method], tmp_path: Path) -> None:
    outcome = run(kind, small_plan("segment", steps=60), tmp_path)
    losses = [row[2] for row in outcome.history.losses]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.parametrize("task", ["multilabel", "ordinal", "regress"])
def test_any_method_runs_any_task(kind: type[Method], task: TaskName, tmp_path: Path) -> None:
    assert run(kind, small_plan(task, steps=3), tmp_path).steps == 3
