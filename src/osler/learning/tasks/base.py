"""``Task``: a question asked of a study, as far as training needs it: the answer's encoding, loss, validation score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from osler.datasets.manifest import Target
from osler.datasets.plan import Plan
from osler.learning.losses import make_loss

__all__ = ["Collected", "Scorer", "Task"]


class Scorer(ABC):
    """Collects validation batches into one figure; higher is better."""

    @abstractmethod
    def update(self, logits: Tensor, answer: Tensor) -> None:
        """One batch; both as in ``Task.loss``."""

    @abstractmethod
    def value(self) -> float:
        """The figure over everything that was given."""


class Task(ABC):
    """The story: made from a plan; ``encode`` turns each case's target into a tensor; ``loss`` is called every step, a
    fresh ``scorer`` at every validation. The decoder from raw output to findings is ``inference.decoders`` under the
    same name, in NumPy. Every task passes ``tests/conformance/test_tasks.py``.
    """

    dense: bool = False  # whether the answer is a value per voxel
    score_name: str = ""  # what the scorer's figure is
    tolerance: float = 0.003  # a difference of the score that a validation split of usual size cannot tell from chance

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._loss = make_loss(plan.loss)

    @abstractmethod
    def encode(self, target: Target | None) -> Tensor:
        """One case's target as a tensor without a batch axis (not called for dense tasks)."""

    @abstractmethod
    def scorer(self) -> Scorer:
        """A fresh scorer."""

    def loss(self, outputs: Mapping[str, Tensor], answer: Tensor) -> Tensor:
        """The loss of one batch from the network's outputs."""
        return self._loss(outputs["logits"], answer, self.plan.loss)

    def soften(self, answer: Tensor) -> Tensor:
        """The answer in a form that can be averaged between two cases (mixup)."""
        return answer


class Collected(Scorer):
    """Keeps logits and answers until the end: for answers of a few numbers a case."""

    def __init__(self) -> None:
        self.logits: list[Tensor] = []
        self.answers: list[Tensor] = []

    def update(self, logits: Tensor, answer: Tensor) -> None:
        """Keep one batch on the CPU."""
        self.logits.append(logits.detach().float().cpu())
        self.answers.append(answer.detach().cpu())

    def arrays(self) -> tuple[Any, Any]:
        """All logits and answers as NumPy arrays (N, ...)."""
        return torch.cat(self.logits).numpy(), torch.cat(self.answers).numpy()
