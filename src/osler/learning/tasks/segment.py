"""A label per voxel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from osler.datasets.manifest import Target
from osler.errors import Unsuitable
from osler.learning.tasks.base import Scorer, Task

__all__ = ["Segment"]


class _MeanDice(Scorer):
    """Mean over the labels of the Dice of all validation voxels together."""

    def __init__(self, outputs: int) -> None:
        self.overlap = torch.zeros(outputs, dtype=torch.float64)
        self.total = torch.zeros(outputs, dtype=torch.float64)

    def update(self, logits: Tensor, answer: Tensor) -> None:
        """(B, outputs, *S) and (B, *S)."""
        predicted = logits.argmax(1)
        for k in range(len(self.overlap)):
            ours, truth = predicted == k, answer == k
            self.overlap[k] += float((ours & truth).sum())
            self.total[k] += float(ours.sum() + truth.sum())

    def value(self) -> float:
        present = self.total[1:] > 0
        if not bool(present.any()):
            return 0.0
        return float((2 * self.overlap[1:][present] / self.total[1:][present]).mean())


class Segment(Task):
    """Answer: (B, *S) class indices, background 0; logits (B, labels + 1, *S); softmax."""

    dense = True
    score_name = "mean Dice of patches"

    def encode(self, target: Target | None) -> Tensor:
        """Raises: Unsuitable, for masks are read from the store."""
        raise Unsuitable(f"a mask is needed, not {target!r}", remedy="check the labels of the dataset")

    def scorer(self) -> Scorer:
        """Mean Dice."""
        return _MeanDice(self.plan.outputs)

    def loss(self, outputs: Mapping[str, Tensor], answer: Tensor) -> Tensor:
        """With deep supervision, each coarser output counts half as much as the next finer one."""
        total = super().loss(outputs, answer)
        weight, weights = 1.0, 1.0
        for name in sorted(key for key in outputs if key.startswith("deep_")):
            weight /= 2
            weights += weight
            logits = outputs[name]
            coarse = functional.interpolate(answer[:, None].float(), size=logits.shape[2:], mode="nearest-exact")
            total = total + weight * self._loss(logits, coarse[:, 0].long(), self.plan.loss)
        return total / weights
