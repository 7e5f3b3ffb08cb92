"""``Evidence``: everything that the checks of a dataset look at, and how each of them words what it finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.datasets.manifest import Record
from osler.datasets.observations import Observation
from osler.datasets.problem import Code, Problem, Severity, counted

__all__ = ["Evidence", "problem_of"]


@dataclass(frozen=True)
class Evidence:
    """A dataset and what was seen of its cases.

    Args:
        dataset: the records with their answers and splits.
        facts: of the cases that could be read.
        unreadable: the reason by name of the others.
        kinds: of those, the class of the error ("Unreadable", "GeometryError" ...), where it is known.
    """

    dataset: Dataset
    facts: Sequence[CaseFacts]
    unreadable: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def records(self) -> dict[str, Record]:
        """Every record by its name."""
        return {record.name: record for record in self.dataset.records}

    @cached_property
    def seen(self) -> dict[str, Observation]:
        """What was observed, by name, in the order of the facts."""
        return {fact.name: fact.observation for fact in self.facts if fact.observation is not None}

    @cached_property
    def facts_of(self) -> dict[str, CaseFacts]:
        """The facts by name."""
        return {fact.name: fact for fact in self.facts}


def problem_of(
    code: Code,
    severity: Severity,
    what: str,
    cases: Iterable[str],
    remedy: str,
    *,
    details: Mapping[str, str] | None = None,
    leave_out: Iterable[str] = (),
    groups: Iterable[tuple[str, ...]] = (),
    scores: Mapping[str, float] | None = None,
) -> Problem:
    """A problem of some cases: "3 cases: " goes before ``what``; those with the highest score come first."""
    names = tuple(cases)
    if scores:
        names = tuple(sorted(names, key=lambda name: -scores.get(name, 0.0)))
    return Problem(
        code=code,
        severity=severity,
        what=f"{counted(len(names))}: {what}",
        cases=names,
        remedy=remedy,
        details=dict(details or {}),
        groups=tuple(groups),
        leave_out=tuple(leave_out),
        scores=dict(scores or {}),
    )
