"""Whether the answer can be told from the source of a row, or from what is missing in it, without any value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.datasets.checks.learned import fold_of, out_of_fold
from osler.datasets.problem import Problem
from osler.datasets.tables.columns import Group, Judged
from osler.datasets.tables.copies import row_keys
from osler.datasets.tables.reading import RawTable
from osler.metrics.bootstrap import Interval, bootstrap_cases
from osler.metrics.ranking import auc
from osler.studies.geometry import Array

__all__ = ["check_sources"]

_FEWEST = 10
_TELLS = 0.6  # as for images
_RESAMPLES = 200
_MOST_ROWS = 20_000


def check_sources(group: Group, answered: Sequence[RawTable], negative: float | None) -> list[Problem]:
    """How well the answer is told by the source alone and by the pattern of missing cells alone, where it is.

    Rows that say the same are never parted between learning and judging.

    Args:
        group: of tables.
        answered: those of it whose answers are coded alike.
        negative: answers up to this are negative; None judges each answer against the others.
    """
    answer = next((one for one in group.columns if one.name == group.answer), None)
    if answer is None or not answered or answer.kind != "code":
        return []
    tables = [table.take(_evenly(table, answered), name=table.name) for table in answered]
    patients = np.concatenate([row_keys(group, table) for table in tables])
    problems = []
    for words, features in _features(group, answer, tables).items():
        best: tuple[Interval, str] | None = None
        for label, positive, known in _questions(answer, tables, negative):
            found = _told(features[known], positive[known], patients[known])
            if found is not None and (best is None or found.value > best[0].value):
                best = found, label
        if best is not None:
            problems.append(_problem(words, *best))
    return problems


def _evenly(table: RawTable, among: Sequence[RawTable]) -> Array:
    rows = len(table.rows)
    share = min(1.0, _MOST_ROWS / sum(len(one.rows) for one in among))
    return np.unique(np.linspace(0, rows - 1, max(1, round(share * rows))).astype(int))


def _features(group: Group, answer: Judged, tables: Sequence[RawTable]) -> dict[str, Array]:
    """(N, F) of 0 and 1 by what they are: which table a row is of, and which of its cells are empty."""
    found = {}
    if len(tables) > 1:
        source = np.repeat(np.arange(len(tables)), [len(table.rows) for table in tables])
        found["the source of a row"] = (source[:, None] == np.arange(len(tables))).astype(float)
    missing = [
        np.concatenate([column.missing(table) | column.suspected(table) for table in tables])
        for column in group.columns
        if column.name != answer.name
    ]
    varied = [one for one in missing if one.any() and not one.all()]
    if varied:
        found["what is missing in a row"] = np.stack(varied, axis=1).astype(float)
    return found


def _questions(answer: Judged, tables: Sequence[RawTable], negative: float | None) -> list[tuple[str, Array, Array]]:
    """What is asked, which rows are positive, and which have an answer; (N,) each."""
    codes = np.concatenate([np.where(answer.of(t).hashes == 0, answer.numbers(t), np.nan) for t in tables])
    words = np.concatenate([answer.of(t).hashes for t in tables])
    known = np.concatenate([~(answer.missing(t) | answer.suspected(t)) for t in tables])
    if negative is not None:
        return [(f"{answer.name} above {negative:g}", codes > negative, known & np.isfinite(codes))]
    numbers = [(f"{v:g}", codes == v) for v in np.unique(codes[np.isfinite(codes)]).tolist()]
    names = {code: word for table in tables for code, word in answer.of(table).words.items()}
    texts = [(names.get(code, ""), words == code) for code in np.unique(words[known & (words != 0)]).tolist()]
    asked = sorted([*numbers, *texts], key=lambda pair: pair[0])
    asked = asked[1:] if len(asked) == 2 else asked
    return [(f"{answer.name} {value}", positive, known) for value, positive in asked]


def _told(features: Array, positive: Array, patients: Array) -> Interval | None:
    """The AUC where it is clearly above chance: the mean over the folds, each with scores of one fit.

    Sources have few distinct scores. Put together, those of one source would differ between folds, and the other way
    round from the answers that were held out, which takes 0.016 off the AUC of the four hospitals of heart-disease.
    """
    if min(positive.sum(), (~positive).sum()) < _FEWEST:
        return None
    people = patients.tolist()
    folds = fold_of(people)
    scores = out_of_fold(features, positive, folds)

    def statistic(places: Array) -> float:
        parts = [places[folds[places] == fold] for fold in np.unique(folds).tolist()]
        areas = [auc(positive[part].astype(int), scores[part]) for part in parts if len(part)]
        known = [area for area in areas if area == area]
        return sum(known) / len(known) if known else float("nan")

    found = bootstrap_cases(statistic, people, resamples=_RESAMPLES)
    return found if found.low is not None and found.low > _TELLS else None


def _problem(words: str, found: Interval, label: str) -> Problem:
    low, high = found.low or 0.0, found.high or 1.0
    what = (
        f"{words} alone tells {label!r} with an AUC of {found.value:.2f} ({low:.2f} to {high:.2f}), "
        "without any of its values"
    )
    return Problem(
        code="table-source",
        severity="warning",
        what=what,
        remedy="report figures for each source by itself, and test on a source left out of training",
        figures={"auc": found.value, "low": low, "high": high},
    )
