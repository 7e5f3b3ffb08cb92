"""Evaluation of predicted numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from osler.assurance.cohort import make_cohort, patient_rows
from osler.assurance.figures import Drawing, common_notes, figures_of, number_quantities, subgroup_figures
from osler.assurance.results import CaseRow, Evaluation, SplitBy
from osler.datasets.labels import LabelSet
from osler.errors import UsageError
from osler.metrics.answers import number_answers
from osler.studies.geometry import Array

__all__ = ["evaluate_numbers"]


def evaluate_numbers(
    labels: LabelSet,
    names: Sequence[str],
    patients: Sequence[str | None],
    targets: Array,
    predictions: Array,
    columns: Sequence[Mapping[str, str]] | None = None,
    *,
    half_width: float | None = None,
    name: str = "",
    split_by: SplitBy | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """A real number, in the unit of ``labels``.

    Args:
        labels: of kind "number".
        names: (N,) of the cases.
        patients: (N,), None where unknown.
        targets: (N,).
        predictions: (N,), same unit.
        columns: (N,) further manifest columns, for subgroups.
        half_width: of the 95 % range that the model states, same unit.
        name: of the data.
        split_by: how the data were split, where it cannot be told from ``patients``.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        UsageError: on NaN, no case, or lists that do not fit.
    """
    answers = number_answers(targets, predictions, half_width=half_width)
    cohort = make_cohort(names, patients, columns, split_by=split_by)
    if len(cohort) != len(answers):
        raise UsageError(f"{len(cohort)} names and {len(answers)} answers do not fit", remedy="give one per case")
    drawing = Drawing(seed, resamples)
    metrics = figures_of(number_quantities(answers), cohort.groups, drawing)
    subgroups, notes = subgroup_figures(cohort, lambda cases: number_quantities(answers.take(cases)), drawing)
    rows = [
        CaseRow(
            name=cohort.names[n],
            patient=cohort.patients[n],
            answer=f"{true:.4g}",
            predicted=f"{predicted:.4g}",
            score=abs(predicted - true),
            scores={"truth": true, "prediction": predicted, "error": predicted - true},
        )
        for n, (true, predicted) in enumerate(zip(answers.truth.tolist(), answers.prediction.tolist(), strict=True))
    ]
    return Evaluation(
        task="regress",
        kind="number",
        name=name,
        cases=len(cohort),
        patients=cohort.group_count,
        split_by=cohort.split_by,
        resampled_by=cohort.resampled_by,
        unit=labels.unit,
        metrics=metrics,
        subgroups=subgroups,
        score_name="absolute error",
        per_case=tuple(sorted(rows, key=lambda row: (-(row.score or 0.0), row.name))),
        per_patient=patient_rows(cohort, rows, worst_is_low=False),
        notes=(*common_notes(cohort, metrics, resamples), *notes),
        seed=seed,
        resamples=resamples,
    )
