"""``find_problems``: what is wrong with a dataset, each with the cases that it concerns and what to do."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts, FaultKind
from osler.datasets.manifest import Record

__all__ = ["Duplicates", "Problem", "count_labels", "find_duplicates", "find_problems"]

Severity = Literal["error", "warning", "note"]
_FEW = 10
"""Cases of a class below which nothing can be said about how well it is recognised."""
_FAULTS: dict[FaultKind, tuple[Severity, str, str]] = {
    "missing channel": ("error", "an image of the study is missing", "add it or leave out the case"),
    "blank": ("error", "blank, one value everywhere", "leave them out"),
    "not finite": ("error", "NaN or infinite values", "repair or leave them out"),
    "channels": ("error", "neither grey nor RGB", "save them as grey or RGB"),
    "grid": ("error", "mask or channel on another grid", "export it on the grid of the image"),
    "values": (
        "error",
        "values in the mask that are no label",
        "add the labels to the data set or repair the mask",
    ),
    "empty": ("note", "empty mask", "nothing, if the structure is really absent"),
}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(_Frozen):
    """``error``: cases are refused or figures would be untrue. ``warning``: figures will be weak. ``note``: fine.

    ``details`` says more about single cases, by name.
    """

    severity: Severity
    what: str
    cases: tuple[str, ...] = ()
    remedy: str = ""
    details: dict[str, str] = {}


class Duplicates(_Frozen):
    """Cases with exactly the same pixels. ``across`` when they lie on several sides of a given split."""

    cases: tuple[str, ...]
    splits: tuple[str, ...]
    across: bool
    answers_differ: bool
    patients_differ: bool


def find_problems(dataset: Dataset, facts: Sequence[CaseFacts], unreadable: Mapping[str, str]) -> tuple[Problem, ...]:
    """Everything that is wrong, errors first; a pure function.

    Args:
        dataset: the records with their answers and splits.
        facts: of the cases that could be read; duplicates are found among those with a digest.
        unreadable: reason by name of the others.
    """
    problems: list[Problem] = []
    if unreadable:
        problems.append(
            _problem("error", "cannot be read", unreadable, "export or copy them again", details=dict(unreadable))
        )
    problems += _faults(facts)
    problems += _mixtures(facts)
    problems += _duplicates(find_duplicates(dataset, facts))
    problems += _patients(dataset)
    problems += _answers(dataset, facts)
    ranks = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(problems, key=lambda p: ranks[p.severity]))


def find_duplicates(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[Duplicates, ...]:
    """Groups of cases with one digest."""
    groups: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        if fact.digest:
            groups[fact.digest].append(fact.name)
    records = {record.name: record for record in dataset.records}
    return tuple(_group([records[name] for name in names]) for names in groups.values() if len(names) > 1)


def count_labels(dataset: Dataset, records: Iterable[Record], facts: Mapping[str, CaseFacts]) -> dict[str, int]:
    """Cases per label; for masks, in how many of those that were read it occurs. Empty for a number."""
    labels = dataset.labels.labels
    counts = [0] * len(labels)
    for record in records:
        fact = facts.get(record.name)
        for place, label in enumerate(labels):
            if dataset.labels.kind == "mask":
                counts[place] += fact is not None and label.value in fact.extents
            elif isinstance(record.target, tuple):
                counts[place] += record.target[place] == 1
            else:
                counts[place] += record.target == place
    return dict(zip(dataset.labels.names, counts, strict=True))


def _group(records: Sequence[Record]) -> Duplicates:
    splits = sorted({record.split or "" for record in records} - {""})
    return Duplicates(
        cases=tuple(record.name for record in records),
        splits=tuple(splits),
        across=len(splits) > 1,
        answers_differ=len({record.target for record in records}) > 1,
        patients_differ=len({record.patient for record in records}) > 1,
    )


def _problem(
    severity: Severity, what: str, cases: Iterable[str], remedy: str, *, details: dict[str, str] | None = None
) -> Problem:
    names = tuple(cases)
    return Problem(
        severity=severity,
        what=f"{len(names)} {'case' if len(names) == 1 else 'cases'}: {what}",
        cases=names,
        remedy=remedy,
        details=details or {},
    )


def _faults(facts: Sequence[CaseFacts]) -> list[Problem]:
    problems = []
    for kind, (severity, what, remedy) in _FAULTS.items():
        found: dict[str, str] = {}
        for fact in facts:
            texts = [fault.text for fault in fact.faults if fault.kind == kind]
            found |= {fact.name: "; ".join(texts)} if texts else {}
        if found:
            problems.append(_problem(severity, what, found, remedy, details=found if kind != "empty" else {}))
    return problems


def _mixtures(facts: Sequence[CaseFacts]) -> list[Problem]:
    """Cases that are unlike most."""
    problems = []
    dimensions = Counter(len(fact.shape) for fact in facts)
    if len(dimensions) > 1:
        usual = dimensions.most_common(1)[0][0]
        odd = [fact.name for fact in facts if len(fact.shape) != usual]
        problems.append(_problem("error", f"not {usual}D as the others", odd, "put them into a data set of their own"))
    pixels = [fact.name for fact in facts if not fact.spacing_known]
    if 0 < len(pixels) < len(facts):
        what = "no spacing while others have one"
        problems.append(_problem("error", what, pixels, "export them with their header"))
    modalities = Counter(fact.modality for fact in facts if fact.modality)
    if len(modalities) > 1:
        usual_modality = modalities.most_common(1)[0][0]
        odd = [fact.name for fact in facts if fact.modality not in ("", usual_modality)]
        what = f"not of modality {usual_modality} as the others"
        problems.append(_problem("warning", what, odd, "check that they belong here"))
    return problems


def _duplicates(groups: Sequence[Duplicates]) -> list[Problem]:
    def cases(chosen: list[Duplicates]) -> list[str]:
        return [name for group in chosen for name in group.cases]

    across = [group for group in groups if group.across]
    differing = [group for group in groups if group.answers_differ]
    torn = [group for group in groups if group.patients_differ and not group.splits]
    within = [group for group in groups if not (group.across or group.answers_differ or group in torn)]
    problems = []
    if across:
        what = f"the same pixels on both sides of the given split ({len(across)} groups), so scores will look too good"
        problems.append(_problem("error", what, cases(across), "remove the copies from training"))
    if differing:
        what = f"the same pixels with different answers ({len(differing)} groups)"
        problems.append(_problem("warning", what, cases(differing), "decide which answer is right"))
    if torn:
        what = f"the same pixels under different patients ({len(torn)} groups), which a split may tear apart"
        problems.append(_problem("warning", what, cases(torn), "find out whose they are"))
    if within:
        what = f"exact copies of one another on one side ({len(within)} groups)"
        problems.append(_problem("note", what, cases(within), "nothing: copies stay together when cases are split"))
    return problems


def _patients(dataset: Dataset) -> list[Problem]:
    manifest = dataset.manifest
    sides: dict[str, set[str]] = defaultdict(set)
    for record in dataset.records:
        if record.patient is not None and record.split is not None:
            sides[record.patient].add(record.split)
    torn = {patient for patient, splits in sides.items() if len(splits) > 1}
    problems = []
    if torn:
        cases = [record.name for record in dataset.records if record.patient in torn]
        what = f"of {len(torn)} patients who are on both sides of the given split, so scores will look too good"
        problems.append(_problem("error", what, cases, "split by patient"))
    if manifest.patients == "unknown":
        what = "nothing says which images are of one patient, so figures will be by image"
        remedy = "if a patient has several images, give --patient REGEX, which finds the patient in each name"
        problems.append(Problem(severity="warning", what=what, remedy=remedy))
    elif manifest.patients == "pattern" and manifest.proposed_pattern:
        patients = len({record.patient for record in dataset.records})
        what = f"{patients} patients were taken from the names by {manifest.proposed_pattern!r}"
        problems.append(Problem(severity="note", what=what, remedy="check it; --patient REGEX says it otherwise"))
    return problems


def _answers(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Problem]:
    problems = []
    silent = [record.name for record in dataset.records if not record.answered]
    if silent:
        problems.append(_problem("warning", "no answer", silent, "they are not used; add their answers"))
    training = [record for record in dataset.records if record.split in (None, "train")]
    counts = count_labels(dataset, training, {fact.name: fact for fact in facts})
    few = {name: count for name, count in counts.items() if count < _FEW}
    if few:
        listed = ", ".join(f"{name} ({count})" for name, count in few.items())
        what = f"fewer than {_FEW} training cases show {listed}"
        problems.append(Problem(severity="warning", what=what, remedy="add cases or join classes"))
    return problems
