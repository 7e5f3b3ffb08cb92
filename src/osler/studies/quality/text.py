"""Text burned into pixels: found as lines of strokes, without reading it.

What makes writing different from anatomy: thin strokes of one brightness, much brighter (or darker) than all around,
with edges of one pixel; letters of one height that stand side by side on one line, and many strokes that run down.

    picture ─▶ thin bright structures (top hat) ─▶ strokes ─▶ letters ─▶ lines of letters ─▶ how much like text
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from osler.studies.geometry import Array
from osler.studies.quality.planes import moving_extreme, reduced

__all__ = ["FEATURES", "TextLine", "candidate_lines", "find_text", "is_inked"]

_MOST = 1024
"""Pixels a side of the finest level that is looked at."""
_SMALLEST = 128
"""Below, all structures are as sharp and as thin as strokes, and writing could hardly be read."""
_TWO_LEVELS = 384
_STROKE = 7
"""Strokes are thinner than this; thicker ones are found at half the resolution."""
_CONTRAST = 0.2
"""Of the range of grey levels: how far a stroke stands out at least."""
_STEEP = 0.12
"""Difference of neighbouring pixels along a row, of the range of grey levels, that is an edge."""
_HEIGHTS = (5, 48)
"""Heights of letters in pixels of a level."""
_MOST_PARTS = 1000
"""A picture with more candidate strokes than this is noise or a drawing; the largest are looked at."""
_BIAS = -14.2
_WEIGHTS: Mapping[str, float] = {
    "letters": 2.89,  # logarithm of the number of parts
    "aligned": -4.92,  # how far tops and bottoms lie from one line, in letter heights
    "upright": 10.83,  # share of changes that run along the row: strokes stand
    "edges": 5.81,  # the steepest sixth of the steps along the row, in contrasts of the strokes
    "even": -2.7,  # spread of how far the strokes' ridges stand out
    "brightness": -1.4,  # of the brightest pixel, in ranges of the picture
    "alone": -5.36,  # share of strokes in a frame of 3 pixels about the line
    "wide": 1.84,  # logarithm of width over height
    "contrast": 10.21,  # how far the strokes stand out, in ranges of the picture
    "columns": -8.18,  # spread of the brightest pixels of the columns: writing has one colour
}
"""Logistic regression on 3,717 candidates: 238 lines in breast ultrasound marked by eye and 431 drawn ones in 20
typefaces of 9 to 32 points, and what was proposed in these and in cardiac and brain MR, CT and blood smears without
text. ``benchmarks/burned_in_text.py`` measures it."""
FEATURES: tuple[str, ...] = tuple(_WEIGHTS)
_SURE = 0.92
"""By cross-validation 99.5 % of the lines with this score are text, and 85 % of all lines have it."""
_COLOURED = 0.04
"""Mean difference of a pixel's colours, of the range, from which a picture is a photograph: it was not learned from."""
_INK = (0.12, 0.6)
"""Ink on it is greyer or purer than this; stained nuclei, which stand in rows as letters do, have 0.25 to 0.35."""
_WORD = 2.5
"""Widths of its height that a word has there; specks of dust with their rings have 1.1 to 2.3."""


@dataclass(frozen=True)
class TextLine:
    """A line of text: rows and columns (0-based, end exclusive) in the picture, and how sure, 0 to 1."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    score: float

    def overlaps(self, other: TextLine) -> bool:
        """Whether two lines share a pixel."""
        return all(a[0] < b[1] and b[0] < a[1] for a, b in ((self.rows, other.rows), (self.columns, other.columns)))

    def lies_on(self, other: TextLine) -> bool:
        """Whether two lines share at least half of the longer one, in width and in height."""
        return all(
            min(a[1], b[1]) - max(a[0], b[0]) >= 0.5 * max(a[1] - a[0], b[1] - b[0])
            for a, b in ((self.rows, other.rows), (self.columns, other.columns))
        )


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
        if not len(parts):
            continue
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
    for shrink in (1, 2) if max(grey.shape) >= _TWO_LEVELS else (1,):
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
    # Writing has edges of about one pixel, anatomy seldom: this spares most of the work that follows.
    steep = np.abs(np.diff(level.grey, axis=1)) > _STEEP
    steps = np.bincount(labels[:, 1:][steep], minlength=count + 1) + np.bincount(
        labels[:, :-1][steep], minlength=count + 1
    )
    fitting = (heights >= low) & (heights <= high) & (widths <= 14 * heights) & (steps[1:] >= heights)
    chosen = parts[fitting]
    most: Array = (
        chosen if len(chosen) <= _MOST_PARTS else chosen[np.argsort(-chosen[:, 4], kind="stable")[:_MOST_PARTS]]
    )
    return most


def _chains(parts: Array) -> Iterator[list[int]]:
    """Parts of about one height, on about one line, close to one another, from left to right."""
    top, bottom, left, right = parts[:, :4].T.astype(np.float32)
    height = (bottom - top)[:, None]
    fits = (
        (left >= right[:, None] - 0.3 * height)
        & (left <= right[:, None] + 0.9 * height)
        & (np.abs(bottom - bottom[:, None]) <= np.maximum(1.0, 0.3 * height))
        & (1.6 * height >= height.T)
        & (0.6 * height <= height.T)
    )
    np.fill_diagonal(fits, False)
    following = np.where(fits.any(axis=1), np.where(fits, left, np.inf).argmin(axis=1), -1).tolist()
    taken = [False] * len(parts)
    for start in np.argsort(left, kind="stable").tolist():
        chain = []
        place = start
        while place >= 0 and not taken[place]:
            taken[place] = True
            chain.append(place)
            place = following[place]
        if chain:
            yield chain


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
    ranked = np.sort(on)
    peak = max(float(ranked[int(0.8 * (len(ranked) - 1))]), 1e-3)
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    ridge = ranked[int(0.6 * (len(ranked) - 1)) :]
    ring = level.strokes[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3]
    outside = (ring.sum() - strokes.sum()) / max(ring.size - strokes.size, 1)
    bottoms, tops = parts[:, 1], parts[:, 0]
    columns = np.where(strokes, grey, -1.0).max(axis=0)
    columns = columns[columns > -1.0]
    return np.array(
        [
            np.log(len(parts)),
            (np.abs(bottoms - np.median(bottoms)).mean() + np.abs(tops - np.median(tops)).mean()) / height,
            across.sum() / max(float(across.sum() + down.sum()), 1e-6),
            np.sort(across.ravel())[-max(1, across.size // 6) :].mean() / peak,
            ridge.std() / peak,
            grey[strokes].max(),
            outside,
            np.log(width / height),
            peak,
            columns.std() / peak,
        ]
    )


def find_text(pixels: Array) -> list[TextLine]:
    """Lines of text in a picture, the surest first; of lines that overlap (two resolutions) the surest.

    Args:
        pixels: (rows, columns) grey levels, at least 128 a side; in smaller ones none is looked for.
    """
    weights = np.array(list(_WEIGHTS.values()))
    scored = [
        replace(line, score=float(1 / (1 + np.exp(-(features @ weights + _BIAS)))))
        for line, features in candidate_lines(pixels)
    ]
    found: list[TextLine] = []
    for line in sorted(scored, key=lambda line: -line.score):
        if line.score >= _SURE and not any(line.overlaps(other) for other in found):
            found.append(line)
    return found


def is_inked(colours: Array, line: TextLine) -> bool:
    """Whether a line that was found may be writing by its colour; of a picture without colour always.

    Args:
        colours: (3, rows, columns), the picture.
        line: found in its grey levels.
    """
    values = colours.astype(np.float32)
    span = max(float(values.max() - values.min()), 1e-6)
    chroma = (values.max(axis=0) - values.min(axis=0)) / span
    if chroma.mean() <= _COLOURED:
        return True
    place = (slice(*line.rows), slice(*line.columns))
    grey = values[:, *place].mean(axis=0)
    apart = np.abs(grey - np.median(grey))
    ink = float(np.median(chroma[place][apart >= 0.6 * apart.max()]))
    (top, bottom), (left, right) = line.rows, line.columns
    return right - left >= _WORD * (bottom - top) and not _INK[0] < ink < _INK[1]
