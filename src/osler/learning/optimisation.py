"""Optimisers, the learning rate over a run, and averaged weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from osler.datasets.plan import OptimiserPlan

__all__ = ["AveragedWeights", "learning_rate_factor", "make_optimiser"]


def learning_rate_factor(progress: float, plan: OptimiserPlan) -> float:
    """What the learning rate is multiplied by when ``progress`` (0 to 1) of the run is done; reaches 0 at 1.

    Linear warm-up over ``plan.warmup``, then half a cosine or (1 − t)^0.9.
    """
    if progress < plan.warmup:
        return max(progress, 1e-3) / plan.warmup
    done = min(1.0, (progress - plan.warmup) / max(1e-9, 1 - plan.warmup))
    if plan.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return float((1 - done) ** 0.9)


def make_optimiser(module: nn.Module, plan: OptimiserPlan) -> torch.optim.Optimizer:
    """Weight decay acts on weights of convolutions and linear layers only, not on biases and normalisations."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    free = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if plan.name == "sgd":
        return torch.optim.SGD(groups, lr=plan.learning_rate, momentum=plan.momentum, nesterov=plan.momentum > 0)
    kind = torch.optim.Adam if plan.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=plan.learning_rate, betas=(0.9, 0.999))


class AveragedWeights:
    """Exponential moving average of parameters, and a copy of buffers.

    The decay grows from 0 as (1 + t) / (10 + t) up to the plan's, so that a short run is not held back by its start.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """After each optimiser step."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        ours: list[Tensor] = []
        theirs: list[Tensor] = []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                ours.append(self.values[name])
                theirs.append(value.detach())
            else:
                self.values[name].copy_(value)
        torch._foreach_lerp_(ours, theirs, weight)

    def state(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"updates": self.updates, "values": self.values}

    def load(self, state: dict[str, object]) -> None:
        """From a checkpoint."""
        self.updates = int(state["updates"])  # type: ignore[call-overload]
        self.values = dict(state["values"])  # type: ignore[call-overload]
