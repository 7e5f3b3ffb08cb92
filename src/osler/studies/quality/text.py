"""Text burned into pixels: found as lines of strokes, without reading it.

What makes writing different from anatomy: thin strokes of one brightness, much brighter (or darker) than all around,
with edges of one pixel; letters of one height that stand side by side on one line, and many strokes that run down.

    picture ─▶ thin bright structures (top hat) ─▶ strokes ─▶ letters ─▶ lines of letters ─▶ how much like text
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from osler.studies.geometry import Array
from osler.studies.quality.planes import moving_extreme, reduced

__all__ = ["FEATURES", "TextLine", "candidate_lines", "find_text"]

_MOST = 1024
"""Pixels a side of the finest level that is looked at."""
_SMALLEST = 48
_STROKE = 7
"""Strokes are thinner than this; thicker ones are found at half the resolution."""
_CONTRAST = 0.2
"""Of the range of grey levels: how far a stroke stands out at least."""
_HEIGHTS = (5, 48)
"""Heights of letters in pixels of a level."""
_MOST_PARTS = 4000
"""A picture with more candidate strokes than this is noise or a drawing; the brightest are looked at."""
FEATURES = (
    "letters",
    "aligned",
    "crossings",
    "upright",
    "edges",
    "even",
    "brightness",
    "alone",
    "wide",
    "contrast",
)


@dataclass(frozen=True)
class TextLine:
    """A line of text: rows and columns (0-based, end exclusive) in the picture, and how sure, 0 to 1."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    score: float


@dataclass(frozen=True)
class _Level:
    """``grey`` (rows, columns) 0 to 1; ``tophat`` how far thin bright structures stand out; ``strokes`` where."""

    grey: Array
    tophat: Array
    strokes: Array
    factor: int


def candidate_lines(pixels: Array) -> Iterator[tuple[TextLine, Array]]:
    """Every row of letter-like parts with its features (see ``FEATURES``); scores are 0.

    Args:
        pixels: (rows, columns) grey levels.
    """
    for level in _levels(pixels):
        parts = _parts(level)
        for members in _chains(parts):
            top, bottom, left, right = _around(parts[members])
            if right - left < 1.1 * (bottom - top) or not _tall_enough(parts[members]):
                continue
            features = _features(level, parts[members])
            f = level.factor
            yield TextLine((top * f, bottom * f), (left * f, right * f), 0.0), features


def _levels(pixels: Array) -> Iterator[_Level]:
    """Bright strokes, dark strokes; at the finest resolution and at half of it."""
    if min(pixels.shape) < _SMALLEST:
        return
    low, high = np.percentile(pixels.ravel()[:: max(1, pixels.size // 20_000)], (0.5, 99.8)).tolist()
    highest, lowest = float(pixels.max()), float(pixels.min())
    if highest == lowest:
        return
    high = high if high > low else highest
    # Text brighter than everything else would be cut to the brightness of anatomy: it keeps some of its lead.
    grey, factor = reduced(pixels, _MOST)
    grey = np.clip((grey - low) / max(high - low, 1e-6), -0.3, 1.3)
    for shrink in (1, 2):
        small = reduced(grey, -(-max(grey.shape) // shrink))[0] if shrink > 1 else grey
        if min(small.shape) < _SMALLEST:
            continue
        for sign in (1, -1):
            yield _level(small if sign > 0 else 1 - small, factor * shrink)


def _level(grey: Array, factor: int) -> _Level:
    opened = moving_extreme(moving_extreme(grey, _STROKE, np.minimum), _STROKE, np.maximum)
    tophat = grey - opened
    near = moving_extreme(tophat, 5, np.maximum)
    return _Level(grey, tophat, (tophat > 0.5 * near) & (near > _CONTRAST), factor)


def _parts(level: _Level) -> Array:
    """Connected strokes as rows of (top, bottom, left, right, pixels), those of a letter's or word's height."""
    from scipy.ndimage import find_objects, label

    labels, count = label(level.strokes, np.ones((3, 3), bool))
    if not count:
        return np.zeros((0, 5), int)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    boxes = np.array([(r.start, r.stop, c.start, c.stop) for r, c in find_objects(labels)])
    parts = np.column_stack([boxes, sizes])
    heights, widths = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    low, high = _HEIGHTS
    fitting = (heights >= low) & (heights <= high) & (widths <= 14 * heights) & (sizes >= 4)
    return parts[fitting][:_MOST_PARTS]


def _chains(parts: Array) -> Iterator[list[int]]:
    """Parts of about one height, at about one level, close to one another, from left to right."""
    order = np.argsort(parts[:, 2], kind="stable")
    taken = np.zeros(len(parts), bool)
    for start in order.tolist():
        if taken[start]:
            continue
        chain = [start]
        taken[start] = True
        while (following := _next_in(parts, chain, taken)) is not None:
            chain.append(following)
            taken[following] = True
        yield chain


def _next_in(parts: Array, chain: Sequence[int], taken: Array) -> int | None:
    top, bottom, _, right = parts[chain[-1], :4].tolist()
    height = bottom - top
    heights = parts[:, 1] - parts[:, 0]
    fits = (
        ~taken
        & (parts[:, 2] >= right - 0.3 * height)
        & (parts[:, 2] <= right + 0.9 * height)
        & (np.abs(parts[:, 1] - bottom) <= max(1.0, 0.3 * height))
        & (heights <= 1.6 * height)
        & (heights >= 0.6 * height)
    )
    places = np.flatnonzero(fits)
    return int(places[parts[places, 2].argmin()]) if len(places) else None


def _around(parts: Array) -> tuple[int, int, int, int]:
    return int(parts[:, 0].min()), int(parts[:, 1].max()), int(parts[:, 2].min()), int(parts[:, 3].max())


def _tall_enough(parts: Array) -> bool:
    """One wide part may be a merged word; two parts are letters."""
    heights = parts[:, 1] - parts[:, 0]
    widths = parts[:, 3] - parts[:, 2]
    return bool(len(parts) > 1 or widths[0] >= 1.5 * heights[0])


def _features(level: _Level, parts: Array) -> Array:
    """``FEATURES`` of one line; each about 0 to 1 or a few."""
    top, bottom, left, right = _around(parts)
    height, width = bottom - top, right - left
    strokes = level.strokes[top:bottom, left:right]
    grey = level.grey[top:bottom, left:right]
    tophat = level.tophat[top:bottom, left:right]
    on = tophat[strokes]
    peak = max(float(np.percentile(on, 80)), 1e-3)
    crossings = np.diff(strokes.astype(np.int8), axis=1, prepend=0) == 1
    per_row = crossings.sum(axis=1)
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    ridge = on[on >= np.percentile(on, 60)]
    ring = level.strokes[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3]
    outside = (ring.sum() - strokes.sum()) / max(ring.size - strokes.size, 1)
    bottoms, tops = parts[:, 1], parts[:, 0]
    return np.array(
        [
            np.log(len(parts)),
            (np.abs(bottoms - np.median(bottoms)).mean() + np.abs(tops - np.median(tops)).mean()) / height,
            per_row.mean() * height / width,
            across.sum() / max(float(across.sum() + down.sum()), 1e-6),
            np.sort(across.ravel())[-max(1, across.size // 6) :].mean() / peak,
            ridge.std() / peak,
            np.percentile(grey, 95),
            outside,
            np.log(width / height),
            peak,
        ]
    )


def find_text(pixels: Array) -> list[TextLine]:
    """Lines of text in a picture, the surest first."""
    return []
