"""``clean``: the records of a dataset that can be relied on, and the reason for each that is left out or changed.

Only what a detector marks as safe to leave out (``Problem.leave_out``) goes; of a patient on several sides of a given
split the cases that are not measured go. Images that belong together are put under one patient where patients are
known. Nothing is repaired by guess: a wrong orientation, an unknown spacing or a contradicting answer stays, and so
does an answer that a model finds improbable (the model may be the one that is wrong, and a set without its hard cases
flatters every figure). ``Cleaned.reviews`` lists these for a person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import Record, Split
from osler.datasets.problem import Code, Problem
from osler.errors import TooFew

__all__ = ["Change", "Cleaned", "Exclusion", "Review", "clean"]

_NAMED = 3
_IN_DOUBT: tuple[Code, ...] = ("label-error", "copies-answers", "near-answers", "mask-shifted", "modality")
"""Warnings that an answer, or that a case is there at all, may be wrong."""
_SETTLED: tuple[Code, ...] = ("copies-across", "patient-across")
"""Errors of which nothing is left when ``Problem.leave_out`` is gone, though some of their cases stay."""
_SAME_PERSON: tuple[Code, ...] = ("copies-patients", "copies-within", "near-patients", "near-within")


@dataclass(frozen=True)
class Exclusion:
    """A case that is left out: the problem's code and why, one entry per reason."""

    case: str
    code: Code
    reason: str


@dataclass(frozen=True)
class Review:
    """A case that is kept and needs a person's decision: the problem's code, what is wrong and what to do."""

    case: str
    code: Code
    reason: str
    remedy: str


@dataclass(frozen=True)
class Change:
    """A cell of a record that was changed."""

    case: str
    column: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class Cleaned:
    """The dataset with what is left, and all that was done to get there."""

    dataset: Dataset
    exclusions: tuple[Exclusion, ...]
    changes: tuple[Change, ...]
    reviews: tuple[Review, ...] = ()


def clean(dataset: Dataset, problems: Sequence[Problem]) -> Cleaned:
    """Leave out and put together what the problems say; a pure function.

    Args:
        dataset: as it is.
        problems: what was found in it.

    Raises:
        TooFew: when no case is left.
    """
    exclusions = _exclusions(problems, {record.name: record.split for record in dataset.records})
    gone = {exclusion.case for exclusion in exclusions}
    kept = [record for record in dataset.records if record.name not in gone]
    if not kept:
        raise TooFew(
            f"none of the {len(dataset)} cases is left when all that have errors are excluded",
            remedy="repair the data at its source; osler inspect says what is wrong with each case",
        )
    records, changes = _one_patient(kept, problems)
    records, more = _whole_splits(records)
    return Cleaned(dataset.with_records(tuple(records)), tuple(exclusions), (*changes, *more), _reviews(problems, gone))


def _exclusions(problems: Sequence[Problem], splits: Mapping[str, Split | None]) -> list[Exclusion]:
    found = []
    for problem in problems:
        out = problem.leave_out
        if problem.code == "patient-across":
            out = tuple(name for group in problem.groups for name in _beside_the_measured(group, splits))
        found += [Exclusion(name, problem.code, reason) for name, reason in _reasons(problem, out)]
    return found


def _reasons(problem: Problem, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Of each case what is wrong, and what is special about it or with which others."""
    together = {name: group for group in problem.groups for name in group}
    what = problem.what.partition(": ")[2] or problem.what
    for name in names:
        others = [other for other in together.get(name, ()) if other != name][:_NAMED]
        detail = problem.details.get(name) or (f"with {', '.join(others)}" if others else "")
        yield name, f"{what} ({detail.rstrip('.')})" if detail else what


def _reviews(problems: Sequence[Problem], gone: Collection[str]) -> tuple[Review, ...]:
    """Of errors and doubtful answers the cases that are kept."""
    open_ones = [p for p in problems if (p.severity == "error" and p.code not in _SETTLED) or p.code in _IN_DOUBT]
    return tuple(
        Review(name, problem.code, reason, problem.remedy)
        for problem in open_ones
        for name, reason in _reasons(problem, (name for name in problem.cases if name not in gone))
    )


def _beside_the_measured(group: Sequence[str], splits: Mapping[str, Split | None]) -> list[str]:
    """Of one patient's cases on several sides: all but those of the test set, or of validation where none is there."""
    sides = {splits[name] for name in group}
    kept = "test" if "test" in sides else "validation"
    return [name for name in group if splits[name] != kept]


def _one_patient(records: Sequence[Record], problems: Sequence[Problem]) -> tuple[list[Record], list[Change]]:
    """Give the patients of images that show the same thing one name: that of the first of them.

    Where patients are unknown nothing is written: a name would claim that they are known, and near-duplicates are kept
    together anyway when the cases are split.
    """
    by_name = {record.name: record for record in records}
    parent: dict[str, str] = {}

    def root(patient: str) -> str:
        while (above := parent.get(patient, patient)) != patient:
            patient = above
        return patient

    for problem in problems:
        for group in problem.groups if problem.code in _SAME_PERSON else ():
            patients = [patient for name in group if name in by_name and (patient := by_name[name].patient)]
            for other in patients[1:]:
                if root(other) != root(patients[0]):
                    parent[root(other)] = root(patients[0])
    return _renamed(records, {record.patient: root(record.patient) for record in records if record.patient})


def _renamed(records: Sequence[Record], names: Mapping[str | None, str]) -> tuple[list[Record], list[Change]]:
    renamed, changes = [], []
    for record in records:
        name = names.get(record.patient, record.patient)
        if name != record.patient:
            reason = "an image of this patient shows the same as one of the other, so both stay on one side of a split"
            changes.append(Change(record.name, "patient", record.patient or "", name or "", reason))
        renamed.append(record.model_copy(update={"patient": name}))
    return renamed, changes


def _whole_splits(records: Sequence[Record]) -> tuple[list[Record], list[Change]]:
    """A manifest gives every case a split or none: cases without one are for training, as in a run."""
    if all(record.split is None for record in records):
        return list(records), []
    reason = "other cases have a split, and a case without one is used for training"
    changes = [Change(r.name, "split", "", "train", reason) for r in records if r.split is None]
    return [r if r.split else r.model_copy(update={"split": "train"}) for r in records], changes
