"""Whether the answer can be told from how an image was made, without looking at the patient: a confounding check.

Source, file type, image size, margins, spacing and scanner are put into a small classifier, judged by cross-validation
that never parts a patient. Where it does well, a network may learn the scanner and not the disease (Zech et al. 2018).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from osler.datasets.checks.evidence import Evidence
from osler.datasets.checks.learned import fold_of, out_of_fold
from osler.datasets.problem import Problem
from osler.metrics.bootstrap import Interval, bootstrap_cases
from osler.metrics.ranking import auc
from osler.studies.geometry import Array

__all__ = ["check"]

_FEWEST = 10
"""Cases with and without a label below which nothing is said."""
_TELLS = 0.6
"""An AUC whose interval lies above this is worth a warning."""
_BINS = 5
_RARE = 3
"""Cases below which a value of a feature is not one of its own."""
_RESAMPLES = 200


def check(evidence: Evidence) -> list[Problem]:
    """The label that acquisition tells best, with its AUC and 95 % interval, and which features tell it."""
    seen = evidence.seen
    names = list(seen)
    columns = _columns([seen[name].acquisition for name in names])
    if not columns:
        return []
    best: tuple[Interval, str, Array, Array] | None = None
    for label, known, positive in _questions(evidence, names):
        if min(positive.sum(), (~positive).sum()) < _FEWEST:
            continue
        patients = [evidence.records[names[place]].patient or names[place] for place in known.tolist()]
        features = np.concatenate([column[known] for column in columns.values()], axis=1)
        scores = out_of_fold(features, positive, fold_of(patients))
        found = _auc(positive, scores, patients)
        if found.low is not None and found.low > _TELLS and (best is None or found.value > best[0].value):
            best = (found, label, known, positive)
    return [] if best is None else [_problem(evidence, names, columns, *best)]


def _questions(evidence: Evidence, names: Sequence[str]) -> list[tuple[str, Array, Array]]:
    """For each label: its name, the places of the cases that have an answer, and whether they have it; (K,) each."""
    labels = evidence.dataset.labels
    targets = [evidence.records[name].target for name in names]
    found = []
    if labels.kind == "number":
        known = np.array([place for place, target in enumerate(targets) if isinstance(target, int | float)], int)
        values = np.array([target for target in targets if isinstance(target, int | float)], float)
        return [(f"{labels.name} above its median", known, values > np.median(values))] if len(values) else []
    for place, label in enumerate(labels.labels):
        if labels.kind == "mask":
            answers: list[bool | None] = [label.value in evidence.facts_of[name].extents for name in names]
        else:
            answers = [_has(target, place) for target in targets]
        known = np.array([n for n, answer in enumerate(answers) if answer is not None], int)
        found.append((label.name, known, np.array([answer for answer in answers if answer is not None], bool)))
    return found[1:] if labels.kind == "classes" and len(found) == 2 else found


def _has(target: object, place: int) -> bool | None:
    if target is None:
        return None
    if isinstance(target, tuple):
        return None if target[place] is None else target[place] == 1
    return target == place


def _columns(acquisitions: Sequence[dict[str, float | str]]) -> dict[str, Array]:
    """Each feature that varies as (N, values) of 0 and 1: words and few numbers as they are, many numbers in fifths."""
    columns = {}
    for feature in sorted({name for one in acquisitions for name in one}):
        values = [one.get(feature) for one in acquisitions]
        counts = Counter(values)
        numbers = np.array([value for value in values if isinstance(value, float)])
        if len(counts) > 2 * _BINS and len(numbers) == len(values):
            edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1]))
            ranks = np.searchsorted(edges, numbers, side="right")
            column = np.stack([ranks == rank for rank in range(len(edges) + 1)], axis=1)
        else:
            common = [value for value, count in counts.items() if count >= _RARE]
            column = np.array([[value == one for one in common] for value in values]).reshape(len(values), len(common))
        if column.shape[1] > 1 or (column.size and not column.all()):
            columns[feature] = column.astype(float)
    return columns


def _auc(positive: Array, scores: Array, patients: Sequence[str]) -> Interval:
    def statistic(places: Array) -> float:
        return auc(positive[places].astype(int), scores[places])

    return bootstrap_cases(statistic, patients, resamples=_RESAMPLES)


def _problem(
    evidence: Evidence,
    names: Sequence[str],
    columns: dict[str, Array],
    found: Interval,
    label: str,
    known: Array,
    positive: Array,
) -> Problem:
    patients = [evidence.records[names[place]].patient or names[place] for place in known.tolist()]
    folds = fold_of(patients)
    alone = {
        feature: auc(positive.astype(int), out_of_fold(column[known], positive, folds))
        for feature, column in columns.items()
    }
    strongest = sorted(alone.items(), key=lambda item: -item[1])[:3]
    told_by = ", ".join(f"{feature} {area:.2f}" for feature, area in strongest if area > 0.55)
    low, high = found.low or 0.0, found.high or 1.0
    what = (
        f"how an image was made tells {label!r} with an AUC of {found.value:.2f} ({low:.2f} to {high:.2f}), "
        f"without a look at the patient" + (f"; alone: {told_by}" if told_by else "")
    )
    return Problem(
        code="acquisition",
        severity="warning",
        what=what,
        remedy="balance sources between the answers, crop or resize alike, and test on a source left out of training",
        figures={"auc": found.value, "low": low, "high": high, **{f"auc of {name}": area for name, area in strongest}},
    )
