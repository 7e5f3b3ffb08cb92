"""Copies: cases with exactly the same pixels, and cases that show the same thing after an edit.

How near-duplicates are told from images that merely look alike is in ``near``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.checks.near import near_pairs
from osler.datasets.dataset import Dataset
from osler.datasets.duplicates import linked
from osler.datasets.facts import CaseFacts
from osler.datasets.manifest import Record
from osler.datasets.problem import Code, Problem, Severity

__all__ = ["Duplicates", "check", "find_duplicates", "near_duplicates"]


class Duplicates(BaseModel):
    """Cases with exactly the same pixels. ``across`` when they lie on several sides of a given split."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cases: tuple[str, ...]
    splits: tuple[str, ...]
    across: bool
    answers_differ: bool
    patients_differ: bool


def find_duplicates(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[Duplicates, ...]:
    """Groups of cases with one digest; blank images are not copies of one another."""
    groups: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if fact.digest and all(fault.kind != "blank" for fault in fact.faults):
            groups[fact.digest].append(fact.name)
    records = {record.name: record for record in dataset.records}
    return tuple(_group([records[name] for name in names]) for names in groups.values() if len(names) > 1)


def check(evidence: Evidence) -> list[Problem]:
    """Exact copies and near-duplicates: across a given split, with different answers, of different patients, others."""
    exact = find_duplicates(evidence.dataset, evidence.facts)
    near = near_duplicates(evidence)
    return [*_problems(evidence, exact, exact=True), *_problems(evidence, near, exact=False)]


def near_duplicates(evidence: Evidence) -> tuple[Duplicates, ...]:
    """Groups of cases that show the same thing, of which not all have the same pixels."""
    names = list(evidence.seen)
    groups = [group for group in linked(len(names), near_pairs(evidence, names)) if len(group) > 1]
    digests = {fact.name: fact.digest for fact in evidence.facts}
    return tuple(
        _group([evidence.records[names[place]] for place in group])
        for group in groups
        if len({digests[names[place]] for place in group}) > 1
    )


def _group(records: Sequence[Record]) -> Duplicates:
    splits = sorted({record.split or "" for record in records} - {""})
    return Duplicates(
        cases=tuple(record.name for record in records),
        splits=tuple(splits),
        across=len(splits) > 1,
        answers_differ=len({record.target for record in records}) > 1,
        patients_differ=len({record.patient for record in records} - {None}) > 1,
    )


_KINDS: dict[str, tuple[Severity, str, str]] = {
    "across": (
        "error",
        "on both sides of the given split ({}), so scores will look too good",
        "remove the copies from training",
    ),
    "answers": ("warning", "with different answers ({})", "decide which answer is right"),
    "patients": ("warning", "under different patients ({}), which a split may tear apart", "find out whose they are"),
    "within": ("note", "({})", "nothing: copies stay together when cases are split"),
}


def _problems(evidence: Evidence, groups: Sequence[Duplicates], *, exact: bool) -> list[Problem]:
    chosen: dict[str, list[Duplicates]] = {"across": [], "answers": [], "patients": [], "within": []}
    for group in groups:
        torn = group.patients_differ and not group.splits
        if group.across:
            chosen["across"].append(group)
        if group.answers_differ:
            chosen["answers"].append(group)
        if torn:
            chosen["patients"].append(group)
        if not (group.across or group.answers_differ or torn):
            chosen["within"].append(group)
    what = "the same pixels" if exact else "nearly the same image"
    what_within = "exact copies of one another" if exact else "near-duplicates of one another"
    problems = []
    for kind, found in chosen.items():
        if found:
            severity, sentence, remedy = _KINDS[kind]
            one_side = "on one side of the given split " if kind == "within" and any(g.splits for g in found) else ""
            text = f"{what_within if kind == 'within' else what} {one_side}{sentence.format(_counted(len(found)))}"
            code: Code = _CODES[exact, kind]
            if not exact and severity == "error":
                severity = "warning"
            cases = [name for group in found for name in group.cases]
            leave_out = [name for group in found for name in _superfluous(evidence, group, kind)]
            sets = [group.cases for group in found]
            problems.append(problem_of(code, severity, text, cases, remedy, groups=sets, leave_out=leave_out))
    return problems


_CODES: dict[tuple[bool, str], Code] = {
    (True, "across"): "copies-across",
    (True, "answers"): "copies-answers",
    (True, "patients"): "copies-patients",
    (True, "within"): "copies-within",
    (False, "across"): "near-across",
    (False, "answers"): "near-answers",
    (False, "patients"): "near-patients",
    (False, "within"): "near-within",
}


def _counted(groups: int) -> str:
    return f"{groups} group{'' if groups == 1 else 's'}"


def _superfluous(evidence: Evidence, group: Duplicates, kind: str) -> list[str]:
    """Across a split: those that are not on the side that is measured. Other copies stay: they do no harm together."""
    if kind != "across":
        return []
    kept = "test" if "test" in group.splits else "validation"
    return [name for name in group.cases if evidence.records[name].split != kept]
