"""From a study's images to the array that a network sees, and back. Training and inference both use exactly this.

    colours ─▶ limits ─▶ upright (gantry tilt) ─▶ orientation ─▶ clip ─▶ resample ─▶ subtract mean, divide by std ─▶ pad

A ``Trace`` remembers what was done to the grid, so that a network's answer goes back onto the source grid exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from osler.datasets.intensities import check_not_blank, limits_of, to_colours
from osler.datasets.labels import LabelSet
from osler.datasets.modality import check_modality
from osler.datasets.plan import GridPlan, NormalisationPlan, Plan
from osler.errors import GridMismatch, PlanError, Unsuitable
from osler.studies.geometry import Array, flip_and_permute, orientation_transform, spacing_of
from osler.studies.image import Image
from osler.studies.resample import resample
from osler.studies.tilt import Upright, made_tilted, made_upright, upright_of

__all__ = [
    "Prepared",
    "Trace",
    "check_images",
    "grid_difference",
    "prepare",
    "prepare_mask",
    "restore",
    "restore_labels",
    "trace_of",
]

_SAME_GRID = 0.5
"""Grids whose corners lie within half a voxel are one grid: headers round, and tools differ in where a voxel begins."""


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
        upright: the right-angled grid that a tilted stack was sheared onto before anything else; None for all others.
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
    upright: Upright | None = None

    @property
    def resampled(self) -> bool:
        """Whether the working grid has other voxels than the source."""
        return self.working_shape != self.oriented_shape

    @property
    def inside(self) -> tuple[slice, ...]:
        """The part of the prepared array that is the study and not padding."""
        return tuple(slice(low, low + n) for low, n in zip(self.pad_low, self.working_shape, strict=True))


@dataclass(frozen=True)
class Prepared:
    """The network's input: ``array`` (C, *trace.padded_shape) float32, C being ``plan.inputs``."""

    array: Array
    trace: Trace


def prepare(images: Sequence[Image], plan: Plan) -> Prepared:
    """Make the network's input.

    Args:
        images: one per name of ``plan.channels``, in that order, all on one grid.
        plan: reads ``channels``, ``colours``, ``dimensions``, ``modality``, ``grid`` and ``normalisation``.

    Raises:
        Unsuitable: when the images do not fit the plan or each other, hold values that are not finite, or are blank.
        PlanError: when the plan does not say how to normalise each channel.
    """
    check_images(images, plan)
    trace = trace_of(images[0], plan.grid)
    array = np.empty((plan.inputs, *trace.padded_shape), np.float32)
    for n, (name, image, normalisation) in enumerate(zip(plan.channels, images, plan.normalisation, strict=True)):
        channel = _prepare_channel(image, normalisation, plan, trace, name)
        array[n * plan.colours : (n + 1) * plan.colours] = channel
    return Prepared(array, trace)


def prepare_mask(mask: Image, trace: Trace, plan: Plan) -> Array:
    """Bring a mask onto the working grid, as class indices.

    A resampled voxel gets the class that holds the largest share of it; ties go to the lower index.

    Args:
        mask: (1, I, J[, K]) with the values of the files, on the study's source grid.
        trace: of the prepared study.
        plan: reads ``labels`` and nothing else.

    Returns:
        ``trace.padded_shape`` uint8: 0 background, n the n-th label of ``plan.labels`` (1-based).

    Raises:
        GridMismatch: when the mask does not lie on the study's grid.
        Unsuitable: when the mask is not one channel of the label set's values.
    """
    difference = _difference(trace.source_shape, trace.source_affine, trace.spacing_known, mask)
    if difference:
        raise GridMismatch(f"the mask does not lie on the image's grid: {difference}", remedy="resample it first")
    indices = _class_indices(mask.array, plan.labels)
    if trace.upright is not None:
        indices = made_upright(indices, trace.upright, labels=True)
    oriented = _orient(indices, trace)
    if trace.resampled:
        oriented = _resample_classes(oriented, trace.working_shape)
    padded = np.zeros(trace.padded_shape, np.uint8)
    padded[trace.inside] = oriented[0]
    return padded


def restore(probabilities: Array, trace: Trace) -> Array:
    """Bring channels of a network's answer back onto the source grid.

    Args:
        probabilities: (C, *trace.padded_shape), any real dtype.
        trace: of the prepared study.

    Returns:
        (C, *trace.source_shape) float32.
    """
    inner = probabilities[(slice(None), *trace.inside)]
    inner = resample(inner, trace.oriented_shape) if trace.resampled else np.asarray(inner, np.float32)
    back = _orient_back(inner, trace)
    return np.ascontiguousarray(back if trace.upright is None else made_tilted(back, trace.upright))


def restore_labels(probabilities: Array, trace: Trace, labels: LabelSet) -> Array:
    """The most probable class of each voxel of the source grid, as the data set writes it.

    Only one class at a time is held on the source grid; ties go to the lower class index.

    Args:
        probabilities: (1 + labels, *trace.padded_shape); channel 0 is background.
        trace: of the prepared study.
        labels: of kind ``mask``, in the order of the channels.

    Returns:
        ``trace.source_shape``, the smallest integer type that holds the values.

    Raises:
        PlanError: when there is not one channel for the background and each label.
    """
    values = np.array([0, *labels.values])
    if len(values) != len(probabilities):
        raise PlanError(f"{len(probabilities)} channels do not fit background and {len(labels.values)} labels")
    inner = probabilities[(slice(None), *trace.inside)]
    winner = _largest_channel(inner, trace.oriented_shape) if trace.resampled else np.argmax(inner, axis=0)
    smallest = np.result_type(np.min_scalar_type(values.min()), np.min_scalar_type(values.max()))
    back = _orient_back(values.astype(smallest)[winner][None], trace)
    return np.ascontiguousarray((back if trace.upright is None else made_tilted(back, trace.upright, labels=True))[0])


def trace_of(image: Image, grid: GridPlan) -> Trace:
    """Decide the working grid of a study from its image's grid.

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
    spacing = tuple(spacing_of(affine)[a] for a in order)
    working = padded = _working_shape(oriented, spacing, grid)
    if grid.resize == "fit" and grid.shape is not None:
        padded = grid.shape
    pad_low = tuple((full - n) // 2 for full, n in zip(padded, working, strict=True))
    known = image.spacing_known
    return Trace(image.shape, image.affine, known, order, flips, oriented, working, pad_low, tuple(padded), upright)


def grid_difference(one: Image, other: Image) -> str:
    """How the grids of two images differ, in words; "" when they are one grid.

    Affines are compared only where both are in millimetres.
    """
    return _difference(one.shape, one.affine, one.spacing_known, other)


def check_images(images: Sequence[Image], plan: Plan) -> None:
    """Whether images are what the plan needs, all on one grid.

    Raises:
        Unsuitable: when they are not.
        PlanError: when the plan does not say how to normalise each channel.
    """
    if len(images) != len(plan.channels):
        raise Unsuitable(
            f"the study has {len(images)} images where {len(plan.channels)} are needed",
            remedy=f"give one image for each of {', '.join(plan.channels)}",
        )
    if len(plan.normalisation) != len(plan.channels):
        raise PlanError(f"{len(plan.normalisation)} normalisations do not fit {len(plan.channels)} channels")
    for name, image in zip(plan.channels, images, strict=True):
        _check_image(image, plan, name)
        difference = grid_difference(images[0], image)
        if difference:
            raise Unsuitable(
                f"channel {name} does not lie on the grid of {plan.channels[0]}: {difference}",
                remedy="resample the channels onto one grid first",
            )


def _check_image(image: Image, plan: Plan, name: str) -> None:
    if image.dimensions != plan.dimensions:
        raise Unsuitable(
            f"channel {name} is {image.dimensions}D with shape {image.shape}, the plan is for {plan.dimensions}D",
            remedy=f"give {plan.dimensions}D images",
        )
    check_modality(image, plan, name)
    known = plan.grid.spacing_known
    if plan.grid.resize == "spacing" and known is not None and known != image.spacing_known:
        has, needs = ("pixels", "millimetres") if known else ("millimetres", "pixels")
        raise Unsuitable(
            f"the spacing of channel {name} is in {has}, the plan's in {needs}",
            remedy="give studies with the same kind of header as those of training",
        )


def _difference(shape: tuple[int, ...], affine: Array, spacing_known: bool, other: Image) -> str:
    if shape != other.shape:
        return f"shape {other.shape} instead of {shape}"
    if not (spacing_known and other.spacing_known):
        return ""
    ends = np.array([[0, n - 1] for n in (*shape, 1)[:3]], float)
    corners = np.stack([*np.meshgrid(*ends), np.ones((2, 2, 2))]).reshape(4, -1)
    apart = float(np.linalg.norm(((affine - other.affine) @ corners)[:3], axis=0).max())
    if apart <= _SAME_GRID * min(spacing_of(affine)[: len(shape)]):
        return ""
    return f"its corners lie up to {apart:.3g} mm apart"


def _prepare_channel(image: Image, plan: NormalisationPlan, whole: Plan, trace: Trace, name: str) -> Array:
    """(colours or 1, *trace.padded_shape) float32."""
    limits = limits_of(image.array, plan, whole.colours, name)
    source = to_colours(image.array, whole.colours)
    if trace.upright is not None:
        source = made_upright(source, trace.upright)
    array: Array = np.clip(_orient(source, trace), limits.low, limits.high, dtype=np.float32, casting="unsafe")
    if array.size > 1:
        check_not_blank(name, limits, float(array.min()), float(array.max()))
    if trace.resampled:
        array = resample(array, trace.working_shape, order=whole.grid.order)
        if whole.grid.order == 3:  # a cubic overshoots at edges
            np.clip(array, limits.low, limits.high, out=array)
    np.subtract(array, np.float32(limits.mean), out=array)
    np.divide(array, np.float32(limits.std), out=array)
    if trace.padded_shape == trace.working_shape:
        return array
    padded = np.full((len(array), *trace.padded_shape), array.min(), np.float32)
    padded[(slice(None), *trace.inside)] = array
    return padded


def _orientation(affine: Array, dimensions: int, grid: GridPlan) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    if grid.orientation is None or dimensions == 2:
        return tuple(range(dimensions)), (False,) * dimensions
    return orientation_transform(affine, grid.orientation)


def _working_shape(shape: tuple[int, ...], spacing: tuple[float, ...], grid: GridPlan) -> tuple[int, ...]:
    if grid.resize == "spacing" and grid.spacing is not None:
        return tuple(max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, grid.spacing, strict=True))
    if grid.shape is None:
        raise PlanError(f"the grid plan {grid.resize!r} has no shape")
    if grid.resize == "stretch":
        return grid.shape
    extent = [n * s for n, s in zip(shape, spacing, strict=True)]
    scale = min(full / e for full, e in zip(grid.shape, extent, strict=True))
    return tuple(min(full, max(1, round(e * scale))) for full, e in zip(grid.shape, extent, strict=True))


def _orient(array: Array, trace: Trace) -> Array:
    """(C, *source_shape) to (C, *oriented_shape), a view."""
    if len(trace.order) == 2:
        return array
    order, flips = trace.order, trace.flips
    return flip_and_permute(array, np.eye(4), (order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))[0]


def _orient_back(array: Array, trace: Trace) -> Array:
    """(C, *oriented_shape) to (C, *source_shape), a view."""
    unflipped = array[(slice(None), *(slice(None, None, -1) if f else slice(None) for f in trace.flips))]
    return np.transpose(unflipped, (0, *(1 + int(a) for a in np.argsort(trace.order))))


def _class_indices(array: Array, labels: LabelSet) -> Array:
    """(1, *spatial) of file values to (1, *spatial) uint8 of class indices."""
    if array.shape[0] != 1 or len(labels.values) > 255:
        raise Unsuitable(
            f"a mask has one channel and at most 255 labels, not {array.shape[0]} and {len(labels.values)}",
            remedy="save it as a grey image of label values",
        )
    values, inverse = _unique(array)
    known = {0: 0} | {value: n for n, value in enumerate(labels.values, start=1)}
    foreign = [f"{v:g}" for v in values.tolist() if v not in known]
    if foreign:
        shown = ", ".join(foreign[:10]) + (" ..." if len(foreign) > 10 else "")
        raise Unsuitable(
            f"the mask holds values that are no label: {shown}",
            remedy=f"the labels are {', '.join(f'{label.value} {label.name}' for label in labels.labels)}",
        )
    table = np.array([known[int(v)] for v in values.tolist()], np.uint8)
    return table[inverse].reshape(array.shape)


def _unique(array: Array) -> tuple[Array, Array]:
    """The values that occur, and for each voxel the number of its value in that list."""
    whole = array.astype(np.int64) if array.dtype.kind == "f" and np.isfinite(array).all() else array
    if whole.dtype.kind == "f" or not np.array_equal(whole, array):
        values, inverse = np.unique(array, return_inverse=True)
        return values, inverse.reshape(array.shape)
    lowest, highest = int(whole.min()), int(whole.max())
    if highest - lowest >= 1 << 16:
        values, inverse = np.unique(whole, return_inverse=True)
        return values, inverse.reshape(array.shape)
    offset = whole.astype(np.int64) - lowest  # counting is faster than sorting
    present = np.flatnonzero(np.bincount(offset.reshape(-1)))
    rank = np.zeros(highest - lowest + 1, np.uint16)
    rank[present] = np.arange(len(present))
    return present + lowest, rank[offset]


def _resample_classes(indices: Array, shape: tuple[int, ...]) -> Array:
    """(1, *before) uint8 to (1, *shape) uint8: the class with the largest interpolated share of each voxel."""
    present = np.flatnonzero(np.bincount(indices.reshape(-1), minlength=1))
    if len(present) == 1:
        return np.full((1, *shape), present[0], np.uint8)
    share = np.full((1, *shape), -1, np.float32)
    winner = np.zeros((1, *shape), np.uint8)
    for index in present:
        here = resample(indices == index, shape)
        np.copyto(winner, np.uint8(index), where=here > share)
        np.maximum(share, here, out=share)
    return winner


def _largest_channel(array: Array, shape: tuple[int, ...]) -> Array:
    """(C, *before) to the index (*shape) of the largest channel after resampling, one channel at a time."""
    largest = resample(array[:1], shape)
    winner = np.zeros(shape, np.intp if len(array) > 256 else np.uint8)
    for index in range(1, len(array)):
        here = resample(array[index : index + 1], shape)
        np.copyto(winner, winner.dtype.type(index), where=(here > largest)[0])
        np.maximum(largest, here, out=largest)
    return winner
