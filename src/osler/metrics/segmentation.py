"""Figures of masks, for one label of one case: overlap, distances between surfaces, and size.

Decisions where a mask is empty:

| truth | prediction | Dice, IoU | surface Dice | distances | size error | relative size error |
| --- | --- | --- | --- | --- | --- | --- |
| empty | empty ("absent") | undefined | undefined | undefined | 0 | undefined |
| some | empty ("missed") | 0 | 0 | undefined (infinite) | minus the true size | −100 % |
| empty | some ("invented") | 0 | 0 | undefined (infinite) | the predicted size | undefined |

Undefined figures are NaN: left out of means and counted. A mean distance is therefore over the cases in which both
masks hold something, and has to be read beside the number of missed and invented ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.metrics.base import MaskMetric
from osler.metrics.masks import MaskPair
from osler.studies.geometry import Array

__all__ = [
    "ASD",
    "DICE",
    "HD95",
    "IOU",
    "NSD",
    "SIZE_DIFFERENCE_PERCENT",
    "SIZE_ERROR",
    "SIZE_ERROR_PERCENT",
    "average_surface_distance",
    "dice",
    "hausdorff_95",
    "iou",
    "surface_dice",
]


def dice(truth: Array, prediction: Array) -> float:
    """2 · overlap / (size + size), 0 to 1; NaN when both are empty.

    Args:
        truth: (I, J) or (I, J, K) bool.
        prediction: the same shape.

    Raises:
        GridMismatch: when the shapes differ.
    """
    return _dice(_plain(truth, prediction))


def iou(truth: Array, prediction: Array) -> float:
    """Overlap / union (Jaccard index), 0 to 1; NaN when both are empty.

    Raises:
        GridMismatch: when the shapes differ.
    """
    return _iou(_plain(truth, prediction))


def hausdorff_95(truth: Array, prediction: Array, spacing: Sequence[float]) -> float:
    """The larger of the two 95th percentiles of surface distances (truth to prediction, and back).

    Args:
        truth: (I, J) or (I, J, K) bool.
        prediction: the same shape.
        spacing: of each axis, in mm.

    Returns:
        mm; NaN when a mask is empty.

    Raises:
        GridMismatch: when the shapes differ.
    """
    return _hausdorff_95(MaskPair(truth, prediction, spacing))


def average_surface_distance(truth: Array, prediction: Array, spacing: Sequence[float]) -> float:
    """Mean of all surface distances of both directions together (symmetric), in mm; NaN when a mask is empty.

    Raises:
        GridMismatch: when the shapes differ.
    """
    return _average_surface_distance(MaskPair(truth, prediction, spacing))


def surface_dice(truth: Array, prediction: Array, spacing: Sequence[float], *, tolerance: float = 1.0) -> float:
    """Share of both surfaces' voxels that lie within ``tolerance`` mm of the other surface; NaN when both are empty.

    Raises:
        GridMismatch: when the shapes differ.
    """
    return _surface_dice(MaskPair(truth, prediction, spacing, tolerance=tolerance))


def _plain(truth: Array, prediction: Array) -> MaskPair:
    return MaskPair(truth, prediction, (1.0,) * np.ndim(truth))


def _dice(pair: MaskPair) -> float:
    size = pair.truth_voxels + pair.prediction_voxels
    return 2 * pair.overlap_voxels / size if size else float("nan")


def _iou(pair: MaskPair) -> float:
    union = pair.truth_voxels + pair.prediction_voxels - pair.overlap_voxels
    return pair.overlap_voxels / union if union else float("nan")


def _hausdorff_95(pair: MaskPair) -> float:
    found = pair.distances
    if found is None:
        return float("nan")
    return float(max(np.percentile(found.from_truth, 95), np.percentile(found.from_prediction, 95)))


def _average_surface_distance(pair: MaskPair) -> float:
    found = pair.distances
    if found is None:
        return float("nan")
    return float(np.concatenate([found.from_truth, found.from_prediction]).mean())


def _surface_dice(pair: MaskPair) -> float:
    found = pair.distances
    if found is None:
        return 0.0 if pair.truth_voxels or pair.prediction_voxels else float("nan")
    # A distance that equals the tolerance counts as within it, whatever the rounding of the spacing.
    near = np.concatenate([found.from_truth, found.from_prediction]) <= pair.tolerance * (1 + 1e-9)
    return float(near.mean())


def _size_error(pair: MaskPair) -> float:
    return (pair.prediction_voxels - pair.truth_voxels) * pair.voxel_size


def _size_error_percent(pair: MaskPair) -> float:
    if not pair.truth_voxels:
        return float("nan")
    return 100.0 * (pair.prediction_voxels - pair.truth_voxels) / pair.truth_voxels


def _size_difference_percent(pair: MaskPair) -> float:
    return abs(_size_error_percent(pair))


DICE = MaskMetric(
    name="dice",
    title="Dice",
    definition=(
        "Overlap of the model's mask with the true one: twice the common volume over the sum of both volumes. 0 "
        "is no overlap, 1 is identity; small structures score lower for the same error at the surface. 0 where "
        "one of the two is empty; cases where both are empty do not count."
    ),
    kinds=("mask",),
    better="higher",
    best=1.0,
    unit="score",
    function=_dice,
)
IOU = MaskMetric(
    name="iou",
    title="IoU",
    definition="Overlap over union of both masks (Jaccard index); Dice / (2 − Dice). Empty masks as for Dice.",
    kinds=("mask",),
    better="higher",
    best=1.0,
    unit="score",
    function=_iou,
)
HD95 = MaskMetric(
    name="hd95",
    title="95 % Hausdorff distance",
    definition=(
        "The distance within which 95 % of each surface lies of the other (95th percentile Hausdorff distance). Taken "
        "from surface voxel centre to centre in both directions; the larger of the two counts. The figure is the mean "
        "over the cases. Infinite where one mask is empty: such cases are left out here and counted as missed or "
        "invented."
    ),
    kinds=("mask",),
    better="lower",
    best=0.0,
    unit="distance",
    function=_hausdorff_95,
)
ASD = MaskMetric(
    name="asd",
    title="Mean surface distance",
    definition=(
        "Mean distance from one surface to the other, over both directions together. Left out where a mask is empty."
    ),
    kinds=("mask",),
    better="lower",
    best=0.0,
    unit="distance",
    function=_average_surface_distance,
)
NSD = MaskMetric(
    name="nsd",
    title="Surface Dice",
    definition=(
        "Share of both surfaces that lies within the tolerance of the other one (normalised surface Dice): what "
        "would not have to be corrected by hand. Empty masks as for Dice."
    ),
    kinds=("mask",),
    better="higher",
    best=1.0,
    unit="score",
    function=_surface_dice,
)
SIZE_ERROR = MaskMetric(
    name="volume_error",
    title="Volume bias",
    definition=(
        "The model's volume minus the true volume (areas in 2D): above zero it draws too much. Cases with empty "
        "masks count."
    ),
    kinds=("mask",),
    better="zero",
    best=0.0,
    unit="size",
    function=_size_error,
)
SIZE_ERROR_PERCENT = MaskMetric(
    name="volume_error_percent",
    title="Volume bias, relative",
    definition="The same in per cent of the true volume. Undefined where the true mask is empty.",
    kinds=("mask",),
    better="zero",
    best=0.0,
    unit="percent",
    function=_size_error_percent,
)
SIZE_DIFFERENCE_PERCENT = MaskMetric(
    name="volume_difference_percent",
    title="Volume error, absolute",
    definition="How far the model's volume is from the true one in either direction, in per cent of the true volume.",
    kinds=("mask",),
    better="lower",
    best=0.0,
    unit="percent",
    function=_size_difference_percent,
)
