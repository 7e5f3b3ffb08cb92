"""A chest drawn from a few numbers: who the patient is (drawn once from a random generator), then what is where.

Coordinates are LPS+ millimetres about the middle of the chest, z = 0 near the carina. Values are Hounsfield units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from osler.studies.geometry import Array
from osler.studies.phantoms.shapes import Axes, Grid, Point, capsule, cylinder, ellipsoid, occupied, paint

__all__ = [
    "HEART",
    "LUNGS",
    "NODULES",
    "SPINE",
    "Nodule",
    "Patient",
    "draw_patient",
    "heart_distance",
    "lung_distance",
    "paint_chest",
    "paint_nodule",
]

LUNGS, HEART, SPINE, NODULES = 1, 2, 3, 4
_AIR, _FAT, _MUSCLE, _LIVER, _CORTEX = -1000.0, -100.0, 50.0, 60.0, 520.0
_TOP_OF_LUNGS = 84.0
_STEP = 4.0


@dataclass(frozen=True)
class Nodule:
    """A nodule: centre (LPS+ mm), diameter (mm), HU, and how bumpy it is (share of the radius)."""

    centre: Point
    diameter: float
    density: float
    bumps: float = 0.1

    @property
    def volume(self) -> float:
        """mm3; the integral of the cubed radius over all directions, where the bumps' mean square is 7/30."""
        return float(np.pi / 6 * self.diameter**3 * (1 + 0.7 * self.bumps**2))

    def grown(self, factor: float) -> Nodule:
        """The same nodule with ``factor`` times the volume."""
        return replace(self, diameter=self.diameter * factor ** (1 / 3))


@dataclass(frozen=True)
class _Tube:
    """A piece of vessel, or a scar: from ``start`` to ``end`` (LPS+ mm), radius at both ends (mm), HU."""

    start: Point
    end: Point
    radii: tuple[float, float]
    density: float


@dataclass(frozen=True)
class Patient:
    """All that differs from chest to chest. Lengths in mm, values in HU."""

    width: float
    depth: float
    fat: float
    lung: float
    dependency: float
    blood: float
    bone: float
    diaphragm: float
    heart: Point
    heart_radii: Point
    heart_turn: float
    lean: float
    rib_phase: float
    vertebra_phase: float
    tubes: tuple[_Tube, ...]
    nodules: tuple[Nodule, ...]
    texture: int

    @property
    def cage(self) -> tuple[float, float]:
        """Half width and half depth of the inside of the chest wall."""
        return self.width - self.fat - 17, self.depth - self.fat * 0.8 - 15

    @property
    def spine(self) -> tuple[float, float]:
        """x and y of the middle of the vertebral bodies."""
        return self.lean, self.cage[1] - 22


def draw_patient(rng: np.random.Generator, nodules: int) -> Patient:
    """A random patient with so many nodules. Nothing but the nodules depends on their number."""
    size = rng.normal(1, 0.06)
    contrast = rng.random() < 0.5
    patient = Patient(
        width=158 * size + rng.normal(0, 5),
        depth=114 * size + rng.normal(0, 5),
        fat=float(rng.uniform(8, 24)),
        lung=float(rng.uniform(-895, -800)),
        dependency=float(rng.uniform(20, 90)),
        blood=float(rng.uniform(110, 240) if contrast else rng.uniform(35, 55)),
        bone=float(rng.uniform(130, 260)),
        diaphragm=float(rng.uniform(-104, -88)),
        heart=(float(rng.uniform(14, 24)), float(rng.uniform(-32, -22)), float(rng.uniform(-48, -36))),
        heart_radii=(float(rng.uniform(46, 58)), float(rng.uniform(36, 44)), float(rng.uniform(37, 45))),
        heart_turn=float(rng.uniform(0.3, 0.8)),
        lean=float(rng.normal(0, 3)),
        rib_phase=float(rng.uniform(0, 26)),
        vertebra_phase=float(rng.uniform(0, 25)),
        tubes=(),
        nodules=(),
        texture=int(rng.integers(2**31)),
    )
    room = _Room(patient)
    tubes = (*_vessels(rng, room), *_scars(rng, room))
    return replace(patient, tubes=tubes, nodules=tuple(_nodules(rng, room, nodules)))


class _Room:
    """Where there is lung, looked up in a coarse grid: placing things asks thousands of times."""

    def __init__(self, patient: Patient) -> None:
        width, depth = patient.cage
        low = (-width, -depth, patient.diaphragm)
        steps = [int(2 * width / _STEP) + 2, int(2 * depth / _STEP) + 2, int((_TOP_OF_LUNGS - low[2]) / _STEP) + 2]
        self.grid = Grid((steps[0], steps[1], steps[2]), (_STEP,) * 3, low)
        self.distance = lung_distance(self.grid.axes(), patient)
        self.blood = patient.blood

    def free(self, point: Point, margin: float) -> bool:
        """Whether a point (LPS+ mm) lies in a lung and about ``margin`` mm from everything else."""
        i, j, k = (round((p - o) / _STEP) for p, o in zip(point, self.grid.origin, strict=True))
        a, b, c = self.grid.shape
        return 0 <= i < a and 0 <= j < b and 0 <= k < c and bool(self.distance[i, j, k] < -margin)

    def place(self, rng: np.random.Generator, margin: float) -> Point:
        """A random point in the lungs, ``margin`` mm from all else or as far as there is."""
        candidates = np.argwhere(self.distance < -min(margin, float(-self.distance.min()) * 0.8))
        x, y, z = (
            candidates[rng.integers(len(candidates))] * _STEP + self.grid.origin + rng.uniform(-0.5, 0.5, 3) * _STEP
        )
        return float(x), float(y), float(z)


def _vessels(rng: np.random.Generator, room: _Room) -> Iterator[_Tube]:
    """Branching trees from either hilum to near the pleura, thinner with every generation."""
    for side in (-1.0, 1.0):
        hilum = (side * 30.0 + 6, 4.0, -6.0)
        for turn in np.linspace(0, 2 * np.pi, 13)[:-1] + rng.uniform(0, 2 * np.pi):
            # All round the hilum, up and down more than forwards, and outwards.
            direction = np.array([side * rng.uniform(0.25, 1.1), 0.75 * np.cos(turn), 1.1 * np.sin(turn) - 0.1])
            yield from _branch(rng, room, hilum, direction, float(rng.uniform(3.4, 5.6)), 0)


def _branch(
    rng: np.random.Generator, room: _Room, start: Point, direction: Array, radius: float, generation: int
) -> Iterator[_Tube]:
    length = rng.uniform(14, 30) * (1.1 - 0.11 * generation)
    end = start
    for _ in range(6):  # a branch that would leave the lung turns away
        direction = direction / np.linalg.norm(direction)
        stop = np.asarray(start) + direction * length
        end = (float(stop[0]), float(stop[1]), float(stop[2]))
        if room.free(end, 3):
            break
        direction = direction + rng.normal(0, 0.5, 3)
    else:
        return
    thinner = radius * rng.uniform(0.72, 0.9)
    yield _Tube(start, end, (radius, thinner), room.blood)
    if generation >= 6 or thinner < 1.1:
        return
    for _ in range(2 if generation < 5 else 1):
        yield from _branch(rng, room, end, direction + rng.normal(0, 0.55, 3), thinner, generation + 1)


def _scars(rng: np.random.Generator, room: _Room) -> Iterator[_Tube]:
    """What looks like a nodule in one slice: short bands, and bright calcified spots of a few millimetres."""
    for _ in range(int(rng.integers(4, 9))):
        middle = np.asarray(room.place(rng, 4))
        half = rng.normal(0, 1, 3)
        half *= rng.uniform(7, 13) / np.linalg.norm(half)
        low, high = (tuple(float(v) for v in middle + sign * half) for sign in (-1, 1))
        thick = float(rng.uniform(2.5, 4.2))
        yield _Tube((low[0], low[1], low[2]), (high[0], high[1], high[2]), (thick, thick), float(rng.uniform(0, 70)))
    for _ in range(int(rng.integers(0, 4))):
        spot = room.place(rng, 3)
        yield _Tube(spot, spot, (float(rng.uniform(2, 2.8)),) * 2, float(rng.uniform(400, 800)))


def _nodules(rng: np.random.Generator, room: _Room, count: int) -> Iterator[Nodule]:
    centres: list[Point] = []
    while len(centres) < count:
        diameter = float(rng.uniform(11, 24) if not centres else rng.uniform(8, 20))
        centre = room.place(rng, diameter / 2 - 1)
        if all(np.linalg.norm(np.subtract(centre, other)) > 32 for other in centres):
            centres.append(centre)
            yield Nodule(centre, diameter, float(rng.uniform(10, 80)), float(rng.uniform(0.04, 0.14)))


def heart_distance(axes: Axes, patient: Patient, grown: float = 0.0) -> Array:
    """Distance (I, J, K) to the heart, whose apex points to the left, the front and down."""
    a, b, c = patient.heart_radii
    return ellipsoid(_leaning(axes, patient), patient.heart, (a + grown, b + grown, c + grown), patient.heart_turn)


def _leaning(axes: Axes, patient: Patient) -> Axes:
    """Axes in which the heart stands upright."""
    x, y, z = axes
    return x + 0.35 * (z - patient.heart[2]), y, z


def lung_distance(axes: Axes, patient: Patient) -> Array:
    """Distance (I, J, K) to both lungs: inside the cage, above the diaphragm, beside mediastinum, heart and spine."""
    x, y, z = axes
    width, depth = patient.cage
    narrowing = np.sqrt(np.clip(1 - np.clip((z + 10) / (_TOP_OF_LUNGS + 10), 0, 1) ** 2.6, 1e-4, 1))
    # One cage for both lungs; its section shrinks towards the apex around an axis behind the middle.
    cage = cylinder(x, y - (1 - narrowing) * 12, (width * (0.25 + 0.75 * narrowing), depth * narrowing), 2.3)
    cage = np.maximum(cage, z - _TOP_OF_LUNGS)
    side = np.where(x > 0, 1.0, -1.0)
    across = ((x - side * width * 0.5) / (width * 0.55)) ** 2 + ((y + 8) / depth) ** 2
    dome = patient.diaphragm + np.where(x > 0, 38, 48) * np.clip(1 - across, 0, 1)
    # The lungs nearly meet behind the sternum and are kept apart by vessels and airways further back.
    middle = np.abs(x - 2) - (7 + (24 + 6 * np.clip(z / 60, -0.3, 1)) * np.exp(-(((y - 2) / 42) ** 2)))
    column = cylinder(x - patient.spine[0], y - patient.spine[1] - 6, (27.0, 34.0))
    others = np.minimum(np.minimum(middle, column), heart_distance(axes, patient, 5))
    return np.asarray(np.maximum(np.maximum(cage, (dome - z) * 0.85), -others))


def paint_chest(grid: Grid, patient: Patient) -> tuple[Array, Array]:
    """The chest on a grid.

    Returns:
        HU (I, J, K), float64 and without noise, and labels (I, J, K), uint8.
    """
    axes = grid.axes()
    edge = float(np.mean(grid.spacing))
    hu = np.full(grid.shape, _AIR)
    _paint_body(hu, axes, patient, edge)
    lungs = lung_distance(axes, patient)
    _paint_lungs(hu, axes, lungs, patient, edge)
    _paint_tubes(hu, grid, patient, lungs, edge)
    heart = heart_distance(axes, patient)
    paint(hu, heart_distance(axes, patient, 5), _FAT, edge)
    paint(hu, heart, _heart_values(axes, patient), edge)
    _paint_great_vessels(hu, grid, patient, edge)
    spine = _spine(axes, patient)
    _paint_spine(hu, axes, patient, spine, edge)
    labels = np.zeros(grid.shape, np.uint8)
    labels[(lungs < 0) & (heart >= 0)] = LUNGS
    labels[heart < 0] = HEART
    labels[spine < 0] = SPINE
    for nodule in patient.nodules:
        paint_nodule(hu, labels, grid, nodule, edge)
    return hu, labels


def _paint_body(hu: Array, axes: Axes, patient: Patient, edge: float) -> None:
    x, y, z = axes
    shoulders = 1 + 0.1 * np.clip((z - 40) / 60, 0, 1)
    skin = cylinder(x, y, (patient.width * shoulders, patient.depth + 0 * z), 2.4)
    paint(hu, skin, _FAT, edge)
    fat = patient.fat * (1 + 0.35 * np.cos(2 * np.arctan2(y, x)) * np.where(y < 0, 1.0, 0.3))
    paint(hu, skin + fat, _MUSCLE, edge)
    width, depth = patient.cage
    inside = cylinder(x, y, (width + 2, depth + 2), 2.3)
    paint(hu, inside, _FAT + 25, edge)  # what the organs leave free
    paint(hu, np.maximum(inside, z - patient.diaphragm - 40), _LIVER, edge)
    bubble = ellipsoid(axes, (width * 0.5, -depth * 0.15, patient.diaphragm - 8), (26, 22, 16))
    paint(hu, bubble, _AIR + 40, edge)
    paint(hu, _ribs(axes, patient), patient.bone + 220, edge)
    sternum = ellipsoid(axes, (0, -depth - 4, 5), (17, 6, 70))
    paint(hu, sternum, patient.bone + 60, edge)
    for side in (-1.0, 1.0):  # shoulder blades: thin oblique plates behind the ribs
        blade = ellipsoid(axes, (side * width * 0.72, depth * 0.84 + 6, 45), (36, 4, 48), side * -0.5)
        paint(hu, blade, patient.bone + 150, edge)


def _ribs(axes: Axes, patient: Patient) -> Array:
    """Rings around the cage every 26 mm that sink towards the front."""
    x, y, z = axes
    width, depth = patient.cage
    narrowing = np.clip(1 - 0.5 * np.clip((z - 30) / 65, 0, 1) ** 2, 0.4, 1)
    radial = cylinder(x, y, ((width + 5) * narrowing, (depth + 5) * narrowing), 2.3)
    front = (1 - np.sin(np.arctan2(y / depth, x / width))) / 2  # 0 at the back, 1 at the front
    along = (z + 42 * front + patient.rib_phase) % 26 - 13
    ring = np.sqrt(radial**2 + along**2) - 5.2
    return np.asarray(np.maximum(ring, 18 - np.abs(x) - 0 * y))  # cartilage and sternum in front, the spine behind


def _paint_lungs(hu: Array, axes: Axes, lungs: Array, patient: Patient, edge: float) -> None:
    from scipy.ndimage import gaussian_filter

    _, y, _ = axes
    rng = np.random.default_rng(patient.texture)
    texture = gaussian_filter(rng.normal(size=hu.shape), 1.6)
    texture *= 18 / max(float(texture.std()), 1e-6)
    paint(hu, lungs, patient.lung + patient.dependency * y / patient.depth + texture, edge)


def _paint_tubes(hu: Array, grid: Grid, patient: Patient, lungs: Array, edge: float) -> None:
    in_lungs = occupied(lungs, edge)
    for tube in patient.tubes:
        reach = max(tube.radii) + edge
        low, high = np.minimum(tube.start, tube.end) - reach, np.maximum(tube.start, tube.end) + reach
        where = grid.around(tuple(low), tuple(high))
        part = grid.part(where)
        if min(part.shape) == 0:
            continue
        filled = occupied(capsule(part.axes(), tube.start, tube.end, tube.radii), edge) * in_lungs[where]
        # A tube thinner than a voxel fills it in part only.
        filled *= min(1.0, float(np.mean(tube.radii)) ** 2 * np.pi / edge**2 + 0.25)
        hu[where] += filled * (tube.density - hu[where])


def _heart_values(axes: Axes, patient: Patient) -> Array:
    """Muscle around two chambers of blood."""
    x, y, z = patient.heart
    values = np.full(np.broadcast_shapes(*(a.shape for a in axes)), 52.0)
    a, b, c = patient.heart_radii
    for shift, share in ((-0.38, 0.46), (0.32, 0.42)):
        centre = (
            x + shift * a * float(np.cos(patient.heart_turn)),
            y + shift * a * float(np.sin(patient.heart_turn)),
            z,
        )
        chamber = ellipsoid(_leaning(axes, patient), centre, (a * share, b * 0.66, c * 0.7), patient.heart_turn)
        paint(values, chamber, patient.blood, 4.0)
    return values


def _paint_great_vessels(hu: Array, grid: Grid, patient: Patient, edge: float) -> None:
    spine_x, spine_y = patient.spine
    back = (spine_x + 24, spine_y - 8)
    front = (-6.0, -28.0)
    blood, air = patient.blood, _AIR + 15
    tubes = (
        _Tube((front[0] + 6, front[1] + 4, -14), (*front, 34), (14, 14), blood),
        _Tube((*front, 34), (12, 4, 48), (14, 13), blood),
        _Tube((12, 4, 48), (*back, 34), (13, 12), blood),
        _Tube((*back, 34), (*back, -120), (12, 11), blood),
        _Tube((-26, -22, -10), (-24, -20, 100), (9, 8), blood),
        _Tube((6, -24, 6), (36, 0, 0), (12, 8), blood),
        _Tube((6, -14, 2), (-34, 2, -4), (10, 8), blood),
        _Tube((0, 10, 110), (0, 14, 14), (8.5, 8.5), air),
        _Tube((0, 14, 14), (-34, 12, -10), (6.5, 5), air),
        _Tube((0, 14, 14), (38, 14, -14), (6, 4.5), air),
        _Tube((4, 28, 110), (8, spine_y - 26, -120), (7, 7), 30.0),
    )
    axes = grid.axes()
    for tube in tubes:
        paint(hu, capsule(axes, tube.start, tube.end, tube.radii), tube.density, edge)


def _spine(axes: Axes, patient: Patient) -> Array:
    """Distance (I, J, K) to the column of vertebral bodies, discs, arches and canal."""
    x, y, _ = axes
    at_x, at_y = patient.spine
    body = cylinder(x - at_x, y - at_y, (20.0, 16.0), 2.3)
    arch = cylinder(x - at_x, y - at_y - 24, (19.0, 13.0), 2.0)
    return np.asarray(np.minimum(body, arch) + 0 * axes[2])


def _paint_spine(hu: Array, axes: Axes, patient: Patient, spine: Array, edge: float) -> None:
    x, y, z = axes
    at_x, at_y = patient.spine
    process = np.maximum(ellipsoid(axes, (at_x, at_y + 44, 0), (4.5, 13, 1e4)), -spine)
    gap = np.abs((z + patient.vertebra_phase) % 25 - 12.5)
    paint(hu, np.maximum(process, gap - 9), patient.bone + 150, edge)
    paint(hu, spine, _CORTEX, edge)
    paint(hu, spine + 3.5, patient.bone, edge)
    disc = np.maximum(cylinder(x - at_x, y - at_y, (20.0, 16.0), 2.3), 10 - gap)
    paint(hu, disc, 85.0, edge)
    paint(hu, cylinder(x - at_x, y - at_y - 22, (9.0, 7.5)) + 0 * z, 30.0, edge)


def paint_nodule(hu: Array, labels: Array, grid: Grid, nodule: Nodule, edge: float) -> None:
    """Lay a nodule over HU (I, J, K) and ``NODULES`` over labels (I, J, K), in place."""
    reach = nodule.diameter * 0.7 + edge
    low, high = np.subtract(nodule.centre, reach), np.add(nodule.centre, reach)
    where = grid.around(tuple(low), tuple(high))
    x, y, z = (a - c for a, c in zip(grid.part(where).axes(), nodule.centre, strict=True))
    distance = np.sqrt(x**2 + y**2 + z**2)
    direction = np.sin(3 * np.arctan2(y, x) + nodule.density) * np.cos(2 * np.arctan2(z, np.hypot(x, y)))
    surface = distance - nodule.diameter / 2 * (1 + nodule.bumps * direction)
    hu[where] += occupied(surface, edge) * (nodule.density - hu[where])
    labels[where][surface < 0] = NODULES
