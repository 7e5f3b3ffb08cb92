"""How far a cubic interpolation may go: it overshoots at edges, and the result is cut off where the image ends."""

from __future__ import annotations

import numpy as np

from osler.datasets.intensities import Limits
from osler.datasets.trace import Trace
from osler.studies.geometry import Array
from osler.studies.resample import resample

__all__ = ["bounds_within", "extremes_of", "overshoot_bounds"]


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
    if trace.interpolation.antialias:
        ones = (1,) * laid.ndim
        return np.full(ones, limits.low, np.float32), np.full(ones, limits.high, np.float32)
    return bounds_within(extremes_of(laid, trace), trace, limits)


def extremes_of(laid: Array, trace: Trace) -> tuple[Array, Array]:
    """Lowest and highest value of a channel, of each slice where slices are interpolated one by one.

    Args:
        laid: (C, *trace.kept_shape), or some of its planes.
        trace: of the study.

    Returns:
        Two arrays of the sizes of ``laid`` along channels and from slice to slice, all others 1.
    """
    slices = _slices(trace)
    within = tuple(axis + 1 for axis in range(laid.ndim - 1) if axis != slices)
    return np.min(laid, axis=within, keepdims=True), np.max(laid, axis=within, keepdims=True)


def bounds_within(extremes: tuple[Array, Array], trace: Trace, limits: Limits) -> tuple[Array, Array]:
    """``overshoot_bounds`` without averaging, from what ``extremes_of`` gives of the whole study."""
    slices = _slices(trace)
    found = []
    for extreme in extremes:
        bound = np.clip(extreme, limits.low, limits.high).astype(np.float32)
        if slices is not None:
            shape = tuple(n if axis == slices else 1 for axis, n in enumerate(trace.working_shape))
            bound = resample(bound, shape, order=0)
        found.append(bound)
    return found[0], found[1]


def _slices(trace: Trace) -> int | None:
    """The working axis from slice to slice where these are interpolated one by one."""
    return next((axis for axis, order in enumerate(trace.interpolation.there) if order == 0), None)
