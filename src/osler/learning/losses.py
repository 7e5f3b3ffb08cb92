"""Loss functions: pure, of logits and answers, averaged over the batch. Logits are taken to float32 first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from osler.datasets.plan import LossPlan
from osler.errors import Unknown

__all__ = [
    "LOSSES",
    "binary_cross_entropy",
    "cross_entropy",
    "dice",
    "dice_cross_entropy",
    "focal",
    "huber",
    "make_loss",
    "mean_squared",
]

Loss = Callable[[Tensor, Tensor, LossPlan], Tensor]


def _weights(plan: LossPlan, like: Tensor) -> Tensor | None:
    return torch.tensor(plan.class_weights, device=like.device, dtype=like.dtype) if plan.class_weights else None


def cross_entropy(logits: Tensor, answer: Tensor, plan: LossPlan) -> Tensor:
    """Softmax cross-entropy. ``answer`` is (B[, *S]) class indices or (B, outputs) probabilities (after mixup)."""
    logits = logits.float()
    return functional.cross_entropy(logits, answer, weight=_weights(plan, logits), label_smoothing=plan.label_smoothing)


def focal(logits: Tensor, answer: Tensor, plan: LossPlan) -> Tensor:
    """Focal loss (Lin et al. 2017): cross-entropy times (1 − p)^gamma, p the probability of the right class."""
    logits = logits.float()
    if answer.is_floating_point():
        log_p = torch.log_softmax(logits, 1)
        each = -(answer * (1 - log_p.exp()) ** plan.focal_gamma * log_p)
        weights = _weights(plan, logits)
        return (each if weights is None else each * weights).sum(1).mean()
    each = functional.cross_entropy(logits, answer, reduction="none")
    factor = (1 - torch.exp(-each)) ** plan.focal_gamma
    weights = _weights(plan, logits)
    return (factor * each * (1.0 if weights is None else weights[answer])).mean()


def dice(logits: Tensor, answer: Tensor, smooth: float = 1e-5, *, each: bool = False) -> Tensor:
    """One minus the mean soft Dice of the foreground classes (Milletari et al. 2016).

    Over the batch as a whole, large structures speak loudest. Taken of each sample, a small structure counts as much as
    a large one; a class that a sample does not hold is then left to the cross-entropy, because its Dice is 0 whatever
    is predicted.

    Args:
        logits: (B, outputs, *S), background first.
        answer: (B, *S) class indices.
        smooth: keeps the fraction defined.
        each: of each sample instead of the batch as a whole.
    """
    p = torch.softmax(logits.float(), 1)
    axes = tuple(range(2, p.ndim)) if each else (0, *range(2, p.ndim))
    truth = torch.zeros_like(p).scatter_(1, answer[:, None], 1.0)
    overlap, total = (p * truth).sum(axes)[..., 1:], (p + truth).sum(axes)[..., 1:]
    scores = (2 * overlap + smooth) / (total + smooth)
    if not each:
        return 1 - scores.mean()
    held = (truth.sum(axes)[..., 1:] > 0).to(scores.dtype)
    return ((1 - scores) * held).sum() / held.sum().clamp_min(1)


def dice_cross_entropy(logits: Tensor, answer: Tensor, plan: LossPlan) -> Tensor:
    """Dice plus cross-entropy in equal parts: the first is about overlap, the second keeps probabilities honest."""
    return dice(logits, answer, each=plan.dice_of == "sample") + cross_entropy(logits, answer, plan)


def binary_cross_entropy(logits: Tensor, answer: Tensor, plan: LossPlan) -> Tensor:
    """Sigmoid cross-entropy per output; an answer of NaN is unknown and does not count. Both (B, outputs)."""
    known = torch.isfinite(answer)
    smoothed = torch.nan_to_num(answer) * (1 - plan.label_smoothing) + 0.5 * plan.label_smoothing
    each = functional.binary_cross_entropy_with_logits(logits.float(), smoothed, reduction="none")
    weights = _weights(plan, each)
    if weights is not None:
        each = each * torch.where(answer > 0.5, weights, torch.ones_like(weights))
    return (each * known).sum() / known.sum().clamp_min(1)


def mean_squared(logits: Tensor, answer: Tensor, plan: LossPlan) -> Tensor:
    """Mean squared error; both (B, 1), in units of the training targets' standard deviation."""
    del plan
    return functional.mse_loss(logits.float(), answer)


def huber(logits: Tensor, answer: Tensor, plan: LossPlan) -> Tensor:
    """Huber error with its knee at one standard deviation of the training targets; both (B, 1)."""
    del plan
    return functional.huber_loss(logits.float(), answer)


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice_cross_entropy": dice_cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mean_squared": mean_squared,
    "huber": huber,
}


def make_loss(plan: LossPlan) -> Loss:
    """The loss of a plan.

    Raises:
        Unknown: when no loss has that name.
    """
    if plan.name not in LOSSES:
        raise Unknown(f"no loss {plan.name!r}", remedy=f"choose one of {', '.join(LOSSES)}")
    return LOSSES[plan.name]
