"""``Cohort``: whose cases were evaluated, and by which columns they are split into subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.assurance.results import CaseRow, PatientRow, SplitBy
from osler.errors import UsageError
from osler.studies.geometry import Array

__all__ = ["SMALLEST_GROUP", "Cohort", "make_cohort", "patient_rows", "subgroups_of"]

SMALLEST_GROUP = 5  # patients; below, a subgroup is shown without an interval
_MOST_VALUES = 12  # of a column that is shown value by value
_NOT_GIVEN = "(not given)"


@dataclass(frozen=True)
class Cohort:
    """N cases. ``groups`` are what is resampled: the patient, or the case itself where the patient is unknown.

    ``resampled_by`` names them: "image" where patients are unknown.
    """

    names: tuple[str, ...]
    patients: tuple[str | None, ...]
    groups: tuple[str, ...]
    split_by: SplitBy
    columns: tuple[Mapping[str, str], ...]
    resampled_by: Literal["patient", "image"]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def group_count(self) -> int:
        """How many patients (images where patients are unknown)."""
        return len(set(self.groups))

    def take(self, cases: Array) -> Cohort:
        """The same for the cases with True in (N,)."""
        index = np.flatnonzero(cases)
        return Cohort(
            tuple(self.names[i] for i in index),
            tuple(self.patients[i] for i in index),
            tuple(self.groups[i] for i in index),
            self.split_by,
            tuple(self.columns[i] for i in index),
            self.resampled_by,
        )


def make_cohort(
    names: Sequence[str],
    patients: Sequence[str | None],
    columns: Sequence[Mapping[str, str]] | None,
    *,
    split_by: SplitBy | None = None,
) -> Cohort:
    """Check the lists against each other.

    Args:
        names: (N,) of the cases.
        patients: (N,), None where unknown.
        columns: (N,) further manifest columns of each case; None for none.
        split_by: how the data were split; by default "patient" when every patient is known, else "image". "given" says
            that the split came with the data, whether or not patients are known.

    Raises:
        UsageError: without cases, or when the lists differ in length.
    """
    rows: Sequence[Mapping[str, str]] = [{} for _ in names] if columns is None else columns
    if not len(names) or len({len(names), len(patients), len(rows)}) > 1:
        raise UsageError(
            f"{len(names)} names, {len(patients)} patients and {len(rows)} rows of columns do not fit",
            remedy="give one of each for every case, and at least one case",
        )
    groups = tuple(f"case {i}" if p is None else f"patient {p}" for i, p in enumerate(patients))
    unit: Literal["patient", "image"] = "patient" if all(p is not None for p in patients) else "image"
    if split_by in ("patient", "image"):
        unit = split_by
    return Cohort(tuple(names), tuple(patients), groups, split_by or unit, tuple(rows), unit)


def subgroups_of(cohort: Cohort) -> tuple[dict[str, dict[str, Array]], list[str]]:
    """The cases of each value of each column, as (N,) bool, and notes about columns that were left out.

    A column of numbers with more than 12 different values is cut into thirds; one of words is left out. A column with
    one value has no subgroups.
    """
    found: dict[str, dict[str, Array]] = {}
    notes = []
    for column in dict.fromkeys(key for row in cohort.columns for key in row):
        values = [row.get(column, "").strip() or _NOT_GIVEN for row in cohort.columns]
        groups = _groups(values)
        if groups is None:
            notes.append(f"Column “{column}” has {len(set(values))} different values and is not shown by subgroup.")
        elif len(groups) > 1:
            found[column] = groups
    return found, notes


def _groups(values: list[str]) -> dict[str, Array] | None:
    distinct = sorted(set(values), key=_natural)
    column = np.array(values)
    if len(distinct) <= _MOST_VALUES:
        return {value: column == value for value in distinct}
    numbers = np.array([_number(value) for value in values])
    given = column != _NOT_GIVEN
    if np.isnan(numbers[given]).any():
        return None
    low, high = np.percentile(numbers[given], [100 / 3, 200 / 3])
    thirds = {f"≤ {low:g}": numbers <= low, f"{low:g} to {high:g}": (numbers > low) & (numbers <= high)}
    thirds |= {f"> {high:g}": numbers > high, _NOT_GIVEN: ~given}
    return {name: cases for name, cases in thirds.items() if cases.any()}


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _natural(value: str) -> tuple[bool, bool, float, str]:
    number = _number(value)
    return (value == _NOT_GIVEN, np.isnan(number), 0.0 if np.isnan(number) else number, value)


def patient_rows(cohort: Cohort, rows: Sequence[CaseRow], *, worst_is_low: bool) -> tuple[PatientRow, ...]:
    """The mean score of each patient, worst first; nothing where no patient has two cases or patients are unknown."""
    by_patient: dict[str, list[float | None]] = {}
    for patient, row in zip(cohort.patients, rows, strict=True):
        if patient is not None:
            by_patient.setdefault(patient, []).append(row.score)
    if all(len(scores) < 2 for scores in by_patient.values()):
        return ()
    found = []
    for patient, scores in by_patient.items():
        known = [s for s in scores if s is not None]
        mean = float(np.mean(known)) if known else None
        found.append(PatientRow(patient=patient, cases=len(scores), score=mean))
    sign = 1 if worst_is_low else -1
    return tuple(sorted(found, key=lambda row: (row.score is None, sign * (row.score or 0.0), row.patient)))
