"""Figures, their intervals and calibration, in NumPy. ``METRICS`` is the list that evaluation goes through.

To add a metric: write it in its own file, put it on the list, and describe it in ``docs/reference/metrics.md``.
"""

from __future__ import annotations

from osler.metrics.base import CaseMetric, Kind, LabelMetric, MaskMetric, Metric, NumberMetric
from osler.metrics.calibration import BRIER, ECE
from osler.metrics.classification import (
    ACCURACY,
    BALANCED_ACCURACY,
    EXACT_MATCH,
    F1,
    PRECISION,
    SENSITIVITY,
    SPECIFICITY,
)
from osler.metrics.ordinal import GRADE_ERROR, KAPPA, WITHIN_ONE
from osler.metrics.ranking import AUC, AVERAGE_PRECISION, GRADE_AUC
from osler.metrics.regression import BIAS, COVERAGE, LIMIT_HIGH, LIMIT_LOW, MAE, MSE, R2, RMSE
from osler.metrics.segmentation import (
    ASD,
    DICE,
    HD95,
    IOU,
    NSD,
    SIZE_DIFFERENCE_PERCENT,
    SIZE_ERROR,
    SIZE_ERROR_PERCENT,
)

__all__ = ["METRICS", "CaseMetric", "Kind", "LabelMetric", "MaskMetric", "Metric", "NumberMetric", "metrics_for"]

METRICS: tuple[Metric, ...] = (
    AUC,
    AVERAGE_PRECISION,
    KAPPA,
    GRADE_ERROR,
    WITHIN_ONE,
    GRADE_AUC,
    ACCURACY,
    BALANCED_ACCURACY,
    EXACT_MATCH,
    SENSITIVITY,
    SPECIFICITY,
    PRECISION,
    F1,
    ECE,
    BRIER,
    MAE,
    MSE,
    RMSE,
    R2,
    BIAS,
    LIMIT_LOW,
    LIMIT_HIGH,
    COVERAGE,
    DICE,
    IOU,
    HD95,
    ASD,
    NSD,
    SIZE_ERROR,
    SIZE_ERROR_PERCENT,
    SIZE_DIFFERENCE_PERCENT,
)


def metrics_for(kind: Kind) -> tuple[Metric, ...]:
    """Those that fit a kind of answer, in the order in which a page shows them."""
    return tuple(metric for metric in METRICS if kind in metric.kinds)
