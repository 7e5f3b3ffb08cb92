"""Evaluation of masks: each case is scored as soon as it is predicted, so that no two masks are in memory at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from osler.assurance.cohort import Cohort, make_cohort, patient_rows
from osler.assurance.figures import Drawing, Quantity, common_notes, figures_of, subgroup_figures
from osler.assurance.results import CaseRow, Evaluation, Figure, SplitBy
from osler.datasets.labels import LabelSet
from osler.errors import GridMismatch, UsageError
from osler.metrics import MaskMetric, metrics_for
from osler.metrics.base import defined_mean
from osler.metrics.masks import MaskPair
from osler.studies.geometry import Array

__all__ = ["DEFAULT_TOLERANCE", "CaseScores", "LabelScores", "evaluate_masks", "mask_key", "score_mask"]

DEFAULT_TOLERANCE = 1.0  # mm, or pixels where the spacing is unknown
State = Literal["found", "missed", "invented", "absent"]
_HEADLINE_SCORE = "dice"


class LabelScores(BaseModel):
    """One label of one case. ``scores`` are by key, None where undefined; sizes in voxels."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    state: State
    truth_voxels: int
    prediction_voxels: int
    scores: dict[str, float | None]


class CaseScores(BaseModel):
    """All labels of one case. Keys of scores say their unit: ``hd95_mm``, or ``hd95_px`` with unknown spacing."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    labels: dict[str, LabelScores]
    unit: Literal["mm", "px"]
    dimensions: Literal[2, 3]
    tolerance: float


def mask_key(metric: MaskMetric, *, unit: str, dimensions: int) -> str:
    """The key of a metric with its unit: ``hd95_mm``, ``volume_error_mm3``, ``area_error_px``, ``dice``."""
    name = metric.name.replace("volume", "volume" if dimensions == 3 else "area")
    if metric.unit == "distance":
        return f"{name}_{unit}"
    if metric.unit == "size":
        known = "mm3" if dimensions == 3 else "mm2"
        return f"{name}_{known if unit == 'mm' else ('voxels' if dimensions == 3 else 'px')}"
    return name


def score_mask(
    truth: Array,
    prediction: Array,
    labels: LabelSet,
    spacing: Sequence[float],
    spacing_known: bool,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
) -> CaseScores:
    """Score one case.

    Args:
        truth: (I, J) or (I, J, K), values as in ``labels.values``, 0 is background.
        prediction: the same shape and values.
        labels: of kind "mask".
        spacing: of each axis, in mm; ignored where it is not known (then one pixel is the unit).
        spacing_known: whether ``spacing`` is in mm.
        tolerance: of the surface Dice, in mm, or pixels where the spacing is not known.

    Raises:
        GridMismatch: when the shapes differ.
        UsageError: when the masks are neither 2D nor 3D.
    """
    true, predicted = np.asarray(truth), np.asarray(prediction)
    if true.shape != predicted.shape:
        raise GridMismatch(
            f"the true mask {true.shape} and the predicted one {predicted.shape} lie on different grids",
            remedy="put the prediction back onto the grid of the study",
        )
    if true.ndim not in (2, 3):
        raise UsageError(f"masks must be (I, J) or (I, J, K), not {true.shape}", remedy="remove the channel axis")
    steps = tuple(float(s) for s in spacing)[: true.ndim] if spacing_known else (1.0,) * true.ndim
    unit: Literal["mm", "px"] = "mm" if spacing_known else "px"
    dimensions: Literal[2, 3] = 3 if true.ndim == 3 else 2
    found = {}
    for label in labels.labels:
        pair = MaskPair(true == label.value, predicted == label.value, steps, tolerance=tolerance)
        found[label.name] = _label_scores(pair, unit, dimensions)
    return CaseScores(labels=found, unit=unit, dimensions=dimensions, tolerance=tolerance)


def _label_scores(pair: MaskPair, unit: str, dimensions: int) -> LabelScores:
    scores: dict[str, float | None] = {}
    for metric in _metrics():
        value = metric.compute(pair)
        scores[mask_key(metric, unit=unit, dimensions=dimensions)] = None if np.isnan(value) else value
    states: dict[tuple[bool, bool], State] = {
        (True, True): "found",
        (True, False): "missed",
        (False, True): "invented",
        (False, False): "absent",
    }
    return LabelScores(
        state=states[pair.truth_voxels > 0, pair.prediction_voxels > 0],
        truth_voxels=pair.truth_voxels,
        prediction_voxels=pair.prediction_voxels,
        scores=scores,
    )


def _metrics() -> list[MaskMetric]:
    return [metric for metric in metrics_for("mask") if isinstance(metric, MaskMetric)]


def evaluate_masks(
    labels: LabelSet,
    case_scores: Sequence[CaseScores],
    names: Sequence[str],
    patients: Sequence[str | None],
    columns: Sequence[Mapping[str, str]] | None = None,
    *,
    name: str = "",
    split_by: SplitBy | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """Put the scores of all cases together.

    A label's figure is the mean over the cases in which it is defined; the headline is the mean over the labels. Each
    case weighs the same; whole patients are resampled.

    Args:
        labels: of kind "mask".
        case_scores: (N,) from ``score_mask``.
        names: (N,) of the cases.
        patients: (N,), None where unknown.
        columns: (N,) further manifest columns, for subgroups.
        name: of the data.
        split_by: how the data were split, where it cannot be told from ``patients``.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        UsageError: without cases, when lists do not fit, or when cases differ in unit, dimensions or tolerance.
    """
    cohort = make_cohort(names, patients, columns, split_by=split_by)
    _check_alike(case_scores, len(cohort))
    first, drawing = case_scores[0], Drawing(seed, resamples)
    keys = [mask_key(metric, unit=first.unit, dimensions=first.dimensions) for metric in _metrics()]
    table = _table(labels, case_scores, keys)
    metrics = figures_of(_headline(table, keys), cohort.groups, drawing)
    subgroups, notes = subgroup_figures(cohort, lambda cases: _headline(table[cases], keys), drawing)
    rows = [_row(cohort, n, scores) for n, scores in enumerate(case_scores)]
    counts = {label: _states(case_scores, label) for label in labels.names}
    return Evaluation(
        task="segment",
        kind="mask",
        name=name,
        cases=len(cohort),
        patients=cohort.group_count,
        split_by=cohort.split_by,
        resampled_by=cohort.resampled_by,
        unit=first.unit,
        metrics=metrics,
        per_class=_per_label(table, keys, labels.names, cohort, drawing),
        subgroups=subgroups,
        score_name="mean Dice of the labels",
        per_case=tuple(sorted(rows, key=lambda row: (row.score is None, row.score or 0.0, row.name))),
        per_patient=patient_rows(cohort, rows, worst_is_low=True),
        undefined=counts,
        notes=(*common_notes(cohort, metrics, resamples), *_mask_notes(counts, first.unit), *notes),
        tolerance=first.tolerance,
        seed=seed,
        resamples=resamples,
    )


def _check_alike(case_scores: Sequence[CaseScores], cases: int) -> None:
    if len(case_scores) != cases:
        raise UsageError(f"{cases} names and {len(case_scores)} scores do not fit", remedy="give one per case")
    kinds = {(scores.unit, scores.dimensions, scores.tolerance) for scores in case_scores}
    if len(kinds) > 1:
        raise UsageError(
            f"the cases differ in unit, dimensions or tolerance: {sorted(kinds)}",
            remedy="evaluate those with and without a known spacing apart",
        )


def _table(labels: LabelSet, case_scores: Sequence[CaseScores], keys: Sequence[str]) -> Array:
    """(N, labels, keys), NaN where undefined."""
    rows = [[[case.labels[label].scores[key] for key in keys] for label in labels.names] for case in case_scores]
    return np.array(rows, dtype=float).reshape(len(case_scores), len(labels.names), len(keys))


def _mean_of(values: Array) -> Callable[[Array], Array]:
    """From counts (B, N) to the mean over labels of the means over the cases (N, L) in which they are defined."""
    defined = (~np.isnan(values)).astype(float)
    filled = np.nan_to_num(values, nan=0.0)

    def compute(counts: Array) -> Array:
        number = counts @ defined  # (B, L)
        return defined_mean(counts @ filled / np.where(number > 0, number, np.nan))

    return compute


def _headline(table: Array, keys: Sequence[str]) -> list[Quantity]:
    columns = [table[:, :, i] for i in range(len(keys))]
    return [
        Quantity(key, _mean_of(values), np.asarray((~np.isnan(values)).any(axis=1)))
        for key, values in zip(keys, columns, strict=True)
    ]


def _per_label(
    table: Array, keys: Sequence[str], names: Sequence[str], cohort: Cohort, drawing: Drawing
) -> dict[str, dict[str, Figure]]:
    return {
        label: figures_of(_headline(table[:, i : i + 1], keys), cohort.groups, drawing) for i, label in enumerate(names)
    }


def _row(cohort: Cohort, case: int, scores: CaseScores) -> CaseRow:
    flat = {f"{label}: {key}": value for label, found in scores.labels.items() for key, value in found.scores.items()}
    dice = [found.scores[_HEADLINE_SCORE] for found in scores.labels.values()]
    known = [value for value in dice if value is not None]
    strange = [
        f"{label} {found.state}" for label, found in scores.labels.items() if found.state in ("missed", "invented")
    ]
    return CaseRow(
        name=cohort.names[case],
        patient=cohort.patients[case],
        score=float(np.mean(known)) if known else None,
        scores=flat,
        note=", ".join(strange),
    )


def _states(case_scores: Sequence[CaseScores], label: str) -> dict[str, int]:
    states = [case.labels[label].state for case in case_scores]
    return {state: states.count(state) for state in ("found", "missed", "invented", "absent")}


def _mask_notes(counts: Mapping[str, Mapping[str, int]], unit: str) -> list[str]:
    notes = []
    for label, states in counts.items():
        if states["missed"] or states["invented"]:
            notes.append(
                f"“{label}” was missed altogether in {states['missed']} and invented in {states['invented']} cases: "
                "Dice counts 0 there, and distances, which would be infinite, leave them out."
            )
        if states["absent"]:
            notes.append(
                f"“{label}” is absent in {states['absent']} cases and the model rightly drew nothing: Dice is "
                "undefined there and leaves them out."
            )
    if unit == "px":
        notes.append("The spacing of the images is not known: distances and sizes are in pixels, not in millimetres.")
    return notes
