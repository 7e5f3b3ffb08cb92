"""A number: trained in units of the training targets' standard deviation."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from osler.datasets.manifest import Target
from osler.errors import Unsuitable
from osler.learning.tasks.base import Collected, Scorer, Task

__all__ = ["Regress"]


class _MeanAbsolute(Collected):
    def value(self) -> float:
        logits, answers = self.arrays()
        return -float(np.abs(logits - answers).mean())


class Regress(Task):
    """Answer and logits: (B, 1), (value − mean) / standard deviation."""

    score_name = "minus mean absolute error (standard deviations)"

    def encode(self, target: Target | None) -> Tensor:
        """The standardised number."""
        if not isinstance(target, int | float):
            raise Unsuitable(f"a number is needed, not {target!r}", remedy="check the labels of the dataset")
        return torch.tensor([(float(target) - self.plan.target_mean) / self.plan.target_std])

    def scorer(self) -> Scorer:
        """Minus the mean absolute error in standard deviations."""
        return _MeanAbsolute()
