"""``Labelled``: the mask of a study and what was counted while it was made; where a mask goes plane by plane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from osler.datasets.labels import LabelSet
from osler.datasets.plan import RegionPlan
from osler.datasets.preparation import Trace, restore_labels
from osler.errors import UsageError
from osler.inference.selection import Windows
from osler.studies.geometry import Array
from osler.studies.volume import ImageLike

__all__ = ["Into", "LabelCount", "Labelled", "MaskSink", "as_labelled", "value_table"]


@dataclass(frozen=True)
class LabelCount:
    """One label, or region of several, of a study.

    Args:
        profiles: per axis of the source, how many of its voxels lie at each index.
        probability: mean over the working voxels that it won (a region: has); where it won none, its highest.
    """

    profiles: tuple[Array, ...]
    probability: float


class MaskSink(Protocol):
    """Where a mask goes while it is made. The story: made, given its planes in order, finished or abandoned; what
    becomes of a finished one is for whoever made it to say."""

    def write(self, planes: Array) -> None:
        """(I, J, n) of the data set's values: the planes of K after those of the call before.

        Raises:
            StorageError: when they cannot be kept.
        """

    def finish(self) -> None:
        """All planes were given; raises as ``write``."""

    def abandon(self) -> None:
        """Leave nothing behind."""


Into = Callable[[ImageLike, np.dtype[Any]], MaskSink]
"""Makes a sink for a mask of a dtype in the place of an image."""


@dataclass(frozen=True)
class Labelled:
    """What a segmenting model says of a study.

    Args:
        mask: on the source grid, (I, J[, K]) of the data set's values; None when it went elsewhere.
        counts: one entry per label or region.
        sink: where the mask went, finished; None when it is here.
        windows: how many were run, where some might not be.
    """

    mask: Array | None
    counts: tuple[LabelCount, ...]
    sink: MaskSink | None = None
    windows: Windows | None = None

    @property
    def whole_mask(self) -> Array:
        """The mask, where it is known to be here.

        Raises:
            UsageError: when it went elsewhere.
        """
        if self.mask is None:
            raise UsageError("the mask was written plane by plane and is not in memory", remedy="read it from its file")
        return self.mask

    def profiles(self) -> tuple[Array, ...]:
        """Per axis of the source, how many voxels of any label lie at each index; not of regions, which overlap."""
        return tuple(np.sum([count.profiles[axis] for count in self.counts], axis=0) for axis in range(self._axes))

    @property
    def _axes(self) -> int:
        return len(self.counts[0].profiles)


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
