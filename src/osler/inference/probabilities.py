"""From a network's logits to probabilities, by task. Pure functions; ``axis`` is the axis of the outputs."""

from __future__ import annotations

import numpy as np

from osler.datasets.plan import Plan, TaskName
from osler.errors import Unsuitable
from osler.studies.geometry import Array

__all__ = ["check_finite", "cumulative", "denormalise", "probabilities", "sigmoid", "softmax"]


def check_finite(values: Array) -> None:
    """Whether a network's answer is made of numbers.

    Raises:
        Unsuitable: when it is not.
    """
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):  # either is NaN when any value is
        raise Unsuitable(
            "the network's answer to this study is not finite",
            remedy="check the study's intensities against those of the training data",
        )


def softmax(logits: Array, axis: int = 0) -> Array:
    """Exponentials that sum to one along ``axis``; safe for large logits."""
    shifted = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=axis, keepdims=True))


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(−x)); safe for large logits."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0 / (1.0 + small), small / (1.0 + small)), logits.dtype)


def cumulative(logits: Array, axis: int = 0) -> Array:
    """L grades from L−1 logits of P(grade > k), the cumulative link.

    P(grade > k) cannot rise with k; where a network says so, the lower of it and its predecessors is taken, so that no
    grade gets a negative probability. The L results sum to one.
    """
    above = np.minimum.accumulate(sigmoid(logits), axis=axis)
    edge = np.ones_like(above.take([0], axis=axis))
    bounds = np.concatenate([edge, above, np.zeros_like(edge)], axis=axis)  # (L + 1) along axis
    return np.asarray(-np.diff(bounds, axis=axis))


def denormalise(output: Array, mean: float, std: float) -> Array:
    """A number in the units of the data from the network's standardised one."""
    return np.asarray(output * np.float32(std) + np.float32(mean), output.dtype)


def probabilities(logits: Array, plan: Plan, temperature: float = 1.0, axis: int = 0) -> Array:
    """What the network's outputs mean.

    Args:
        logits: outputs along ``axis``, anything on the other axes.
        plan: its task and regions, and for a number ``target_mean`` and ``target_std``.
        temperature: logits are divided by it first; does not touch a number.
        axis: of the outputs.

    Returns:
        float32; along ``axis``: L class probabilities (classify), L independent ones (multilabel), L grades (ordinal,
        one more than logits), background and L labels or else independent regions (segment), or the one number
        (regress).
    """
    logits = np.asarray(logits, dtype=np.float32)
    if plan.task == "regress":
        return denormalise(logits, plan.target_mean, plan.target_std)
    scaled = logits / np.float32(temperature)
    task: TaskName = plan.task
    if task == "multilabel" or plan.regions:
        return sigmoid(scaled)
    if task == "ordinal":
        return cumulative(scaled, axis)
    return softmax(scaled, axis)
