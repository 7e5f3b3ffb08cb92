"""From a network's answer on the working grid back onto the source grid. The other half of ``preparation``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from osler.datasets.labels import LabelSet
from osler.datasets.plan import RegionPlan
from osler.datasets.trace import Trace
from osler.errors import PlanError
from osler.studies.geometry import Array
from osler.studies.resample import resample
from osler.studies.tilt import made_tilted

__all__ = ["restore", "restore_labels"]

_LEAST = np.float32(1e-38)  # float32's smallest normal number, so that the logarithm of a probability is finite
_SURE = np.float32(1 - 2**-24)
"""The float32 below 1: a sigmoid that was rounded to 1 had a logit of at least 16.6, and is taken for that."""


def restore(probabilities: Array, trace: Trace, *, regions: Sequence[RegionPlan] = ()) -> Array:
    """Bring channels of a network's answer back onto the source grid.

    Args:
        probabilities: (C, *trace.padded_shape), any real dtype.
        trace: of the prepared study.
        regions: of the plan; without them the channels are background and labels. What lies outside the crop is
            background with certainty.

    Returns:
        (C, *trace.source_shape) float32.
    """
    inner = np.asarray(probabilities[(slice(None), *trace.inside)], np.float32)
    if trace.resampled:
        inner = _interpolated(inner, trace, exclusive=not regions)
    if trace.cropped is not None:
        whole = np.zeros((len(inner), *trace.oriented_shape), np.float32)
        if not regions:
            whole[0] = 1
        whole[(slice(None), *trace.cropped)] = inner
        inner = whole
    back = _orient_back(inner, trace)
    return np.ascontiguousarray(back if trace.upright is None else made_tilted(back, trace.upright))


def restore_labels(
    probabilities: Array, trace: Trace, labels: LabelSet, *, regions: Sequence[RegionPlan] = ()
) -> Array:
    """The most probable class of each voxel of the source grid, as the data set writes it.

    Only one class at a time is held on the source grid; ties go to the lower class index. Of regions, the value of the
    last one whose probability is above one half.

    Args:
        probabilities: (1 + labels, *trace.padded_shape), channel 0 being background; or (regions, ...).
        trace: of the prepared study.
        labels: of kind ``mask``, in the order of the channels.
        regions: of the plan.

    Returns:
        ``trace.source_shape``, the smallest integer type that holds the values.

    Raises:
        PlanError: when there is not one channel for the background and each label, or for each region.
    """
    values = np.array([0, *labels.values, *(region.writes for region in regions)])
    channels = len(regions) or 1 + len(labels.values)
    if channels != len(probabilities):
        what = f"{len(regions)} regions" if regions else f"background and {len(labels.values)} labels"
        raise PlanError(f"{len(probabilities)} channels do not fit {what}")
    smallest = np.result_type(np.min_scalar_type(values.min()), np.min_scalar_type(values.max()))
    inner = probabilities[(slice(None), *trace.inside)]
    if regions:
        written = _written_regions(inner, trace, regions, smallest)
    else:
        written = values.astype(smallest)[_largest_channel(inner, trace)]
    if trace.cropped is not None:
        whole = np.zeros(trace.oriented_shape, smallest)
        whole[trace.cropped] = written
        written = whole
    back = _orient_back(written[None], trace)
    return np.ascontiguousarray((back if trace.upright is None else made_tilted(back, trace.upright, labels=True))[0])


def _resampler(trace: Trace) -> Callable[[Array], Array]:
    """(C, *trace.working_shape) to (C, *trace.kept_shape)."""
    ways = trace.interpolation
    return lambda array: resample(array, trace.kept_shape, order=ways.back, antialias=ways.antialias)


def _interpolated(array: Array, trace: Trace, *, exclusive: bool) -> Array:
    """Probabilities on the grid before resampling; through logits where the plan wants those interpolated."""
    back = _resampler(trace)
    if trace.interpolation.of == "probabilities":
        return back(array)
    scores = back(_scores(array, exclusive=exclusive))
    if not exclusive:
        return np.asarray(1 / (1 + np.exp(-scores)), np.float32)
    scores = np.exp(scores - scores.max(axis=0))
    return np.asarray(scores / scores.sum(axis=0), np.float32)


def _scores(array: Array, *, exclusive: bool) -> Array:
    """What a linear interpolation of logits can be done with: logarithms of exclusive probabilities differ from the
    logits by a number that all classes share, which no arg-max and no softmax sees; of others the logits themselves."""
    positive = np.maximum(array, _LEAST)
    if exclusive:
        return np.asarray(np.log(positive))
    return np.asarray(np.log(positive) - np.log1p(-np.minimum(array, _SURE)))


def _largest_channel(array: Array, trace: Trace) -> Array:
    """(C, *working) to the index (*kept) of the largest channel after resampling, one channel at a time."""
    if not trace.resampled:
        return np.asarray(np.argmax(array, axis=0))
    back, of_logits = _resampler(trace), trace.interpolation.of == "logits"

    def one(index: int) -> Array:
        channel = array[index : index + 1]
        return back(_scores(channel, exclusive=True) if of_logits else channel)

    largest = one(0)
    winner = np.zeros(trace.kept_shape, np.intp if len(array) > 256 else np.uint8)
    for index in range(1, len(array)):
        here = one(index)
        np.copyto(winner, winner.dtype.type(index), where=(here > largest)[0])
        np.maximum(largest, here, out=largest)
    return winner


def _written_regions(array: Array, trace: Trace, regions: Sequence[RegionPlan], dtype: np.dtype[np.generic]) -> Array:
    """(regions, *working) to values (*kept), one region at a time, the later over the earlier."""
    written = np.zeros(trace.kept_shape, dtype)
    for region, channel in zip(regions, array, strict=True):
        here = _interpolated(channel[None], trace, exclusive=False) if trace.resampled else channel[None]
        written[here[0] > 0.5] = region.writes
    return written


def _orient_back(array: Array, trace: Trace) -> Array:
    """(C, *oriented_shape) to (C, *source_shape), a view."""
    unflipped = array[(slice(None), *(slice(None, None, -1) if f else slice(None) for f in trace.flips))]
    return np.transpose(unflipped, (0, *(1 + int(a) for a in np.argsort(trace.order))))
