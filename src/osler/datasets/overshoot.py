"""How far a cubic interpolation may go: it overshoots at edges, and the result is cut off where the image ends."""

from __future__ import annotations

import numpy as np

from osler.datasets.intensities import Limits
from osler.datasets.trace import Trace
from osler.studies.geometry import Array
from osler.studies.resample import resample

__all__ = ["overshoot_bounds"]


def overshoot_bounds(laid: Array, trace: Trace, limits: Limits) -> tuple[Array, Array]:
    """Lowest and highest value that a channel's interpolated voxels may have.

    With averaging they are the limits of the channel. Without it they are the image's own range within these; where
    slices are interpolated one by one, that of the slice that each was taken from.

    Args:
        laid: (C, *trace.kept_shape), clipped or not.
        trace: of the study.
        limits: of the channel.

    Returns:
        Two float32 arrays that broadcast to (C, *trace.working_shape): all sizes 1, but those of the channels and of
        the axis from slice to slice.
    """
    ways = trace.interpolation
    if ways.antialias:
        ones = (1,) * laid.ndim
        return np.full(ones, limits.low, np.float32), np.full(ones, limits.high, np.float32)
    slices = next((axis for axis, order in enumerate(ways.there) if order == 0), None)
    within = tuple(axis + 1 for axis in range(len(ways.there)) if axis != slices)
    found = []
    for extreme in (np.min, np.max):
        bound = np.clip(extreme(laid, axis=within, keepdims=True), limits.low, limits.high).astype(np.float32)
        if slices is not None:
            shape = tuple(n if axis == slices else 1 for axis, n in enumerate(trace.working_shape))
            bound = resample(bound, shape, order=0)
        found.append(bound)
    return found[0], found[1]
