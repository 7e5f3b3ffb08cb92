"""One of several classes."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from osler.datasets.manifest import Target
from osler.errors import Unsuitable
from osler.learning.tasks.base import Collected, Scorer, Task

__all__ = ["Classify", "rank_auc"]


def rank_auc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Area under the ROC curve by ranks (Mann–Whitney); None when one side is missing."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


class _MeanAuc(Collected):
    """Mean one-against-rest AUC, less a hundredth of the log loss: of equal rankings the honest one wins."""

    def value(self) -> float:
        logits, answers = self.arrays()
        shifted = logits - logits.max(1, keepdims=True)
        p = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
        aucs = [rank_auc(p[:, k], answers == k) for k in range(p.shape[1])]
        known = [auc for auc in aucs if auc is not None]
        log_loss = -float(np.log(np.maximum(p[np.arange(len(p)), answers], 1e-7)).mean())
        return (float(np.mean(known)) if known else 0.0) - 0.01 * log_loss


class Classify(Task):
    """Answer: (B,) class indices; logits (B, classes); softmax."""

    score_name = "mean AUC less 0.01 of the log loss"

    def encode(self, target: Target | None) -> Tensor:
        """The class index."""
        if not isinstance(target, int):
            raise Unsuitable(f"a class index is needed, not {target!r}", remedy="check the labels of the dataset")
        return torch.tensor(target)

    def scorer(self) -> Scorer:
        """Mean AUC."""
        return _MeanAuc()

    def soften(self, answer: Tensor) -> Tensor:
        """One-hot (B, classes)."""
        return torch.nn.functional.one_hot(answer, self.plan.outputs).float()
