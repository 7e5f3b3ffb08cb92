"""Copies: cases with exactly the same pixels, and cases that show the same thing after an edit.

Near-duplicates are proposed by the perceptual hash and confirmed by the distance of the small views: with what all
images of the set have in common taken off, the views of an image and of its edited copy still agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.dataset import Dataset
from osler.datasets.duplicates import CLOSE, close_pairs, linked
from osler.datasets.facts import CaseFacts
from osler.datasets.manifest import Record
from osler.datasets.problem import Code, Problem, Severity
from osler.studies.geometry import Array

__all__ = ["Duplicates", "check", "find_duplicates", "near_duplicates"]

_LOOSE = 64
"""Bits of 255 up to which a pair is looked at more closely."""
_SAME = 0.6
"""Agreement of the views from which a pair within ``CLOSE`` bits is a copy."""
_SURE = 0.9
"""Agreement from which a pair within ``_LOOSE`` bits is one."""
_COMMON = 50
"""Cases from which what they have in common is known well enough to be taken off."""
_SHIFT = 2


class Duplicates(BaseModel):
    """Cases with exactly the same pixels. ``across`` when they lie on several sides of a given split."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cases: tuple[str, ...]
    splits: tuple[str, ...]
    across: bool
    answers_differ: bool
    patients_differ: bool


def find_duplicates(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[Duplicates, ...]:
    """Groups of cases with one digest."""
    groups: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if fact.digest:
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
    shapes: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        shapes[evidence.seen[name].view.shape].append(place)
    pairs = [pair for members in shapes.values() for pair in _confirmed(evidence, names, members)]
    groups = [group for group in linked(len(names), pairs) if len(group) > 1]
    digests = {fact.name: fact.digest for fact in evidence.facts}
    found = [
        _group([evidence.records[names[place]] for place in group])
        for group in groups
        if len({digests[names[place]] for place in group}) > 1
    ]
    # Neighbouring slices of one patient look alike, and a split keeps them together anyway.
    known = evidence.dataset.manifest.patients != "unknown"
    return tuple(group for group in found if not known or group.patients_differ)


def _confirmed(evidence: Evidence, names: Sequence[str], members: Sequence[int]) -> list[tuple[int, int]]:
    by_length: dict[int, list[int]] = defaultdict(list)
    codes = [evidence.seen[name].code for name in names]
    for place in members:
        by_length[len(codes[place])].append(place)
    views = {place: _own(view) for place, view in zip(members, _without_common(evidence, names, members), strict=True)}
    found = []
    for same in by_length.values():
        for one, other, bits in close_pairs(codes, same, _LOOSE):
            agreement = _agreement(views[one], views[other])
            if agreement >= (_SAME if bits <= CLOSE else _SURE):
                found.append((one, other))
    return found


def _without_common(evidence: Evidence, names: Sequence[str], members: Sequence[int]) -> Array:
    """(M, s, s[, s]) views less the mean of the set, where there are enough to know it."""
    views = np.stack([evidence.seen[names[place]].view for place in members]).astype(np.float32)
    return views - views.mean(axis=0) if len(views) >= _COMMON else views


def _own(view: Array) -> Array:
    centred = view - view.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6))


def _agreement(one: Array, other: Array) -> float:
    """The highest correlation of two views under shifts of up to 2 pixels."""
    best = float((one * other).sum())
    if best >= _SURE:
        return best
    reach = range(-_SHIFT, _SHIFT + 1)
    for across in reach:
        for down in reach:
            a = one[_part(across), _part(down)] if one.ndim == 2 else one[_part(across), _part(down), :]
            b = other[_part(-across), _part(-down)] if one.ndim == 2 else other[_part(-across), _part(-down), :]
            best = max(best, _correlation(a, b))
    return best


def _part(shift: int) -> slice:
    return slice(max(0, shift), None) if shift >= 0 else slice(0, shift)


def _correlation(one: Array, other: Array) -> float:
    a, b = one - one.mean(), other - other.mean()
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))


def _group(records: Sequence[Record]) -> Duplicates:
    splits = sorted({record.split or "" for record in records} - {""})
    return Duplicates(
        cases=tuple(record.name for record in records),
        splits=tuple(splits),
        across=len(splits) > 1,
        answers_differ=len({record.target for record in records}) > 1,
        patients_differ=len({record.patient for record in records}) > 1,
    )


_KINDS: dict[str, tuple[Severity, str, str]] = {
    "across": (
        "error",
        "on both sides of the given split ({}), so scores will look too good",
        "remove the copies from training",
    ),
    "answers": ("warning", "with different answers ({})", "decide which answer is right"),
    "patients": ("warning", "under different patients ({}), which a split may tear apart", "find out whose they are"),
    "within": ("note", "on one side ({})", "nothing: copies stay together when cases are split"),
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
            text = f"{what_within if kind == 'within' else what} {sentence.format(_counted(len(found)))}"
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
