"""Several labels at once, each yes or no or not known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from osler.datasets.manifest import Target
from osler.errors import Unsuitable
from osler.learning.tasks.base import Collected, Scorer, Task
from osler.learning.tasks.classify import rank_auc

__all__ = ["Multilabel"]


class _MeanAuc(Collected):
    def value(self) -> float:
        logits, answers = self.arrays()
        aucs = []
        for k in range(logits.shape[1]):
            known = np.isfinite(answers[:, k])
            aucs.append(rank_auc(logits[known, k], answers[known, k] > 0.5))
        found = [auc for auc in aucs if auc is not None]
        return float(np.mean(found)) if found else 0.0


class Multilabel(Task):
    """Answer: (B, labels) of 0, 1 or NaN for not known; logits (B, labels); sigmoid."""

    score_name = "mean AUC"

    def encode(self, target: Target | None) -> Tensor:
        """0, 1 or NaN per label."""
        if not isinstance(target, tuple):
            raise Unsuitable(f"a 0/1 list is needed, not {target!r}", remedy="check the labels of the dataset")
        return torch.tensor([float("nan") if value is None else float(value) for value in target])

    def scorer(self) -> Scorer:
        """Mean AUC over the labels."""
        return _MeanAuc()
