"""From a study's images to the array that a network sees, and back. Training and inference both use exactly this.

    colours ─▶ upright (gantry tilt) ─▶ orientation ─▶ crop ─▶ clip ─▶ resample ─▶ subtract mean, divide by std ─▶ pad

A ``Trace`` remembers what was done to the grid, so that a network's answer goes back onto the source grid exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.cropping import box_of, filled
from osler.datasets.intensities import check_not_blank, limits_of, to_colours
from osler.datasets.labels import LabelSet
from osler.datasets.modality import check_modality
from osler.datasets.overshoot import overshoot_bounds
from osler.datasets.plan import NormalisationPlan, Plan
from osler.datasets.reordered import covers_the_same
from osler.datasets.restoration import restore, restore_labels
from osler.datasets.trace import Trace, trace_of
from osler.errors import GridMismatch, PlanError, Unsuitable
from osler.studies.geometry import Array, flip_and_permute, spacing_of
from osler.studies.image import Image
from osler.studies.resample import resample
from osler.studies.tilt import made_upright
from osler.studies.volume import ImageLike

__all__ = [
    "Prepared",
    "Trace",
    "check_images",
    "cropped_trace",
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
    trace = cropped_trace(images, plan)
    foreground = None
    if any(one.over == "nonzero" for one in plan.normalisation):
        foreground = filled([_laid(image.array, trace) for image in images])  # (*trace.kept_shape)
    array = np.empty((plan.inputs, *trace.padded_shape), np.float32)
    for n, (name, image, normalisation) in enumerate(zip(plan.channels, images, plan.normalisation, strict=True)):
        here = foreground if normalisation.over == "nonzero" else None
        channel = _prepare_channel(image, normalisation, plan, trace, name, here)
        array[n * plan.colours : (n + 1) * plan.colours] = channel
    return Prepared(array, trace)


def cropped_trace(images: Sequence[Image], plan: Plan) -> Trace:
    """``trace_of`` of a study, with the crop that the plan asks for.

    Raises:
        Unsuitable: when nothing is left after cropping.
        PlanError: when the grid plan does not fit the images' dimensions.
    """
    trace = trace_of(images[0], plan.grid)
    if plan.grid.crop == "none":
        return trace
    return trace_of(images[0], plan.grid, cropped=box_of([_laid(image.array, trace) for image in images]))


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
    if trace.cropped is not None:
        oriented = oriented[(slice(None), *trace.cropped)]
    if trace.resampled:
        oriented = _resample_classes(oriented, trace.working_shape)
    padded = np.zeros(trace.padded_shape, np.uint8)
    padded[trace.inside] = oriented[0]
    return padded


def grid_difference(one: ImageLike, other: ImageLike) -> str:
    """How the grids of two images differ, in words; "" when they are one grid.

    Affines are compared only where both are in millimetres.
    """
    difference = _difference(one.shape, one.affine, one.spacing_known, other)
    stored = covers_the_same(other, one) if difference else ""
    return f"{difference}; {stored}" if stored else difference


def check_images(images: Sequence[ImageLike], plan: Plan) -> None:
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


def _check_image(image: ImageLike, plan: Plan, name: str) -> None:
    if image.dimensions != plan.dimensions:
        raise Unsuitable(
            f"channel {name} is {image.dimensions}D with shape {image.shape}, the plan is for {plan.dimensions}D",
            remedy=f"give {plan.dimensions}D images",
        )
    if image.volumes:
        raise Unsuitable(
            f"channel {name} is a file of {image.volumes}, and a study has one",
            remedy="name the one that is meant, as perfusion.nii.gz#index=0 in a manifest, or save it as a file",
        )
    check_modality(image, plan, name)
    known = plan.grid.spacing_known
    if plan.grid.resize == "spacing" and known is not None and known != image.spacing_known:
        has, needs = ("pixels", "millimetres") if known else ("millimetres", "pixels")
        raise Unsuitable(
            f"the spacing of channel {name} is in {has}, the plan's in {needs}",
            remedy="give studies with the same kind of header as those of training",
        )


def _difference(shape: tuple[int, ...], affine: Array, spacing_known: bool, other: ImageLike) -> str:
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


def _prepare_channel(
    image: Image, plan: NormalisationPlan, whole: Plan, trace: Trace, name: str, foreground: Array | None
) -> Array:
    """(colours or 1, *trace.padded_shape) float32; ``foreground`` (*trace.kept_shape) are the voxels that count."""
    laid = _laid(to_colours(image.array, whole.colours), trace)
    counted = laid if foreground is not None or trace.upright is not None else image.array[trace.source_part]
    if trace.upright is not None and trace.cropped is None:
        counted = image.array  # shearing upright adds voxels
    limits = limits_of(counted, plan, whole.colours, name, foreground=foreground)
    array: Array = np.clip(laid, limits.low, limits.high, dtype=np.float32, casting="unsafe")
    if foreground is not None:
        array = np.where(foreground, array, np.float32(limits.mean))
    if array.size > 1:
        check_not_blank(name, limits, float(array.min()), float(array.max()))
    if trace.resampled:
        low, high = overshoot_bounds(array, trace, limits)
        ways = trace.interpolation
        array = resample(array, trace.working_shape, order=ways.there, antialias=ways.antialias)
        if 3 in ways.there:
            np.clip(array, low, high, out=array)
    np.subtract(array, np.float32(limits.mean), out=array)
    np.divide(array, np.float32(limits.std), out=array)
    if trace.padded_shape == trace.working_shape:
        return array
    padded = np.full((len(array), *trace.padded_shape), array.min(), np.float32)
    padded[(slice(None), *trace.inside)] = array
    return padded


def _laid(array: Array, trace: Trace) -> Array:
    """(C, *source_shape) to (C, *kept_shape): upright, oriented, cropped; a view where it can be."""
    upright = array if trace.upright is None else made_upright(array, trace.upright)
    oriented = _orient(upright, trace)
    return oriented if trace.cropped is None else oriented[(slice(None), *trace.cropped)]


def _orient(array: Array, trace: Trace) -> Array:
    """(C, *source_shape) to (C, *oriented_shape), a view."""
    if len(trace.order) == 2:
        return array
    order, flips = trace.order, trace.flips
    return flip_and_permute(array, np.eye(4), (order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))[0]


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
