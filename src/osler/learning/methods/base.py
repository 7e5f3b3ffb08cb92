"""``Method``: how a network is learnt. The trainer runs any method on any task and knows none by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from osler.datasets.plan import Plan
from osler.learning.networks import Network
from osler.learning.optimisation import learning_rate_factor
from osler.learning.tasks import Task

__all__ = ["Batch", "Method"]


@dataclass(frozen=True)
class Batch:
    """``image`` (B, C, *source) and ``answer``: (B, *source) for dense tasks, else as the task encodes it."""

    image: Tensor
    answer: Tensor


class Method(ABC):
    """The story: ``__init__`` builds its networks (torch is seeded) and puts them into ``modules`` and its optimisers
    into ``optimisers``; ``setup`` hands each to Fabric; ``step`` is called once per training step with a batch and a
    generator that depends on seed, step and process only; ``outputs`` is called for validation and export weights are
    taken from ``result``. ``state`` and ``load`` carry everything that ``step`` depends on, so that a killed run goes
    on to the same bits. Every method passes ``tests/conformance/test_methods.py``.
    """

    def __init__(self, plan: Plan, task: Task) -> None:
        self.plan = plan
        self.task = task
        self.modules: dict[str, nn.Module] = {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.fabric: Fabric | None = None

    def setup(self, fabric: Fabric) -> None:
        """Move to the device and wrap for the precision and the processes. One optimiser per module, same name."""
        self.fabric = fabric
        for name, module in self.modules.items():
            if self.plan.channels_last:
                layout = torch.channels_last if self.plan.dimensions == 2 else torch.channels_last_3d
                module.to(memory_format=layout)  # type: ignore[call-overload]
            wrapped = fabric.setup(module, self.optimisers[name])
            self.modules[name], self.optimisers[name] = wrapped

    @abstractmethod
    def step(self, batch: Batch, *, progress: float, generator: torch.Generator) -> dict[str, float]:
        """One training step; ``progress`` is how much of the run is done (0 to 1). Returns figures to log."""

    @abstractmethod
    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """The current best network's outputs for validation; ``image`` (B, C, *patch)."""

    @abstractmethod
    def result(self) -> Network:
        """The network to export, with the weights that validation saw, on the CPU in evaluation mode."""

    def set_learning_rates(self, progress: float) -> None:
        """All optimisers follow the plan's schedule."""
        rate = self.plan.optimiser.learning_rate * learning_rate_factor(progress, self.plan.optimiser)
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate

    def state(self) -> dict[str, Any]:
        """Tensors and plain values only."""
        return {
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
        }

    def load(self, state: dict[str, Any]) -> None:
        """The opposite of ``state``; called after ``setup``."""
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
