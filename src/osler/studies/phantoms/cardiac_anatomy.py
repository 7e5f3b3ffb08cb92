"""A heart in its own coordinates: u to the right of the picture, v down, s along the long axis from apex to base, mm.

The septum lies at negative u, the diaphragm at positive v. The base moves, the apex stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.studies.geometry import Array
from osler.studies.phantoms.mr_signal import CHEST, Sequence
from osler.studies.phantoms.shapes import occupied

__all__ = ["LEFT", "MUSCLE", "RIGHT", "Heart", "draw_heart", "paint_chest_slices", "paint_heart"]

RIGHT, MUSCLE, LEFT = 1, 2, 3
_NAMES = ("blood", "muscle", "liver", "fat", "lung", "air")
_BLOOD, _MUSCLE, _LIVER, _FAT, _LUNG, _AIR = range(len(_NAMES))
_TIP = 6.0  # mm of muscle at the apex
_BELOW = 1  # slices below the apex of the cavity
_ACROSS = 3  # points across a slice


@dataclass(frozen=True)
class Heart:
    """Volumes in ml, lengths in mm: the cavity's length when full, how far the base moves, sizes of what is around."""

    full_ml: float
    ejection: float
    muscle_ml: float
    length: float
    shortening: float
    distance: float
    turn: float
    fat: float
    chest: float

    def left(self, filled: float) -> tuple[float, float, float, float]:
        """Radius and length of the left cavity, and of the muscle's outside: half ellipsoids with one base (mm)."""
        length = self.length - self.shortening * (1 - filled)
        millilitres = self.full_ml * (1 - self.ejection * (1 - filled))
        radius = np.sqrt(millilitres * 1000 / (2 / 3 * np.pi * length))
        outside = np.sqrt((millilitres + self.muscle_ml) * 1000 / (2 / 3 * np.pi * (length + _TIP)))
        return float(radius), length, float(outside), length + _TIP


def draw_heart(rng: np.random.Generator, full_ml: float, ejection: float, distance: float) -> Heart:
    """A random heart of that volume and ejection fraction, for slices ``distance`` mm apart.

    The length is a whole number of slices, and the base moves by one slice, or by two of a strong heart with thin ones.
    """
    wanted = (full_ml * 1000 / (2 / 3 * np.pi)) ** (1 / 3) * rng.uniform(1.95, 2.1) ** (2 / 3)
    length = round(wanted / distance) * distance
    return Heart(
        full_ml=full_ml,
        ejection=ejection,
        muscle_ml=float(rng.uniform(85, 115) + 0.25 * max(0.0, full_ml - 150)),
        length=length,
        shortening=distance * (2 if ejection > 0.6 and distance <= 8 else 1),
        distance=distance,
        turn=float(rng.normal(0, 0.15)),
        fat=float(rng.uniform(4, 10)),
        chest=float(rng.normal(1, 0.04)),
    )


def _axes(
    shape: tuple[int, int, int], pixel: float, heart: Heart, middle: tuple[float, float]
) -> tuple[Array, Array, Array]:
    """u (I, 1, 1), v (1, J, 1) and s (1, 1, K × points): each slice at several depths."""
    u = (np.arange(shape[0]) - (shape[0] - 1) / 2) * pixel - middle[0]
    v = (np.arange(shape[1]) - (shape[1] - 1) / 2) * pixel - middle[1]
    slices = (np.arange(shape[2])[:, None] - _BELOW + 0.5) + (np.arange(_ACROSS) - (_ACROSS - 1) / 2) / _ACROSS
    return u[:, None, None], v[None, :, None], (slices.ravel() * heart.distance)[None, None]


def paint_chest_slices(shape: tuple[int, int, int], pixel: float, heart: Heart) -> Array:
    """Shares (T, I, J, K × points), float32, of what does not beat: chest wall, lungs, liver, aorta, spine."""
    u, v, s = _axes(shape, pixel, heart, (22.0, 0.0))
    shares = np.zeros((len(_NAMES), *np.broadcast_shapes(u.shape, v.shape, s.shape)), np.float32)
    shares[_AIR] = 1
    big = heart.chest
    wall = (np.hypot((u + 28) / (128 * big), (v - 14) / (104 * big)) - 1) * 104
    for tissue, distance_to in ((_MUSCLE, wall), (_FAT, wall + 3), (_MUSCLE, wall + 4 + heart.fat), (_LUNG, wall + 22)):
        _lay(shares, tissue, distance_to + 0 * s, pixel)
    ribs = np.maximum(np.abs(wall + 17) - 3.5, np.abs((np.arctan2(v - 14, u + 28) * 6 + s / 60) % 2 - 1) * 20 - 9)
    _lay(shares, _FAT, ribs, pixel)
    _lay(shares, _FAT, (np.hypot((u + 16) / 58, (v + 4) / 45) - 1) * 45 + 0 * s, pixel, 0.45)  # the mediastinum
    dome = (np.hypot((u + 38) / 92, (v - 100) / (56 + 0.12 * s)) - 1) * 56
    _lay(shares, _LIVER, np.maximum(dome, wall + 20), pixel)
    for at_u, at_v, radius in ((-70, 64, 3), (-30, 66, 4), (-52, 84, 3), (-14, 82, 3)):
        _lay(shares, _BLOOD, np.maximum(np.hypot(u - at_u - s * 0.1, v - at_v) - radius, dome), pixel)
    _lay(shares, _MUSCLE, np.hypot(u - 42, v - 66) - 19 + 0 * s, pixel)
    _lay(shares, _FAT, np.hypot(u - 42, v - 66) - 15 + 0 * s, pixel, 0.6)  # a vertebra's marrow
    _lay(shares, _BLOOD, np.hypot(u - 58, v - 34) - 11 + 0 * s, pixel)  # the aorta beside it
    _lay(shares, _MUSCLE, np.abs(np.hypot(u - 58, v - 34) - 12) - 1 + 0 * s, pixel)
    return shares


def paint_heart(
    around: Array,
    shape: tuple[int, int, int],
    pixel: float,
    heart: Heart,
    filled: float,
    sequence: Sequence,
) -> tuple[Array, Array]:
    """One frame.

    Args:
        around: from ``paint_chest_slices``.
        shape: (I, J, K).
        pixel: mm.
        heart: whose.
        filled: 1 at end-diastole, 0 at end-systole.
        sequence: how bright a tissue is.

    Returns:
        Signal (I, J, K), float64, and labels (I, J, K), uint8.
    """
    u, v, s = _axes(shape, pixel, heart, (22.0, 0.0))
    box = _between(u.ravel(), -102, 78), _between(v.ravel(), -80, 80)
    shares = around.copy()
    inner = shares[:, box[0], box[1]]  # a view: only what beats is painted again
    u, v = u[box[0]], v[:, box[1]]
    left, muscle, right, wall = _surfaces(u, v, s, heart, filled)
    sleeve = np.minimum(muscle, wall)
    _lay(inner, _FAT, sleeve - 0.5 * heart.fat, pixel)
    _lay(inner, _MUSCLE, sleeve, pixel)
    _lay(inner, _BLOOD, right, pixel)
    _lay(inner, _MUSCLE, muscle, pixel)
    _lay(inner, _BLOOD, left, pixel)
    for papillary in _papillary(u, v, s, heart, filled):
        _lay(inner, _MUSCLE, np.maximum(papillary, left), pixel)
    _paint_base(inner, u, v, s, heart, filled, pixel)
    signals = [sequence(CHEST[name]) for name in _NAMES]
    signal = np.tensordot(signals, shares, 1).reshape(*shape, _ACROSS).mean(axis=-1)
    labels = np.zeros(shape, np.uint8)
    small = labels[box]
    middle = slice(_ACROSS // 2, None, _ACROSS)  # a voxel is what its middle is
    for value, surface in ((RIGHT, right), (MUSCLE, muscle), (LEFT, left)):
        small[np.broadcast_to(surface, inner.shape[1:])[:, :, middle] < 0] = value
    return signal, labels


def _between(places: Array, low: float, high: float) -> slice:
    """The part of increasing places that lies between two."""
    return slice(int(np.searchsorted(places, low)), int(np.searchsorted(places, high)))


def _lay(shares: Array, tissue: int, distance: Array, edge: float, share: float = 1.0) -> None:
    filled = (occupied(distance, edge) * share).astype(np.float32)
    shares *= 1 - filled
    shares[tissue] += filled


def _half(across: Array, s: Array, base: float, radius: float, length: float) -> Array:
    """Distance to half an ellipsoid below its base at ``s = base``; ``across`` is 1 on its rim where it is widest."""
    near = np.sqrt(across**2 + ((s - base) / length) ** 2)
    return np.asarray(np.maximum((near - 1) * radius, s - base))


def _surfaces(u: Array, v: Array, s: Array, heart: Heart, filled: float) -> tuple[Array, Array, Array, Array]:
    """Distances to the left cavity, the muscle's outside, the right cavity and the right ventricle's outside."""
    radius, length, outside, long_ = heart.left(filled)
    across = np.hypot(u, v)
    left = _half(across / radius, s, length, radius, length)
    muscle = _half(across / outside, s, length, outside, long_)
    squeeze = 0.72 + 0.28 * filled
    size = float(np.clip((heart.full_ml / 140) ** (1 / 3), 0.9, 1.12))
    turned_u, turned_v = (
        u * np.cos(heart.turn) + v * np.sin(heart.turn),
        v * np.cos(heart.turn) - u * np.sin(heart.turn),
    )
    wide, tall = 47 * size * (0.6 + 0.4 * squeeze), 38 * size * squeeze
    along = np.hypot((turned_u + outside - 12) / wide, turned_v / tall)
    right = np.maximum(_half(along, s, length, tall, long_ * 0.93), turned_u + 6)
    wall = np.maximum(_half(along * tall / (tall + 3.5), s, length, tall + 3.5, long_ * 0.95), turned_u + 6)
    return left, muscle, np.maximum(right, -muscle), wall


def _papillary(u: Array, v: Array, s: Array, heart: Heart, filled: float) -> list[Array]:
    """Two columns in the cavity, from a third to two thirds of its length."""
    radius, length, _, _ = heart.left(filled)
    found = []
    for angle in (heart.turn + 0.9, heart.turn - 1.1):
        at = radius * 0.62
        column = np.hypot(u - at * np.cos(angle), v - at * np.sin(angle)) - min(4.2, radius * 0.2)
        found.append(np.maximum(column, np.abs(s - length * 0.45) - length * 0.2))
    return found


def _paint_base(shares: Array, u: Array, v: Array, s: Array, heart: Heart, filled: float, pixel: float) -> None:
    """What lies above the base: the left atrium behind, the aortic root and the right atrium."""
    length = heart.left(filled)[1]
    above = length - s
    full = 1.15 - 0.25 * filled  # the atria fill while the ventricles empty
    for at, radii in (((14.0, 12.0), (26.0, 20.0)), ((-46.0, 6.0), (22.0, 24.0))):
        across = np.hypot((u - at[0]) / (radii[0] * full), (v - at[1]) / (radii[1] * full))
        _lay(shares, _MUSCLE, np.maximum((across - 1) * radii[1] - 2, above), pixel)
        _lay(shares, _BLOOD, np.maximum((across - 1) * radii[1], above), pixel)
    root = np.hypot(u + 10, v + 12)
    _lay(shares, _MUSCLE, np.maximum(root - 15, above), pixel)
    _lay(shares, _BLOOD, np.maximum(root - 13, above), pixel)
    _lay(shares, _BLOOD, np.maximum(np.hypot(u + 24, v + 30) - 13, above), pixel)  # the right ventricle's way out
