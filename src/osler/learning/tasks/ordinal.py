"""Grades in ascending order, by cumulative links: output k is the logit of "above grade k" (Frank & Hall 2001)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from osler.datasets.manifest import Target
from osler.errors import Unsuitable
from osler.learning.tasks.base import Collected, Scorer, Task

__all__ = ["Ordinal"]


class _MeanGradeError(Collected):
    """Minus the mean absolute error in grades."""

    def value(self) -> float:
        logits, answers = self.arrays()
        return -float(np.abs((logits > 0).sum(1) - answers.sum(1)).mean())


class Ordinal(Task):
    """Answer: (B, grades − 1) of 0/1, 1 where the grade is above k; logits alike."""

    score_name = "minus mean absolute error in grades"

    def encode(self, target: Target | None) -> Tensor:
        """Grade g of L as L − 1 thresholds: g ones, then zeros."""
        if not isinstance(target, int):
            raise Unsuitable(f"a grade index is needed, not {target!r}", remedy="check the labels of the dataset")
        return (torch.arange(self.plan.outputs) < target).float()

    def scorer(self) -> Scorer:
        """Minus the mean absolute error in grades."""
        return _MeanGradeError()
