"""``MaskPair``: the true and the predicted mask of one label in one case, and the distances between their surfaces.

The surface of a mask is the set of its voxels with a face neighbour outside of it (voxels at the border of the grid
belong to it). Distances go from the centre of a surface voxel to the centre of the nearest surface voxel of the other
mask, in the unit of the spacing. They are found with a k-d tree over the surface voxels, so that memory and time follow
the surface, not the volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from osler.errors import GridMismatch, UsageError
from osler.studies.geometry import Array

__all__ = ["Distances", "MaskPair", "surface_points"]


@dataclass(frozen=True)
class Distances:
    """From each surface voxel to the other surface: ``from_truth`` (P,), ``from_prediction`` (Q,)."""

    from_truth: Array
    from_prediction: Array


class MaskPair:
    """Two masks on one grid.

    Args:
        truth: (I, J) or (I, J, K) bool.
        prediction: the same shape, bool.
        spacing: of each axis, in mm (or pixels).
        tolerance: surface distance up to which a surface counts as right, in the unit of the spacing.

    Raises:
        GridMismatch: when the shapes differ.
        UsageError: when the spacing does not fit the shape or is not positive, or the tolerance is negative.
    """

    def __init__(self, truth: Array, prediction: Array, spacing: Sequence[float], *, tolerance: float = 1.0) -> None:
        true, predicted = np.asarray(truth, bool), np.asarray(prediction, bool)
        if true.shape != predicted.shape:
            raise GridMismatch(
                f"the masks have different shapes {true.shape} and {predicted.shape}", remedy="put both onto one grid"
            )
        self.spacing = np.asarray(spacing, float)
        if self.spacing.shape != (true.ndim,) or not (np.isfinite(self.spacing) & (self.spacing > 0)).all():
            raise UsageError(
                f"spacing {tuple(spacing)} must be {true.ndim} positive numbers", remedy="give one for each axis"
            )
        if not tolerance >= 0:
            raise UsageError(f"tolerance must not be negative, not {tolerance}", remedy="give a distance such as 1.0")
        box = _bounding_box(true | predicted)
        self.truth, self.prediction = true[box], predicted[box]
        self.tolerance = tolerance

    @cached_property
    def truth_voxels(self) -> int:
        """Size of the true mask."""
        return int(np.count_nonzero(self.truth))

    @cached_property
    def prediction_voxels(self) -> int:
        """Size of the predicted mask."""
        return int(np.count_nonzero(self.prediction))

    @cached_property
    def overlap_voxels(self) -> int:
        """Size of what both masks hold."""
        return int(np.count_nonzero(self.truth & self.prediction))

    @property
    def voxel_size(self) -> float:
        """mm³ (3D) or mm² (2D) of one voxel; 1 where the unit is a voxel."""
        return float(self.spacing.prod())

    @cached_property
    def distances(self) -> Distances | None:
        """Between the surfaces; None when a mask is empty, since there is no surface to measure from."""
        from scipy.spatial import cKDTree

        if not self.truth_voxels or not self.prediction_voxels:
            return None
        true, predicted = surface_points(self.truth, self.spacing), surface_points(self.prediction, self.spacing)
        from_truth, _ = cKDTree(predicted).query(true)
        from_prediction, _ = cKDTree(true).query(predicted)
        return Distances(from_truth, from_prediction)


def surface_points(mask: Array, spacing: Array) -> Array:
    """Centres of the surface voxels.

    Args:
        mask: (I, J) or (I, J, K) bool.
        spacing: of each axis.

    Returns:
        (P, 2) or (P, 3), in the unit of the spacing.
    """
    box = _bounding_box(mask)
    cropped = mask[box]
    padded = np.pad(cropped, 1)
    inside = cropped.copy()
    core = (slice(1, -1),) * mask.ndim
    for axis in range(mask.ndim):
        for step in (slice(None, -2), slice(2, None)):
            inside &= padded[(*core[:axis], step, *core[axis + 1 :])]
    offset = np.array([s.start for s in box])
    return np.asarray((np.argwhere(cropped & ~inside) + offset) * spacing)


def _bounding_box(mask: Array) -> tuple[slice, ...]:
    """The smallest box that holds the mask; one voxel at the origin when it is empty."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        found = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 1))
    return tuple(box)
