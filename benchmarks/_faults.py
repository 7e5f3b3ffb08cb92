"""Faults to plant into pictures and volumes: each a function of an array, and drawing text as a viewer burns it in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, uniform_filter1d

from osler.studies.geometry import Array

__all__ = ["MASK_FAULTS", "PICTURE_FAULTS", "Grey", "draw_text", "edited_copy", "with_marks"]

Grey = Callable[[Array, np.random.Generator], Array]
_WORDS = ("SMITH JOHN", "12/03/1961", "ID 448291", "LEFT", "Dr. Meyer", "ACQ 14:32", "PORTABLE", "SUPINE AP")
_FONTS = sorted(Path("/usr/share/fonts/truetype").rglob("*.ttf"))


def draw_text(grey: Array, rng: np.random.Generator) -> Array:
    """A word in white or, on bright ground, black; 9 to 20 points, anywhere that it fits."""
    word = str(rng.choice(_WORDS))
    face = str(rng.choice(_FONTS)) if _FONTS else None
    size = int(rng.integers(10, 21))
    font = ImageFont.truetype(face, size) if face else ImageFont.load_default(size)
    canvas = Picture.new("L", (grey.shape[1], grey.shape[0]))
    left, top, right, bottom = ImageDraw.Draw(canvas).textbbox((0, 0), word, font=font)
    x = int(rng.integers(2, max(3, grey.shape[1] - right - 2)))
    y = int(rng.integers(2, max(3, grey.shape[0] - bottom - 2)))
    ImageDraw.Draw(canvas).text((x, y), word, fill=255, font=font)
    share = np.asarray(canvas, float) / 255
    ground = np.median(grey[y + int(top) : y + int(bottom), x + int(left) : x + int(right)])
    ink = 0.0 if ground > 127 else 255.0
    return grey * (1 - share) + ink * share


def with_marks(grey: Array, rng: np.random.Generator) -> Array:
    """(rows, columns, 3): yellow callipers."""
    colours = np.repeat(grey[..., None], 3, axis=2)
    for _ in range(2):
        y, x = (int(rng.integers(20, n - 20)) for n in grey.shape)
        colours[y - 6 : y + 7, x] = colours[y, x - 6 : x + 7] = (255, 230, 0)
    return colours


def edited_copy(grey: Array, rng: np.random.Generator) -> Array:
    """What makes a near-duplicate: another size, brightness, a little noise, a mark, or cut margins."""
    kind = int(rng.integers(5))
    if kind == 0:
        size = (round(grey.shape[1] * 0.8), round(grey.shape[0] * 0.8))
        small = Picture.fromarray(grey.astype(np.uint8)).resize(size, Picture.Resampling.BILINEAR)
        return np.asarray(small.resize((grey.shape[1], grey.shape[0]), Picture.Resampling.BILINEAR), float)
    if kind == 1:
        return 255 * (grey / 255) ** 0.8
    if kind == 2:
        return grey + rng.normal(0, 3, grey.shape)
    if kind == 3:
        marked = grey.copy()
        marked[8:20, 8:40] = 255
        return marked
    cut = grey[4:-4, 4:-4]
    return np.asarray(Picture.fromarray(cut.astype(np.uint8)).resize((grey.shape[1], grey.shape[0])), float)


def _noisy(grey: Array, rng: np.random.Generator) -> Array:
    return grey + rng.normal(0, 25, grey.shape)


def _blurred(grey: Array, rng: np.random.Generator) -> Array:
    return np.asarray(gaussian_filter(grey, float(rng.uniform(2.5, 4))))


def _moved(grey: Array, rng: np.random.Generator) -> Array:
    """Blurred along one axis."""
    return np.asarray(uniform_filter1d(grey, int(rng.integers(11, 18)), axis=int(rng.integers(2))))


def _ghosted(grey: Array, rng: np.random.Generator) -> Array:
    axis = int(rng.integers(2))
    shift = int(grey.shape[axis] * rng.uniform(0.3, 0.5))
    return 0.75 * grey + 0.35 * np.roll(grey, shift, axis)


def _shaded(grey: Array, rng: np.random.Generator) -> Array:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in grey.shape), indexing="ij")
    turn = rng.uniform(0, 2 * np.pi)
    return grey * np.exp(1.8 * (np.cos(turn) * x + np.sin(turn) * y) - 0.6)


def _framed(grey: Array, rng: np.random.Generator) -> Array:
    """The picture at a third of its size in a black frame."""
    small = Picture.fromarray(grey.astype(np.uint8)).resize((grey.shape[1] // 3, grey.shape[0] // 3))
    frame = np.zeros_like(grey)
    y, x = (int(rng.integers(0, n - n // 3)) for n in grey.shape)
    frame[y : y + small.height, x : x + small.width] = np.asarray(small)
    return frame


PICTURE_FAULTS: Mapping[str, Grey] = {
    "blank": lambda grey, rng: np.full_like(grey, 17),
    "inverted": lambda grey, rng: 255 - grey,
    "mirrored": lambda grey, rng: grey[:, ::-1],
    "upside down": lambda grey, rng: grey[::-1],
    "saturated": lambda grey, rng: np.clip(grey, 0, np.percentile(grey, 55)) * 255 / max(np.percentile(grey, 55), 1),
    "text": draw_text,
    "marks": with_marks,
    "noise": _noisy,
    "blur": _blurred,
    "motion": _moved,
    "ghost": _ghosted,
    "bias field": _shaded,
    "flat": lambda grey, rng: 110 + grey * 0.06,
    "framed": _framed,
}
"""Of 8-bit grey levels (rows, columns) as floats; what leaves 0 to 255 is cut off."""


def _islands(mask: Array, rng: np.random.Generator) -> Array:
    """Two small blobs in the corner furthest from the label."""
    value = int(mask.max())
    result = mask.copy()
    centre = np.argwhere(mask > 0).mean(axis=0)
    corner = tuple(slice(3, 5) if c > n / 2 else slice(n - 5, n - 3) for c, n in zip(centre, mask.shape, strict=True))
    result[corner] = value
    return result


def _to_border(mask: Array, rng: np.random.Generator) -> Array:
    """Moved until it touches the first side."""
    first = int(np.argwhere(mask > 0).min(axis=0)[0])
    return np.roll(mask, -first, axis=0)


def _shrunken(mask: Array, rng: np.random.Generator) -> Array:
    """All but a few voxels about the middle erased, per label."""
    result = np.zeros_like(mask)
    for value in np.unique(mask[mask > 0]).tolist():
        places = np.argwhere(mask == value)
        near = np.argsort(((places - places.mean(axis=0)) ** 2).sum(axis=1))[: max(3, len(places) // 60)]
        result[tuple(places[near].T)] = value
    return result


MASK_FAULTS: Mapping[str, Grey] = {
    "empty mask": lambda mask, rng: np.zeros_like(mask),
    "foreign label": lambda mask, rng: np.where(mask > 0, 99, 0).astype(mask.dtype),
    "islands": _islands,
    "at the border": _to_border,
    "shrunken": _shrunken,
}
