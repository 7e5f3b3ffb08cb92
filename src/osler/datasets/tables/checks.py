"""What is wrong with the columns and rows of tables of the same columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from osler.datasets.checks.robust import FEWEST, Usual, usual
from osler.datasets.problem import Problem
from osler.datasets.tables.columns import Group, Judged
from osler.datasets.tables.reading import RawTable
from osler.studies.geometry import Array

__all__ = ["MOST_CASES", "check_answers", "check_columns", "check_first_rows", "check_rows"]

MOST_CASES = 10_000
"""Cases that a problem lists; its sentence has the whole number."""
_FEW = 10  # as for images
_NEARLY_EMPTY = 0.9
_MOST_OUTLIERS = 0.1
_SKEWED = 0.15
_LONGEST = 16
_NAMED = 6


def check_rows(table: RawTable) -> list[Problem]:
    """Rows that are longer or shorter than the others."""
    if not table.odd_count:
        return []
    width = len(table.columns)
    details = {f"{table.name} row {odd.row}": _length(odd.cells, width, odd.last) for odd in table.odd}
    verb = "rows have" if table.odd_count > 1 else "row has"
    what = f"{table.odd_count:,} {verb} more or fewer than the {width} cells of the others in {table.path.name}"
    remedy = "look for a delimiter too many or too few, quote that cell, or copy the file again; they are left out here"
    return [
        Problem(code="table-rows", severity="error", what=what, cases=tuple(details), details=details, remedy=remedy)
    ]


def _length(cells: int, width: int, last: bool) -> str:
    return f"{cells} cells for {width}" + (", and the file ends in it: it is cut off" if last else "")


def check_first_rows(mended: dict[str, str]) -> list[Problem]:
    """Rows that a program took for a header.

    Args:
        mended: by case, which cells were read as what.
    """
    if not mended:
        return []
    many = len(mended) > 1
    what = (
        f"the first row{'s' if many else ''} of {len(mended)} table{'s' if many else ''} "
        f"{'were' if many else 'was'} taken for a header by some program, which put numbers behind repeated values: "
        "these are other values now, or none"
    )
    remedy = "get the file as it was first published, or undo it; here they are read without these numbers"
    return [
        Problem(code="table-first-row", severity="error", what=what, cases=tuple(mended), details=mended, remedy=remedy)
    ]


def check_columns(group: Group) -> list[Problem]:
    """Cells that are no numbers, numbers that are none, columns without a value, and outliers."""
    return [
        *_no_numbers(group),
        *(problem for column in group.columns for problem in _suspected(group, column)),
        *_marks(group),
        *_empty(group),
        *_outliers(group),
    ]


def _no_numbers(group: Group) -> list[Problem]:
    details: dict[str, str] = {}
    total = 0
    for column in group.columns:
        for table in group.tables:
            places = np.flatnonzero(column.no_number(table))
            total += len(places)
            cells = column.of(table)
            for place in places[: MOST_CASES - len(details)].tolist():
                word = cells.words.get(int(cells.hashes[place]), "")[:_LONGEST]
                _add(details, table.case(place), f"{column.name}: {word!r}")
    if not total:
        return []
    what = f"{_cells(total)} no number in a column of numbers"
    remedy = "correct or empty them; a program that reads the column will stop at them or take all of it for text"
    return [
        Problem(
            code="table-no-number", severity="error", what=what, cases=tuple(details), details=details, remedy=remedy
        )
    ]


def _cells(total: int) -> str:
    return f"{total:,} cell{' is' if total == 1 else 's are'}"


def _add(details: dict[str, str], case: str, words: str) -> None:
    details[case] = f"{details[case]}, {words}" if case in details else words


def _suspected(group: Group, column: Judged) -> list[Problem]:
    problems = []
    for value in column.marks.suspected:
        where = {table.name: np.flatnonzero(column.of(table).numbers == value) for table in group.tables}
        told = [f"{len(places):,} of {table.name}" for table in group.tables if len(places := where[table.name])]
        known = np.concatenate([column.numbers(table) for table in group.tables])
        low, high = float(np.nanmin(known)), float(np.nanmax(known))
        cases = [table.case(place) for table in group.tables for place in where[table.name][:MOST_CASES].tolist()]
        what = (
            f"{value:g} in the column {column.name!r} probably stands for missing: it lies apart from all other values "
            f"({low:g} to {high:g}) and occurs in {_and(told)}"
        )
        total = sum(map(len, where.values()))
        figures = {"cells": float(total)}
        problems.append(
            Problem(
                code="table-suspect",
                severity="warning",
                what=what,
                cases=tuple(cases[:MOST_CASES]),
                remedy="ask who made the table, and empty these cells; a model would learn who did not measure it",
                figures=figures,
            )
        )
    return problems


def _marks(group: Group) -> list[Problem]:
    counts = {
        (column.name, mark): sum(int((column.of(table).numbers == mark).sum()) for table in group.tables)
        for column in group.columns
        for mark in column.marks.certain
    }
    if not counts:
        return []
    numbers = ", ".join(dict.fromkeys(f"{mark:g}" for _, mark in counts))
    told = [f"{name} ({count:,})" for (name, _), count in counts.items()]
    verb = "stands" if "," not in numbers else "stand"
    what = f"{numbers} {verb} for missing in {sum(counts.values()):,} cells: {_and(told)}"
    remedy = "empty these cells before anything is computed: a mean or a network takes them for values"
    figures = {f"{mark:g} in {name}": float(count) for (name, mark), count in counts.items()}
    return [Problem(code="table-marks", severity="warning", what=what, remedy=remedy, figures=figures)]


def _empty(group: Group) -> list[Problem]:
    """Columns that say nothing at a source, or nearly so, while others have values."""
    details: dict[str, str] = {}
    for table in group.tables:
        told = [words for column in group.columns if (words := _says_nothing(column, table))]
        if told:
            details[table.name] = ", ".join(told)
    if not details:
        return []
    count = len(details)
    many = len(group.tables) > 1
    listed = "; ".join(f"{name}: {words}" for name, words in details.items())
    what = f"columns that are empty, nearly so, or the same in every row in {count} table{'s' * (count > 1)}: {listed}"
    remedy = "leave these columns out" + (
        ", or learn only where they were measured: they tell the source more than the patient" if many else ""
    )
    return [
        Problem(code="table-empty", severity="warning", what=what, cases=tuple(details), details=details, remedy=remedy)
    ]


def _says_nothing(column: Judged, table: RawTable) -> str:
    absent = column.missing(table) | column.suspected(table)
    share = float(absent.mean())
    if share == 1:
        return f"{column.name} (empty)"
    if share >= _NEARLY_EMPTY:
        return f"{column.name} ({100 * share:.0f} % missing)"
    numbers, hashes = column.numbers(table)[~absent], column.of(table).hashes[~absent]
    same = len(numbers) > 1 and bool((hashes == hashes[0]).all()) and len(np.unique(numbers)) == 1
    return f"{column.name} (always the same)" if same else ""


def _outliers(group: Group) -> list[Problem]:
    details: dict[str, str] = {}
    scores: dict[str, float] = {}
    columns: list[str] = []
    for column in group.columns:
        if column.kind != "number":
            continue
        found = _far(group, column)
        columns += [f"{column.name} ({len(found):,})"] if found else []
        for case, value, excess in found[: max(0, MOST_CASES - len(details))]:
            _add(details, case, f"{column.name} {value:g}")
            scores[case] = max(scores.get(case, 0.0), excess)
    if not details:
        return []
    cases = tuple(sorted(details, key=lambda case: -scores[case]))
    what = f"values far from all others: {_and(columns)}"
    remedy = "compare them with the record: wrong unit, wrong column, a slip, or a rare patient"
    return [
        Problem(
            code="table-outlier",
            severity="warning",
            what=what,
            cases=cases,
            details=details,
            remedy=remedy,
            scores=scores,
        )
    ]


def _far(group: Group, column: Judged) -> list[tuple[str, float, float]]:
    """Case, value and excess (1 at the limit) of what is far from the usual values of all tables."""
    numbers = [column.numbers(table) for table in group.tables]
    known = np.concatenate(numbers)
    known = known[np.isfinite(known)]
    limits = _limits(known)
    if limits is None:
        return []
    scale, bounds = limits
    found = []
    for table, values in zip(group.tables, numbers, strict=True):
        with np.errstate(invalid="ignore"):
            scaled = scale(values)
            places = np.flatnonzero((scaled < bounds.low) | (scaled > bounds.high))
        found += [
            (table.case(place), float(values[place]), bounds.excess(float(scaled[place]))) for place in places.tolist()
        ]
    return [] if len(found) > max(1, _MOST_OUTLIERS * known.size) else found


def _limits(known: Array) -> tuple[Callable[[Array], Array], Usual] | None:
    """What is usual, and of what: of the logarithms where the numbers lean far to the right, of the roots where some of
    these are 0. None where half of them are the same, as then nothing tells how far is far."""
    if known.size < FEWEST:
        return None
    low, middle, high = np.percentile(known, (10, 50, 90)).tolist()
    if (known == middle).mean() > 0.5 or low == middle or middle == high:
        return None
    scale: Callable[[Array], Array] = np.asarray
    if (high + low - 2 * middle) / (high - low) > _SKEWED and known.min() >= 0:
        scale = np.log if known.min() > 0 else np.sqrt
    return scale, usual(scale(known), 0.0)


def check_answers(group: Group, answered: Sequence[RawTable]) -> list[Problem]:
    """Answers that few rows of a source have, in the words in which images are judged."""
    column = next((one for one in group.columns if one.name == group.answer), None)
    if column is None or column.kind != "code":
        return []
    every = sorted({value for table in answered for value in column.counts(table)})
    few = []
    for table in answered:
        counts = column.counts(table)
        few += [f"{value} in {table.name} ({counts.get(value, 0)})" for value in every if counts.get(value, 0) < _FEW]
    if not few:
        return []
    what = f"fewer than {_FEW} rows have the {column.name} {_and(few)}"
    return [Problem(code="few-cases", severity="warning", what=what, remedy="add cases or join classes")]


def _and(words: Sequence[str]) -> str:
    shown = list(words[:_NAMED])
    more = len(words) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
