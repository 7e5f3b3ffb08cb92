"""Signed distances of simple solids on a grid, and how they are painted with soft edges.

A distance is in millimetres, negative inside. Coordinates are three broadcastable arrays x (I, 1, 1), y (1, J, 1),
z (1, 1, K) in LPS+ millimetres: x grows to the patient's left, y to the back, z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from osler.studies.geometry import Array

__all__ = ["Axes", "Grid", "Point", "capsule", "cylinder", "ellipsoid", "occupied", "paint"]

Axes: TypeAlias = tuple[Array, Array, Array]
Point: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """A regular grid: ``shape`` (I, J, K), ``spacing`` (mm), ``origin`` the LPS+ position (mm) of voxel (0, 0, 0)."""

    shape: tuple[int, int, int]
    spacing: Point
    origin: Point

    def axes(self) -> Axes:
        """Coordinates along each axis as arrays (I, 1, 1), (1, J, 1), (1, 1, K), float64."""
        x, y, z = (o + s * np.arange(n) for o, s, n in zip(self.origin, self.spacing, self.shape, strict=True))
        return tuple(np.meshgrid(x, y, z, indexing="ij", sparse=True))

    def around(self, low: Point, high: Point) -> tuple[slice, slice, slice]:
        """The part of the grid between two corners (mm), for painting something small."""
        parts = []
        for lo, hi, o, s, n in zip(low, high, self.origin, self.spacing, self.shape, strict=True):
            parts.append(slice(max(0, int((lo - o) // s)), max(0, min(n, int((hi - o) // s) + 2))))
        return parts[0], parts[1], parts[2]

    def part(self, where: tuple[slice, slice, slice]) -> Grid:
        """The grid of that part."""
        starts = [w.start for w in where]
        shape = [max(0, w.stop - w.start) for w in where]
        origin = [o + s * n for o, s, n in zip(self.origin, self.spacing, starts, strict=True)]
        return Grid((shape[0], shape[1], shape[2]), self.spacing, (origin[0], origin[1], origin[2]))


def ellipsoid(axes: Axes, centre: Point, radii: Point, turn: float = 0.0) -> Array:
    """Distance (I, J, K) to an ellipsoid, turned by ``turn`` radians about z; exact on its surface."""
    x, y, z = (a - c for a, c in zip(axes, centre, strict=True))
    if turn:
        x, y = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    near = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
    slope = np.sqrt((x / radii[0] ** 2) ** 2 + (y / radii[1] ** 2) ** 2 + (z / radii[2] ** 2) ** 2)
    return np.asarray(near * (near - 1) / np.maximum(slope, 1e-6))


def cylinder(x: Array, y: Array, radii: tuple[float | Array, float | Array], power: float = 2.0) -> Array:
    """Distance to an upright cylinder about x = y = 0, a (super-)ellipse in section; about right near its surface."""
    near = (np.abs(x / radii[0]) ** power + np.abs(y / radii[1]) ** power) ** (1 / power)
    return np.asarray((near - 1) * np.minimum(radii[0], radii[1]))


def capsule(axes: Axes, start: Point, end: Point, radii: tuple[float, float]) -> Array:
    """Distance (I, J, K) to a tube with round ends whose radius goes from ``radii[0]`` to ``radii[1]`` (mm)."""
    along = np.subtract(end, start)
    offset = [a - s for a, s in zip(axes, start, strict=True)]
    share = sum(o * d for o, d in zip(offset, along, strict=True)) / max(float(along @ along), 1e-6)
    share = np.clip(share, 0, 1)
    apart = sum((o - share * d) ** 2 for o, d in zip(offset, along, strict=True))
    return np.asarray(np.sqrt(apart) - (radii[0] + (radii[1] - radii[0]) * share))


def occupied(distance: Array, edge: float) -> Array:
    """How much of each voxel lies inside, 0 to 1, for voxels about ``edge`` mm wide."""
    return np.asarray(np.clip(0.5 - distance / edge, 0, 1))


def paint(voxels: Array, distance: Array, value: float | Array, edge: float) -> None:
    """Lay a solid of ``value`` over ``voxels`` (in place); voxels that it fills in part get a mixture."""
    voxels += occupied(distance, edge) * (value - voxels)
