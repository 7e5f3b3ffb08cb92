"""``Trace``: what is done to a study's grid on the way to the network, decided from the grid alone (and the crop)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from osler.datasets.plan import GridPlan
from osler.errors import PlanError
from osler.studies.geometry import Array, orientation_transform, spacing_of
from osler.studies.resample import Order
from osler.studies.tilt import Upright, upright_of
from osler.studies.volume import ImageLike

__all__ = ["Interpolation", "Trace", "trace_of"]

_ANISOTROPIC = 3.0
"""From this ratio of the longest to the shortest side of a voxel, ``separate`` interpolates within slices only."""
_SAME_SPACING = 1e-5
"""Relative: headers hold float32."""


@dataclass(frozen=True)
class Interpolation:
    """How voxels are resampled: an order per axis ``there`` (images) and ``back`` (answers).

    Args:
        there: 0 nearest, 1 linear, 3 cubic, per axis of the oriented grid.
        back: the same on the way back.
        antialias: average along axes that lose many voxels.
        of: what is interpolated on the way back.
    """

    there: tuple[Order, ...]
    back: tuple[Order, ...]
    antialias: bool = True
    of: Literal["probabilities", "logits"] = "probabilities"


@dataclass(frozen=True)
class Trace:
    """What was done to a study's grid. Shapes are spatial, (I, J) or (I, J, K).

    Args:
        source_shape: as it came.
        source_affine: (4, 4), index to RAS+ mm, of the grid it came on.
        spacing_known: whether the affine is in millimetres.
        order: oriented axis n is source axis ``order[n]``.
        flips: oriented axis n runs against its source axis.
        oriented_shape: after reorientation.
        working_shape: after resampling.
        pad_low: voxels added before each axis.
        padded_shape: the shape of the prepared array; equal to ``working_shape`` unless the plan's grid is ``fit``.
        interpolation: how it is resampled.
        upright: the right-angled grid that a tilted stack was sheared onto before anything else; None for all others.
        cropped: the part of the oriented grid that was kept, per axis; None for all of it.
    """

    source_shape: tuple[int, ...]
    source_affine: Array = field(repr=False)
    spacing_known: bool
    order: tuple[int, ...]
    flips: tuple[bool, ...]
    oriented_shape: tuple[int, ...]
    working_shape: tuple[int, ...]
    pad_low: tuple[int, ...]
    padded_shape: tuple[int, ...]
    interpolation: Interpolation
    upright: Upright | None = None
    cropped: tuple[slice, ...] | None = None

    @property
    def kept_shape(self) -> tuple[int, ...]:
        """Of the oriented grid after cropping: what is resampled to ``working_shape``."""
        if self.cropped is None:
            return self.oriented_shape
        return tuple(part.stop - part.start for part in self.cropped)

    @property
    def source_part(self) -> tuple[slice, ...]:
        """The part of the source grid that was kept, channels first; not of a tilted stack."""
        part = [slice(None)] * (1 + len(self.order))
        for axis, flip, size, kept in zip(
            self.order, self.flips, self.oriented_shape, self.cropped or (slice(None),) * len(self.order), strict=True
        ):
            if self.cropped is not None:
                part[axis + 1] = slice(size - kept.stop, size - kept.start) if flip else kept
        return tuple(part)

    @property
    def resampled(self) -> bool:
        """Whether the working grid has other voxels than the source."""
        return self.working_shape != self.kept_shape

    @property
    def inside(self) -> tuple[slice, ...]:
        """The part of the prepared array that is the study and not padding."""
        return tuple(slice(low, low + n) for low, n in zip(self.pad_low, self.working_shape, strict=True))


def trace_of(image: ImageLike, grid: GridPlan, *, cropped: tuple[slice, ...] | None = None) -> Trace:
    """Decide the working grid of a study from its image's grid.

    Args:
        image: gives the grid; its voxels are not read.
        grid: of the plan.
        cropped: the part of the oriented grid to keep, with start and stop; None keeps all.

    Raises:
        PlanError: when the grid plan does not fit the image's dimensions.
    """
    wanted = grid.spacing if grid.resize == "spacing" else grid.shape
    if wanted is None or len(wanted) != image.dimensions:
        raise PlanError(f"the grid plan {grid.resize!r} has no size per axis of a {image.dimensions}D image")
    upright = upright_of(image.shape, image.affine) if image.spacing_known else None
    shape, affine = (image.shape, image.affine) if upright is None else (upright.shape, upright.affine)
    order, flips = _orientation(affine, image.dimensions, grid)
    oriented = tuple(shape[a] for a in order)
    kept = oriented if cropped is None else tuple(part.stop - part.start for part in cropped)
    spacing = tuple(spacing_of(affine)[a] for a in order)
    working = padded = _working_shape(kept, spacing, grid)
    if grid.resize == "fit" and grid.shape is not None:
        padded = grid.shape
    return Trace(
        source_shape=image.shape,
        source_affine=image.affine,
        spacing_known=image.spacing_known,
        order=order,
        flips=flips,
        oriented_shape=oriented,
        working_shape=working,
        pad_low=tuple((full - n) // 2 for full, n in zip(padded, working, strict=True)),
        padded_shape=tuple(padded),
        interpolation=_interpolation(spacing, grid),
        upright=upright,
        cropped=cropped,
    )


def _orientation(affine: Array, dimensions: int, grid: GridPlan) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    if grid.orientation is None or dimensions == 2:
        return tuple(range(dimensions)), (False,) * dimensions
    return orientation_transform(affine, grid.orientation)


def _working_shape(shape: tuple[int, ...], spacing: tuple[float, ...], grid: GridPlan) -> tuple[int, ...]:
    if grid.resize == "spacing" and grid.spacing is not None:
        target = _target_spacing(spacing, grid)
        return tuple(max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, target, strict=True))
    if grid.shape is None:
        raise PlanError(f"the grid plan {grid.resize!r} has no shape")
    if grid.resize == "stretch":
        return grid.shape
    extent = [n * s for n, s in zip(shape, spacing, strict=True)]
    scale = min(full / e for full, e in zip(grid.shape, extent, strict=True))
    return tuple(min(full, max(1, round(e * scale))) for full, e in zip(grid.shape, extent, strict=True))


def _target_spacing(spacing: tuple[float, ...], grid: GridPlan) -> tuple[float, ...]:
    """The working grid's, with the study's own along the axes that keep it."""
    return tuple(spacing[n] if n in grid.kept_axes else target for n, target in enumerate(grid.spacing or spacing))


def _interpolation(spacing: tuple[float, ...], grid: GridPlan) -> Interpolation:
    there: list[Order] = [grid.order] * len(spacing)
    back: list[Order] = [1] * len(spacing)
    if grid.resampling == "separate":
        target = _target_spacing(spacing, grid)
        for orders, axis in ((there, _slice_axis(spacing, target)), (back, _slice_axis(target, spacing))):
            if axis is not None:
                orders[axis] = 0
    return Interpolation(tuple(there), tuple(back), grid.resampling == "antialiased", grid.back)


def _slice_axis(before: tuple[float, ...], after: tuple[float, ...]) -> int | None:
    """The axis from slice to slice: the longest side of the voxels of the grid before, if they are anisotropic, or else
    of those after. None when neither is, or when two sides are the longest (rods, not slices)."""
    for spacing in (before, after):
        if max(spacing) / min(spacing) > _ANISOTROPIC:
            longest = np.flatnonzero(np.asarray(spacing) >= max(spacing) * (1 - _SAME_SPACING))
            return int(longest[0]) if len(longest) == 1 else None
    return None
