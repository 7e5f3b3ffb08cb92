"""Sliding windows: a network that sees a patch is run over a whole study and its logits are blended.

Logits are blended, not probabilities: a weighted mean of logits stays a logit, so the temperature can be fitted and
changed afterwards, and everything up to the softmax stays linear.

The weights are products of one Gaussian per axis, and windows form a full grid of starts, so the weights of all windows
can be made to sum to one beforehand, axis by axis. Nothing has to be divided at the end, no volume of weights is kept,
and a window that is alone on an axis has weight exactly one there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Literal

import numpy as np

from osler.errors import PlanError
from osler.studies.geometry import Array

__all__ = ["Weights", "gaussian", "pad_to", "shares_of", "sliding", "window_starts"]

Weights = Literal["floored", "gaussian"]
"""See ``Plan.window_weights``."""

_SIGMA = 0.125  # of the patch's length
_FLOOR = 0.01  # of the peak, per axis: keeps a voxel that only a window's edge reaches well defined


def window_starts(shape: Sequence[int], patch: Sequence[int], overlap: float = 0.5) -> list[list[int]]:
    """First index of each window, per axis: the fewest windows that overlap at least that much, evenly spread.

    Args:
        shape: spatial shape, at least ``patch`` on every axis.
        patch: shape of a window.
        overlap: least fraction of a window that its neighbour covers too, in [0, 1).

    Raises:
        PlanError: when the patch is larger than the shape or the overlap is out of range.
    """
    if not 0 <= overlap < 1:
        raise PlanError(f"overlap must be in [0, 1); it is {overlap}", remedy="use 0.5")
    if len(shape) != len(patch) or any(p > s or p < 1 for s, p in zip(shape, patch, strict=True)):
        raise PlanError(f"patch {tuple(patch)} does not fit into {tuple(shape)}", remedy="pad the study first")
    starts = []
    for size, length in zip(shape, patch, strict=True):
        step = max(1, int(length * (1 - overlap)))
        count = -(-(size - length) // step) + 1
        starts.append([round(n * (size - length) / max(count - 1, 1)) for n in range(count)])
    return starts


def _bump(length: int, kind: Weights) -> Array:
    middle, floor = ((length - 1) / 2, _FLOOR) if kind == "floored" else (length // 2, 0.0)
    offset = np.arange(length) - middle
    return np.asarray(np.maximum(np.exp(-0.5 * (offset / (_SIGMA * length)) ** 2), floor))


def gaussian(patch: Sequence[int], kind: Weights = "floored") -> Array:
    """The importance of each voxel of a window: (\\*patch), float32, highest in the middle, nowhere zero."""
    weights = np.ones((), dtype=np.float64)
    for length in patch:
        weights = weights[..., None] * _bump(length, kind)
    return weights.astype(np.float32)


def shares_of(starts: list[int], length: int, size: int, kind: Weights = "floored") -> dict[int, Array]:
    """Each window's weights along one axis; those of all windows sum to one at every index."""
    bump = _bump(length, kind)
    total = np.zeros(size)
    for start in starts:
        total[start : start + length] += bump
    return {start: (bump / total[start : start + length]).astype(np.float32) for start in starts}


def pad_to(array: Array, patch: Sequence[int], fill: float = 0.0) -> tuple[Array, tuple[slice, ...]]:
    """Pad (C, \\*S) symmetrically with ``fill`` to at least ``patch``.

    Returns:
        The padded array and the slices that cut the original region out of it, spatial axes only.
    """
    missing = [max(0, p - s) for s, p in zip(array.shape[1:], patch, strict=True)]
    cut = tuple(slice(m // 2, m // 2 + s) for s, m in zip(array.shape[1:], missing, strict=True))
    if not any(missing):
        return array, cut
    widths = [(0, 0), *((m // 2, m - m // 2) for m in missing)]
    return np.pad(array, widths, constant_values=fill), cut


def sliding(
    array: Array,
    patch: Sequence[int],
    run: Callable[[Array], Array],
    *,
    overlap: float = 0.5,
    batch: int = 1,
    fill: float = 0.0,
    weights: Weights = "floored",
) -> Array:
    """Run a network over a study window by window and blend its logits.

    Args:
        array: (C, \\*S), float32.
        patch: shape of a window.
        run: maps a batch (B, C, \\*patch) to logits (B, O, \\*patch).
        overlap: least fraction of a window that its neighbour covers too.
        batch: windows per call; the blended result does not depend on it.
        fill: what a study smaller than the patch is padded with, symmetrically.
        weights: how windows that overlap share a voxel.

    Returns:
        (O, \\*S) logits, float32.

    Raises:
        PlanError: when patch or overlap are out of range.
    """
    padded, cut = pad_to(array, patch, fill)
    starts = window_starts(padded.shape[1:], patch, overlap)
    shares = [shares_of(s, p, n, weights) for s, p, n in zip(starts, patch, padded.shape[1:], strict=True)]
    blended: Array | None = None
    for corners in _groups(list(product(*starts)), batch):
        places = [tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True)) for corner in corners]
        logits = run(np.stack([padded[(slice(None), *place)] for place in places]))
        if blended is None:
            blended = np.zeros((logits.shape[1], *padded.shape[1:]), dtype=np.float32)
        for corner, place, one in zip(corners, places, logits, strict=True):
            blended[(slice(None), *place)] += _weigh(one, [s[c] for s, c in zip(shares, corner, strict=True)])
    assert blended is not None  # window_starts gives at least one window
    return blended[(slice(None), *cut)]


def _weigh(logits: Array, weights: list[Array]) -> Array:
    """(O, \\*patch) times one weight vector per spatial axis."""
    for axis, vector in enumerate(weights):
        logits = logits * vector.reshape((-1,) + (1,) * (len(weights) - 1 - axis))
    return logits


def _groups(items: list[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
