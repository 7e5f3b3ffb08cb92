"""``Labelled``: the mask of a study and what was counted while it was made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.datasets.labels import LabelSet
from osler.datasets.preparation import Trace, restore_labels
from osler.studies.geometry import Array

__all__ = ["LabelCount", "Labelled", "as_labelled", "value_table"]


@dataclass(frozen=True)
class LabelCount:
    """One label of a study.

    Args:
        profiles: per axis of the source, how many of its voxels lie at each index.
        probability: mean over the working voxels that it won; where it won none, its highest.
    """

    profiles: tuple[Array, ...]
    probability: float


@dataclass(frozen=True)
class Labelled:
    """``mask`` is on the source grid, (I, J[, K]) of the data set's values; ``counts`` has one entry per label."""

    mask: Array
    counts: tuple[LabelCount, ...]


def value_table(labels: LabelSet) -> Array:
    """From class index, background first, to the value in files; the smallest integer type that holds them all."""
    values = np.array([0, *labels.values])
    return values.astype(np.result_type(np.min_scalar_type(values.min()), np.min_scalar_type(values.max())))


def as_labelled(output: Array | Labelled, trace: Trace, labels: LabelSet) -> Labelled:
    """What a segmenting predictor gave, as labels: probabilities (1 + labels, \\*trace.padded_shape) are restored."""
    if isinstance(output, Labelled):
        return output
    mask = restore_labels(output, trace, labels)
    means = _mean_probabilities(output[(slice(None), *trace.inside)])
    return Labelled(
        mask,
        tuple(LabelCount(_profiles(mask == v), mean) for v, mean in zip(labels.values, means[1:], strict=True)),
    )


def _profiles(here: Array) -> tuple[Array, ...]:
    axes = range(here.ndim)
    return tuple(np.count_nonzero(here, axis=tuple(other for other in axes if other != axis)) for axis in axes)


def _mean_probabilities(inside: Array) -> list[float]:
    """(O, \\*S) to the mean probability of each output where it is the largest, plane by plane, so that nothing of the
    study's size is allocated; its highest probability where it is the largest nowhere (resampling made it win)."""
    outputs = len(inside)
    total, voxels = np.zeros(outputs), np.zeros(outputs)
    for plane in range(inside.shape[1]):
        winner = inside[:, plane].argmax(axis=0).ravel()
        total += np.bincount(winner, weights=inside[:, plane].max(axis=0).ravel(), minlength=outputs)
        voxels += np.bincount(winner, minlength=outputs)
    return [float(total[n] / voxels[n]) if voxels[n] else float(inside[n].max()) for n in range(outputs)]
