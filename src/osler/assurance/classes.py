"""Evaluation of classes, several labels at once, and grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from osler.assurance.cohort import Cohort, make_cohort, patient_rows
from osler.assurance.figures import (
    Drawing,
    common_notes,
    figures_of,
    label_quantities,
    per_label_figures,
    subgroup_figures,
)
from osler.assurance.results import Bin, CaseRow, Confusion, Decisions, Evaluation, Line, SplitBy
from osler.datasets.labels import LabelSet
from osler.errors import UsageError
from osler.metrics.answers import Answers, class_answers, grade_answers, several_answers
from osler.metrics.calibration import reliability_table
from osler.metrics.classification import confusion_matrix, precision_recall_curve, roc_curve, tally
from osler.studies.geometry import Array

__all__ = ["evaluate_classes", "evaluate_grades", "evaluate_several"]

_MOST_POINTS = 300
Columns = Sequence[Mapping[str, str]]


def evaluate_classes(
    labels: LabelSet,
    names: Sequence[str],
    patients: Sequence[str | None],
    targets: Array,
    probabilities: Array,
    columns: Columns | None = None,
    *,
    positive: int = -1,
    name: str = "",
    split_by: SplitBy | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """Exactly one of L classes.

    Args:
        labels: of kind "classes".
        names: (N,) of the cases.
        patients: (N,), None where unknown.
        targets: (N,) index of the true class.
        probabilities: (N, L), calibrated.
        columns: (N,) further manifest columns, for subgroups.
        positive: with two classes, the one whose sensitivity and so on are the headline; the last one by default.
        name: of the data.
        split_by: how the data were split, where it cannot be told from ``patients``.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        UsageError: on NaN, no case, or lists that do not fit.
    """
    _check_labels(labels, probabilities)
    answers = class_answers(targets, probabilities, positive=positive)
    cohort = make_cohort(names, patients, columns, split_by=split_by)
    return _evaluate(labels, answers, cohort, Drawing(seed, resamples), task="classify", name=name)


def evaluate_grades(
    labels: LabelSet,
    names: Sequence[str],
    patients: Sequence[str | None],
    targets: Array,
    probabilities: Array,
    columns: Columns | None = None,
    *,
    name: str = "",
    split_by: SplitBy | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """One of L ascending grades; ``probabilities`` (N, L) are of each grade, the prediction is the median one.

    Raises:
        UsageError: on NaN, no case, or lists that do not fit.
    """
    _check_labels(labels, probabilities)
    answers = grade_answers(targets, probabilities)
    cohort = make_cohort(names, patients, columns, split_by=split_by)
    return _evaluate(labels, answers, cohort, Drawing(seed, resamples), task="ordinal", name=name)


def evaluate_several(
    labels: LabelSet,
    names: Sequence[str],
    patients: Sequence[str | None],
    targets: Array,
    probabilities: Array,
    columns: Columns | None = None,
    *,
    threshold: float = 0.5,
    name: str = "",
    split_by: SplitBy | None = None,
    seed: int = 0,
    resamples: int = 1000,
) -> Evaluation:
    """Any subset of L labels; ``targets`` (N, L) of 0 and 1, NaN (or None) where not known.

    Raises:
        UsageError: on NaN in the probabilities, no case, or lists that do not fit.
    """
    _check_labels(labels, probabilities)
    answers = several_answers(np.asarray(targets, float), probabilities, threshold=threshold)
    cohort = make_cohort(names, patients, columns, split_by=split_by)
    return _evaluate(labels, answers, cohort, Drawing(seed, resamples), task="multilabel", name=name)


def _check_labels(labels: LabelSet, probabilities: Array) -> None:
    shape = np.shape(probabilities)
    if len(shape) != 2 or shape[1] != len(labels.labels):
        raise UsageError(
            f"probabilities {shape} must have one column for each of the labels {', '.join(labels.names)}",
            remedy="give (cases, labels)",
        )


def _evaluate(
    labels: LabelSet, answers: Answers, cohort: Cohort, drawing: Drawing, *, task: str, name: str
) -> Evaluation:
    if len(cohort) != len(answers):
        raise UsageError(f"{len(cohort)} names and {len(answers)} answers do not fit", remedy="give one per case")
    kind, names = labels.kind, labels.names
    metrics = figures_of(label_quantities(kind, answers), cohort.groups, drawing)
    subgroups, notes = subgroup_figures(cohort, lambda cases: label_quantities(kind, answers.take(cases)), drawing)
    rows = _rows(labels, answers, cohort)
    sign = -1 if kind == "grades" else 1  # grades off are worse when high, probabilities when low
    order = sorted(range(len(rows)), key=lambda i: (rows[i].score is None, sign * (rows[i].score or 0.0), rows[i].name))
    positive = None if answers.positive_label is None else names[answers.positive_label]
    return Evaluation(
        task=task,
        kind=kind,
        name=name,
        cases=len(cohort),
        patients=cohort.group_count,
        split_by=cohort.split_by,
        resampled_by=cohort.resampled_by,
        positive=positive,
        metrics=metrics,
        per_class=per_label_figures(kind, answers, names, cohort.groups, drawing),
        subgroups=subgroups,
        confusion=_confusion(answers, names),
        decisions=_decisions(answers, names),
        curves={} if kind == "grades" else _curves(answers, names),
        reliability=_reliability(answers, names),
        score_name="probability of the true answer" if kind != "grades" else "grades off",
        per_case=tuple(rows[i] for i in order),
        per_patient=patient_rows(cohort, rows, worst_is_low=sign > 0),
        notes=(*common_notes(cohort, metrics, drawing.resamples), *_label_notes(answers, names), *notes),
        seed=drawing.seed,
        resamples=drawing.resamples,
    )


def _label_notes(answers: Answers, names: Sequence[str]) -> list[str]:
    notes = []
    true = answers.known & answers.positive
    absent = [name for name, any_true in zip(names, np.atleast_1d(true.any(axis=0)), strict=True) if not any_true]
    if absent:
        notes.append(
            f"No case has {', '.join(f'“{n}”' for n in absent)}: those figures are undefined and left out of means."
        )
    unknown = int((~answers.known).sum())
    if unknown:
        notes.append(f"{unknown} of {answers.known.size} answers are not known and count for nothing.")
    return notes


def _confusion(answers: Answers, names: Sequence[str]) -> Confusion | None:
    if answers.truth is None or answers.predicted is None:
        return None
    matrix = confusion_matrix(answers.truth, answers.predicted, len(names))
    return Confusion(labels=tuple(names), counts=tuple(tuple(int(n) for n in row) for row in matrix))


def _decisions(answers: Answers, names: Sequence[str]) -> dict[str, Decisions]:
    t = tally(answers, np.ones((1, len(answers))))
    return {
        name: Decisions(
            true_positive=int(t.true_positive[0, i]),
            false_positive=int(t.false_positive[0, i]),
            false_negative=int(t.false_negative[0, i]),
            true_negative=int(t.true_negative[0, i]),
        )
        for i, name in enumerate(names)
    }


def _curves(answers: Answers, names: Sequence[str]) -> dict[str, dict[str, Line]]:
    """Of each label that some known cases have and some have not; of two classes only the positive one."""
    found: dict[str, dict[str, Line]] = {"roc": {}, "precision_recall": {}}
    for i, name in enumerate(names):
        known = answers.known[:, i]
        truth, scores = answers.positive[known, i], answers.scores[known, i]
        if answers.positive_label not in (None, i) or not truth.any() or truth.all():
            continue
        roc, recall = roc_curve(truth, scores), precision_recall_curve(truth, scores)
        found["roc"][name] = _thin(roc.x, roc.y)
        found["precision_recall"][name] = _thin(recall.x, recall.y)
    return found


def _thin(x: Array, y: Array) -> Line:
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    return Line(x=tuple(x[kept].round(5).tolist()), y=tuple(y[kept].round(5).tolist()))


def _reliability(answers: Answers, names: Sequence[str]) -> dict[str, tuple[Bin, ...]]:
    found = {}
    if answers.truth is not None and answers.predicted is not None:
        confidence = answers.scores[np.arange(len(answers)), answers.predicted]
        found["answer"] = _bins(confidence, answers.truth == answers.predicted)
    for i, name in enumerate(names):
        known = answers.known[:, i]
        found[name if name != "answer" else "answer (label)"] = _bins(
            answers.scores[known, i], answers.positive[known, i]
        )
    return found


def _bins(probability: Array, right: Array) -> tuple[Bin, ...]:
    return tuple(
        Bin(
            low=b.low,
            high=b.high,
            cases=b.cases,
            probability=b.probability if b.cases else None,
            observed=b.observed if b.cases else None,
        )
        for b in reliability_table(probability, right)
    )


def _rows(labels: LabelSet, answers: Answers, cohort: Cohort) -> list[CaseRow]:
    return [
        CaseRow(
            name=cohort.names[n],
            patient=cohort.patients[n],
            answer=_words(labels.names, answers.positive[n] & answers.known[n]),
            predicted=_words(labels.names, answers.flagged[n]),
            score=_score(labels, answers, n),
            scores={name: round(float(p), 6) for name, p in zip(labels.names, answers.scores[n], strict=True)},
        )
        for n in range(len(cohort))
    ]


def _words(names: Sequence[str], chosen: Array) -> str:
    return ", ".join(name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen) or "none"


def _score(labels: LabelSet, answers: Answers, case: int) -> float | None:
    """What orders the cases: grades off, or the probability given to what is true (mean over known labels)."""
    if labels.kind == "grades":
        truth, predicted = answers.indices
        return float(abs(truth[case] - predicted[case]))
    if answers.truth is not None:
        return float(answers.scores[case, answers.truth[case]])
    known = answers.known[case]
    given = np.where(answers.positive[case], answers.scores[case], 1 - answers.scores[case])[known]
    return float(given.mean()) if len(given) else None
