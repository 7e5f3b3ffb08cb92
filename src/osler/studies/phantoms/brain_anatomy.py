"""A head drawn from a few numbers: a folded cortex around white matter, ventricles, deep nuclei, skull and eyes.

Coordinates are LPS+ millimetres about the middle of the cerebrum; y grows to the back, z to the top of the head. What
fills a voxel is a share per tissue of ``TISSUE_NAMES``; the shares of a voxel add up to 1 or, where there is air, less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from osler.studies.geometry import Array
from osler.studies.phantoms.shapes import Axes, Grid, Point, capsule, ellipsoid, occupied

__all__ = [
    "CSF",
    "GREY",
    "LESION",
    "TISSUE_NAMES",
    "WHITE",
    "Head",
    "Lesion",
    "draw_head",
    "lesion_distance",
    "paint_head",
]

TISSUE_NAMES = ("csf", "grey", "white", "fat", "muscle", "bone", "lesion")
CSF, GREY, WHITE, FAT, MUSCLE, BONE, LESION = range(len(TISSUE_NAMES))
_HULL = (66.0, 84.0)  # half width and half length of the cerebrum
_TOP, _BASE = 62.0, 34.0
_CORTEX = 3.5  # mm
_SULCUS = 23.0  # mm, the deepest
_FOLDS = Grid((62, 76, 56), (2.6, 2.6, 2.6), (-80.0, -98.0, -60.0))


@dataclass(frozen=True)
class Lesion:
    """An ellipsoid in the white matter: centre (LPS+ mm), radii (mm), turn about z (radians)."""

    centre: Point
    radii: Point
    turn: float

    @property
    def volume(self) -> float:
        """mm3."""
        return float(4 / 3 * np.pi * np.prod(self.radii))

    def grown(self, factor: float) -> Lesion:
        """The same lesion with ``factor`` times the volume."""
        a, b, c = (radius * factor ** (1 / 3) for radius in self.radii)
        return replace(self, radii=(a, b, c))


@dataclass(frozen=True)
class Head:
    """All that differs from head to head: its size (1 is average), how wide ventricles and sulci are (1 is young),
    the pattern of its folds, its lesions."""

    size: float
    ventricles: float
    sulci: float
    folds: int
    lesions: tuple[Lesion, ...]


def draw_head(rng: np.random.Generator, lesions: int) -> Head:
    """A random head with so many lesions. Nothing but the lesions depends on their number."""
    age = float(rng.uniform(0, 1))
    head = Head(
        size=float(np.clip(rng.normal(1, 0.04), 0.9, 1.1)),
        ventricles=float(rng.uniform(0.85, 1.05) + 0.55 * age),
        sulci=float(rng.uniform(0.7, 1.0) + 0.7 * age),
        folds=int(rng.integers(2**31)),
        lesions=(),
    )
    return replace(head, lesions=tuple(_lesions(rng, head, lesions)))


def _lesions(rng: np.random.Generator, head: Head, count: int) -> list[Lesion]:
    """Ellipsoids that fit into white matter, mostly near the ventricles, their long axes pointing away from these."""
    grid = Grid((54, 66, 34), (2.5, 2.5, 2.5), (-66.0, -82.0, -6.0))
    shares = paint_head(grid, head)
    white = shares[WHITE] > 0.9
    from scipy.ndimage import distance_transform_edt

    room = distance_transform_edt(white, sampling=2.5)
    x, y, z = grid.axes()
    near = np.exp(-(((np.abs(x) - 24) / 10) ** 2) - ((y - 6) / 42) ** 2 - ((z - 22) / 14) ** 2) + 0.04
    found: list[Lesion] = []
    apart = 20.0
    while len(found) < count:
        short = float(rng.uniform(2.2, 4.5))
        chance = near * (room > 1.1 * short)
        if not chance.any():
            continue  # a smaller one fits
        at = np.unravel_index(rng.choice(chance.size, p=(chance / chance.sum()).ravel()), chance.shape)
        spot = [float(o + n * 2.5) * head.size for o, n in zip(grid.origin, at, strict=True)]
        radii = (short * float(rng.uniform(1.1, 1.9)), short, short * float(rng.uniform(0.9, 1.3)))
        if all(np.linalg.norm(np.subtract(spot, other.centre)) > apart for other in found):
            turn = float(np.arctan2(spot[1] * 0.4, spot[0]) + rng.normal(0, 0.3))
            found.append(Lesion((spot[0], spot[1], spot[2]), radii, turn))
        else:
            apart *= 0.98  # where there are many, they lie closer
    return found


def lesion_distance(axes: Axes, lesion: Lesion) -> Array:
    """Distance (I, J, K) to a lesion, mm."""
    return ellipsoid(axes, lesion.centre, lesion.radii, lesion.turn)


def paint_head(grid: Grid, head: Head) -> Array:
    """Shares (T, I, J, K), float32, of the tissues in ``TISSUE_NAMES``."""
    spacing = [s / head.size for s in grid.spacing]
    origin = [o / head.size for o in grid.origin]
    average = Grid(grid.shape, (spacing[0], spacing[1], spacing[2]), (origin[0], origin[1], origin[2]))
    painter = _Painter(average)
    hull = _hull(painter.axes)
    _paint_around(painter, hull)
    _paint_cerebrum(painter, hull, head)
    _paint_ventricles(painter, head)
    _paint_nuclei(painter)
    _paint_back(painter)
    life_size = _Painter(grid, painter.shares)
    for lesion in head.lesions:
        life_size.solid(LESION, lesion.centre, lesion.radii, lesion.turn)
    return painter.shares


class _Painter:
    """Lays tissues over one another; what is laid over shrinks by what it is covered with."""

    def __init__(self, grid: Grid, shares: Array | None = None) -> None:
        self.grid, self.axes = grid, grid.axes()
        self.edge = float(np.mean(grid.spacing))
        self.shares = np.zeros((len(TISSUE_NAMES), *grid.shape), np.float32) if shares is None else shares

    def lay(self, tissue: int | None, distance: Array, where: Sequence[slice] = (), share: float = 1.0) -> None:
        """A tissue (None: air) wherever ``distance`` (I, J, K) is negative, in a part of the grid."""
        part = self.shares[(slice(None), *where)]
        filled = (occupied(distance, self.edge) * share).astype(np.float32)
        part *= 1 - filled
        if tissue is not None:
            part[tissue] += filled

    def solid(self, tissue: int | None, centre: Point, radii: Point, turn: float = 0.0, share: float = 1.0) -> None:
        """An ellipsoid."""
        reach = max(radii) + 2 * self.edge
        where = self.grid.around(tuple(np.subtract(centre, reach)), tuple(np.add(centre, reach)))
        part = self.grid.part(where)
        if min(part.shape):
            self.lay(tissue, ellipsoid(part.axes(), centre, radii, turn), where, share)

    def tube(self, tissue: int | None, points: Sequence[Point], radii: Sequence[float]) -> None:
        """Round-ended tubes from point to point."""
        for n in range(len(points) - 1):
            reach = max(radii[n], radii[n + 1]) + 2 * self.edge
            low = np.minimum(points[n], points[n + 1]) - reach
            where = self.grid.around(tuple(low), tuple(np.maximum(points[n], points[n + 1]) + reach))
            part = self.grid.part(where)
            if min(part.shape):
                distance = capsule(part.axes(), points[n], points[n + 1], (radii[n], radii[n + 1]))
                self.lay(tissue, distance, where)

    def both(self, tissue: int | None, centre: Point, radii: Point, turn: float = 0.0, share: float = 1.0) -> None:
        """An ellipsoid on either side."""
        for side in (-1.0, 1.0):
            self.solid(tissue, (side * centre[0], centre[1], centre[2]), radii, side * turn, share)


def _main_hull(axes: Axes, grown: float = 0.0) -> Array:
    """The cerebrum without its temporal lobes: narrower in front, flatter below."""
    x, y, z = axes
    narrow = 1 - 0.14 * np.clip(-y / 84, 0, 1) ** 2
    radii = ((_HULL[0] + grown) * narrow, _HULL[1] + grown, np.where(z > 4, _TOP, _BASE) + grown)
    parts = [np.abs(a / r) for a, r in zip((x, y, z - 4), radii, strict=True)]
    power = 2.25
    near = np.maximum(sum(part**power for part in parts), 1e-6) ** (1 / power)
    slope = sum((part ** (power - 1) / r) ** 2 for part, r in zip(parts, radii, strict=True)) ** 0.5
    return np.asarray((near - 1) / np.maximum(slope / near ** (power - 1), 1 / 90))


def _hull(axes: Axes) -> Array:
    """Distance (I, J, K) to the outside of the cerebrum, folds left out."""
    temporal = [ellipsoid(axes, (side * 43, -4, -22), (21, 43, 20), side * -0.12) for side in (-1.0, 1.0)]
    return np.asarray(np.minimum(_main_hull(axes), np.minimum(*temporal)))


def _paint_around(painter: _Painter, hull: Array) -> None:
    """Scalp, fat, face, skull, and CSF where the brain will be."""
    axes = painter.axes
    _, y, z = axes
    back = ellipsoid(axes, (0, 46, -38), (50, 38, 27))
    inner = np.minimum(np.minimum(hull, back), _main_hull(axes, 0.5)) - 2
    inner = np.minimum(inner, ellipsoid(axes, (0, 18, -32), (20, 19, 30)))  # the clivus lies in front of it
    face = ellipsoid(axes, (0, -34, -62), (58, 62, 78))
    neck = capsule(axes, (0, 26, -50), (0, 44, -170), (56, 52))
    head = np.minimum(np.minimum(inner - 14, face), neck)
    painter.lay(MUSCLE, head)
    painter.lay(FAT, np.maximum(head + 2, -(head + 7)))
    above = np.maximum(inner - 7.5, -(z + 46 + 0.25 * y))  # no cap of bone below the base of the skull
    painter.lay(BONE, above)
    marrow = np.maximum(np.maximum(inner - 5.2, 2.4 - inner), -(z + 8))
    painter.lay(FAT, marrow, share=0.45)
    _paint_face(painter)
    painter.lay(CSF, inner)


def _paint_face(painter: _Painter) -> None:
    painter.both(FAT, (31, -62, -38), (18, 22, 17))
    painter.both(CSF, (31, -71, -38), (12, 12, 12))
    painter.both(MUSCLE, (31, -80.5, -38), (4.5, 2.2, 4.5))  # the lens
    for side in (-1.0, 1.0):
        painter.tube(WHITE, ((side * 30, -59, -38), (side * 12, -34, -33)), (2.0, 2.0))
        painter.tube(MUSCLE, ((side * 42, -66, -38), (side * 21, -42, -35)), (2.2, 1.6))
        painter.tube(MUSCLE, ((side * 19, -66, -38), (side * 14, -42, -35)), (2.2, 1.6))
    painter.both(None, (7, -64, -40), (6, 22, 13))  # ethmoid cells and nose
    painter.both(None, (28, -62, -68), (15, 17, 16))
    painter.both(None, (9, -88, -18), (10, 4.5, 8))
    painter.solid(None, (0, -32, -42), (11, 9, 9))
    painter.both(None, (54, 30, -52), (9, 14, 12), share=0.8)  # mastoid cells


def _fold_distance(painter: _Painter, head: Head) -> Array:
    """Distance (I, J, K) in mm to the sheets along which the cortex folds in: where a smooth random field on the
    surface is zero. The field continues inwards along rays, so that the sheets stand upright."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    noise = np.random.default_rng(head.folds).normal(size=_FOLDS.shape)
    field = gaussian_filter(noise, 1.6) - gaussian_filter(noise, 2.7)
    x, y, z = _FOLDS.axes()
    outwards = np.maximum((np.abs(x / 66) ** 2 + np.abs(y / 84) ** 2 + np.abs((z - 4) / 55) ** 2) ** 0.5, 0.25)
    along = [
        a * (0.3 + 0.7 / outwards) if n < 2 else 4 + (a - 4) * (0.3 + 0.7 / outwards) for n, a in enumerate((x, y, z))
    ]
    index = [(a - o) / s for a, o, s in zip(along, _FOLDS.origin, _FOLDS.spacing, strict=True)]
    upright = map_coordinates(field, np.broadcast_arrays(*index), order=1, mode="reflect")
    slope = np.sqrt(sum(g**2 for g in np.gradient(upright, *_FOLDS.spacing)))
    distance = np.abs(upright) / np.maximum(slope, 0.25 * float(slope.mean()))
    signed = distance * np.sign(upright)  # signed, so that it is smooth where it is resampled
    at = [(a - o) / s for a, o, s in zip(painter.axes, _FOLDS.origin, _FOLDS.spacing, strict=True)]
    return np.asarray(np.abs(map_coordinates(signed, np.broadcast_arrays(*at), order=1, mode="nearest")))


def _paint_cerebrum(painter: _Painter, hull: Array, head: Head) -> None:
    """Cortex wherever CSF is near, white matter elsewhere."""
    x, y, z = painter.axes
    width = 0.75 * head.sulci
    deep = _SULCUS * (0.75 + 0.25 * np.cos(y / 9 + x / 13))
    folds = np.maximum(_fold_distance(painter, head) - width, -hull - deep)
    arch = np.where((y > -46) & (y < 40), 25 - (y + 2) ** 2 / 130 + 5, np.where(y < 0, -26.0, -4.0))
    between = np.maximum(np.abs(x + 0.8 * np.sin(y / 17)) - 1.0 * head.sulci, arch - z)
    level = -6 + 0.22 * (y + 8) + 4 * np.sin(y / 11)
    side = np.maximum(np.maximum(np.abs(z - level) - 1.1 * head.sulci, 39 - np.abs(x)), np.abs(y - 4) - 27)
    bowed = np.abs(np.abs(x) - 38 + ((y - 2) / 11) ** 2 + ((z - level) / 12) ** 2)
    insula = np.maximum(np.maximum(bowed - 0.9 * head.sulci, np.abs(z - level - 3) - 11), np.abs(y - 2) - 19)
    csf = np.minimum(np.minimum(folds, between), np.minimum(side, insula))
    csf = np.minimum(csf, -hull)  # outside the hull
    brain = np.maximum(hull, -csf)
    painter.lay(GREY, brain)
    painter.lay(WHITE, np.maximum(hull, _CORTEX - csf))
    painter.lay(WHITE, np.maximum(np.maximum(np.abs(x) - 14, np.abs(z - (arch - 8.5)) - 3.5), np.abs(y + 3) - 40))


def _paint_ventricles(painter: _Painter, head: Head) -> None:
    wide = head.ventricles
    for side in (-1.0, 1.0):
        body = [(6.5, -34, 9), (8, -22, 14), (9, 0, 19), (14, 24, 17), (23, 36, 9)]
        tubes = [(side * x * wide**0.3, float(y), float(z)) for x, y, z in body]
        painter.tube(CSF, tubes, [2.2 * wide, 4.2 * wide, 4.4 * wide, 5.0 * wide, 6.0 * wide])
        painter.tube(CSF, (tubes[-1], (side * 21, 58, 5)), (5.2 * wide, 1.6 * wide))
        temporal = ((side * 29, 24, -6), (side * 34, 4, -17), (side * 32, -12, -19))
        painter.tube(CSF, (tubes[-1], *temporal), [4.0 * wide, 2.2 * wide, 1.8 * wide, 1.6 * wide])
    painter.solid(CSF, (0, 8, 2), (2.0 * wide, 15, 10))


def _paint_nuclei(painter: _Painter) -> None:
    painter.both(GREY, (11.5, 13, 7), (8.5, 15, 9), 0.3)
    painter.both(GREY, (14, -20, 10), (5, 10, 8), 0.15)
    painter.both(GREY, (27, -2, 5), (5.5, 17, 10), 0.2)
    painter.both(WHITE, (20.5, 1, 4), (4, 9, 7), 0.35, share=0.5)
    painter.both(GREY, (28, 6, -20), (5, 16, 5), 0.1)  # hippocampus
    painter.both(GREY, (27, -13, -20), (7, 7, 7))  # amygdala


def _paint_back(painter: _Painter) -> None:
    """Cisterns, brain stem, cerebellum with its leaves, fourth ventricle."""
    axes = painter.axes
    _, y, z = axes
    painter.solid(CSF, (0, -8, -25), (13, 11, 9))
    painter.solid(CSF, (0, 19, -13), (19, 17, 10))
    painter.solid(CSF, (0, 38, -4), (10, 6, 7))
    painter.tube(CSF, ((0, 15, -28), (0, 28, -80)), (18.0, 11))
    sides = [ellipsoid(axes, (side * 23, 47, -39), (25, 29, 20)) for side in (-1.0, 1.0)]
    small = np.minimum(np.minimum(*sides), ellipsoid(axes, (0, 50, -36), (13, 27, 19)))
    painter.lay(CSF, small - 2.5)
    leaves = np.hypot(y - 26, (z + 38) * 1.25) % 5.2  # they follow the surface that faces the brain stem
    painter.lay(GREY, small)
    painter.lay(CSF, np.maximum(np.maximum(small, -small - 9), np.abs(leaves - 2.6) - 0.35), share=0.6)
    core = np.minimum(*[ellipsoid(axes, (side * 20, 42, -38), (13, 15, 7)) for side in (-1.0, 1.0)])
    painter.lay(WHITE, np.maximum(np.minimum(core, np.maximum(small + 4, np.abs(leaves) - 0.9)), small + 2.2))
    painter.both(GREY, (14, 44, -37), (6, 6, 4), share=0.5)
    painter.solid(WHITE, (0, 17, -14), (15, 11, 12), share=0.8)
    painter.solid(WHITE, (0, 17, -32), (16, 13, 14), share=0.85)
    painter.tube(WHITE, ((0, 22, -42), (0, 32, -120)), (9, 6.5))
    painter.both(WHITE, (17, 30, -34), (9, 9, 7), share=0.9)  # to the cerebellum
    painter.solid(CSF, (0, 33, -36), (7, 4.5, 9))
    painter.tube(CSF, ((0, 22, -6), (0, 28, -24)), (1.0, 1.2))
