"""Supervised learning: one network, augmented batches, the task's loss, averaged weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from osler.datasets.plan import Plan
from osler.learning import augmentation
from osler.learning.methods.base import Batch, Method
from osler.learning.networks import Network, build_network
from osler.learning.optimisation import AveragedWeights, make_optimiser
from osler.learning.tasks import Task

__all__ = ["Supervised"]


class Supervised(Method):
    """The default method."""

    def __init__(self, plan: Plan, task: Task) -> None:
        super().__init__(plan, task)
        network = build_network(plan)
        self.modules = {"network": network}
        self.optimisers = {"network": make_optimiser(network, plan.optimiser)}
        self.average = AveragedWeights(network, plan.optimiser.ema) if plan.optimiser.ema else None
        self._evaluated: Network | None = None

    def _augment(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        plan = self.plan
        drawn = augmentation.draw(plan.augmentation, plan.patch, len(batch.image), generator)
        mask = batch.answer if self.task.dense else None
        image, mask = augmentation.apply(drawn, batch.image, mask, plan.patch)
        answer = batch.answer if mask is None else mask
        if plan.augmentation.mixup and not self.task.dense:
            image, answer = self._mix(image, self.task.soften(answer), generator)
        if plan.channels_last:
            layout = torch.channels_last if plan.dimensions == 2 else torch.channels_last_3d
            image = image.contiguous(memory_format=layout)
        return image, answer

    def _mix(self, image: Tensor, answer: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mixup (Zhang et al. 2018): each case is averaged with its neighbour, weights from Beta(a, a)."""
        amount = self.plan.augmentation.mixup
        numbers = torch.rand(2, len(image), generator=generator).clamp_min(1e-7)
        # Jöhnk's method draws Beta(a, a) from uniforms; where it would reject, the case is left as it is
        x, y = numbers[0] ** (1 / amount), numbers[1] ** (1 / amount)
        weight = torch.where(x + y <= 1, x / (x + y).clamp_min(1e-7), torch.ones_like(x)).to(image.device)
        weight = torch.maximum(weight, 1 - weight)
        spatial = weight.reshape(-1, *([1] * (image.ndim - 1)))
        labels = weight.reshape(-1, *([1] * (answer.ndim - 1)))
        return (
            image * spatial + image.roll(1, 0) * (1 - spatial),
            answer * labels + answer.roll(1, 0) * (1 - labels),
        )

    def loss(self, image: Tensor, answer: Tensor) -> Tensor:
        """Of one augmented batch."""
        return self.task.loss(self.modules["network"]({"image": image}), answer)

    def step(self, batch: Batch, *, progress: float, generator: torch.Generator) -> dict[str, float]:
        """Augment, forward, backward, clip, step, average."""
        assert self.fabric is not None  # the trainer calls setup first
        network, optimiser = self.modules["network"], self.optimisers["network"]
        network.train()
        self._evaluated = None
        self.set_learning_rates(progress)
        with torch.no_grad():
            image, answer = self._augment(batch, generator)
        loss = self.loss(image, answer)
        optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        clip = self.plan.optimiser.clip
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip if clip > 0 else math.inf)
        if not bool(torch.isfinite(norm)):
            # a step with infinite gradients would destroy the weights; it is skipped, counted and logged
            return {"loss": float(loss.detach()), "gradient_norm": float("inf"), "skipped": 1.0}
        optimiser.step()
        if self.average is not None:
            self.average.update(self._plain())
        return {"loss": float(loss.detach()), "gradient_norm": float(norm), "skipped": 0.0}

    def _plain(self) -> Network:
        """The network without Fabric's wrapper (and without the one of several processes)."""
        module: Any = self.modules["network"]
        while hasattr(module, "module"):
            module = module.module
        assert isinstance(module, Network)
        return module

    def _averaged(self) -> Network:
        """A copy with the averaged weights; made anew after each step."""
        if self._evaluated is None:
            plain = self._plain()
            network = copy.deepcopy(plain)
            if self.average is not None:
                network.load_state_dict(self.average.values)
            self._evaluated = network.eval()
        return self._evaluated

    @torch.no_grad()
    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """With the averaged weights."""
        assert self.fabric is not None
        with self.fabric.autocast():
            result: dict[str, Tensor] = self._averaged()({"image": image})
        return result

    def result(self) -> Network:
        """The averaged weights."""
        return copy.deepcopy(self._averaged()).cpu()

    def state(self) -> dict[str, Any]:
        """Network, optimiser and averaged weights."""
        return {**super().state(), "average": None if self.average is None else self.average.state()}

    def load(self, state: dict[str, Any]) -> None:
        """The opposite of ``state``."""
        super().load(state)
        self._evaluated = None
        if self.average is not None:
            self.average.load(state["average"])
