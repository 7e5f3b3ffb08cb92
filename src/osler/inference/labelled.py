"""``Labelled``: the mask of a study and what was counted while it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.labels import LabelSet
from osler.datasets.plan import RegionPlan
from osler.datasets.preparation import Trace, restore_labels
from osler.inference.selection import Windows
from osler.studies.geometry import Array

__all__ = ["LabelCount", "Labelled", "as_labelled", "value_table"]


@dataclass(frozen=True)
class LabelCount:
    """One label, or region of several, of a study.

    Args:
        profiles: per axis of the source, how many of its voxels lie at each index.
        probability: mean over the working voxels that it won (a region: has); where it won none, its highest.
    """

    profiles: tuple[Array, ...]
    probability: float


@dataclass(frozen=True)
class Labelled:
    """``mask`` is on the source grid, (I, J[, K]) of the data set's values; ``counts`` has one entry per
    label or region; ``windows`` says how many were run where some might not be."""

    mask: Array
    counts: tuple[LabelCount, ...]
    windows: Windows | None = None


def value_table(labels: LabelSet) -> Array:
    """From class index, background first, to the value in files; the smallest integer type that holds them all."""
    values = np.array([0, *labels.values])
    return values.astype(np.result_type(np.min_scalar_type(values.min()), np.min_scalar_type(values.max())))


def as_labelled(
    output: Array | Labelled, trace: Trace, labels: LabelSet, *, regions: Sequence[RegionPlan] = ()
) -> Labelled:
    """What a segmenting predictor gave, as labels.

    Args:
        output: probabilities (1 + labels, \\*trace.padded_shape), or (regions, ...), are restored.
        trace: of the study.
        labels: of the plan.
        regions: of the plan; where there are any, ``counts`` has one entry per region.
    """
    if isinstance(output, Labelled):
        return output
    mask = restore_labels(output, trace, labels, regions=regions)
    inside = output[(slice(None), *trace.inside)]
    if regions:
        means = _mean_of_regions(inside)
        return Labelled(
            mask,
            tuple(
                LabelCount(_profiles(np.isin(mask, region.values)), mean)
                for region, mean in zip(regions, means, strict=True)
            ),
        )
    means = _mean_probabilities(inside)[1:]
    return Labelled(
        mask,
        tuple(LabelCount(_profiles(mask == v), mean) for v, mean in zip(labels.values, means, strict=True)),
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


def _mean_of_regions(inside: Array) -> list[float]:
    """(regions, \\*S) to the mean probability of each where it is above one half; its highest where it is nowhere."""
    total, voxels = np.zeros(len(inside)), np.zeros(len(inside))
    for plane in range(inside.shape[1]):
        for n, here in enumerate(inside[:, plane]):
            above = here[here > 0.5]
            total[n] += above.sum(dtype=np.float64)
            voxels[n] += above.size
    return [float(total[n] / voxels[n]) if voxels[n] else float(inside[n].max()) for n in range(len(inside))]
