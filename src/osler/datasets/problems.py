"""``find_problems``: what is wrong with a dataset, each with the cases that it concerns and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from osler.datasets.checks import CHECKS
from osler.datasets.checks.copies import Duplicates, find_duplicates
from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.checks.mixtures import count_labels
from osler.datasets.checks.quality import QualityReport, rank_quality
from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.datasets.manifest import Flaw
from osler.datasets.problem import CODES, Box, Code, Problem, Severity

__all__ = [
    "Box",
    "Code",
    "Duplicates",
    "Evidence",
    "Problem",
    "QualityReport",
    "Severity",
    "count_labels",
    "find_duplicates",
    "find_problems",
    "rank_problems",
    "rank_quality",
]


def find_problems(
    dataset: Dataset,
    facts: Sequence[CaseFacts],
    unreadable: Mapping[str, str],
    *,
    kinds: Mapping[str, str] | None = None,
) -> tuple[Problem, ...]:
    """Everything that is wrong, errors first; a pure function.

    Args:
        dataset: the records with their answers and splits.
        facts: of the cases that could be read; what needs a digest or an observation is looked for among those that
            have one.
        unreadable: reason by name of the others.
        kinds: of those, the name of the error's class, where it is known.
    """
    evidence = Evidence(dataset, tuple(facts), dict(unreadable), dict(kinds or {}))
    notes = [Problem(code="layout", severity="note", what=note) for note in dataset.manifest.notes]
    return rank_problems(
        [
            *notes,
            *map(_problem_of_flaw, dataset.manifest.flaws),
            *(problem for check in CHECKS for problem in check(evidence)),
        ]
    )


def _problem_of_flaw(flaw: Flaw) -> Problem:
    if not flaw.cases:
        return Problem(code="incomplete", severity="error", what=flaw.what, remedy=flaw.remedy)
    return problem_of("incomplete", "error", flaw.what, flaw.cases, flaw.remedy, leave_out=flaw.cases)


def rank_problems(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Errors first, and within one severity in the order of ``CODES``."""
    ranks = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(problems, key=lambda p: (ranks[p.severity], CODES.index(p.code))))
