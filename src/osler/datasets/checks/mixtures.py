"""What does not go together in one dataset: dimensions, spacings, modalities; patients, answers and splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.datasets.manifest import Record
from osler.datasets.problem import Problem

__all__ = ["check", "count_labels"]

_TABLES = ("csv", "parquet")
"""Layouts in which a person says whose images are, whatever the headers do."""
_FEW = 10
"""Cases of a class below which nothing can be said about how well it is recognised."""
_NO_PLACE = "ImagePositionPatient"
"""In the notes of a DICOM slice that does not say where it lies."""
_CLEARLY = 0.75
"""Share of the cases that must have something in common before the others are said to lack it."""


def check(evidence: Evidence) -> list[Problem]:
    """Cases that are unlike most in kind; patients on both sides; answers that are missing or few."""
    return [*_kinds(evidence), *_modalities(evidence), *_patients(evidence), *_answers(evidence)]


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


def _kinds(evidence: Evidence) -> list[Problem]:
    problems = []
    facts = evidence.facts
    dimensions = Counter(len(fact.shape) for fact in facts)
    if len(dimensions) > 1:
        usual = dimensions.most_common(1)[0][0]
        odd = [fact.name for fact in facts if len(fact.shape) != usual]
        remedy = "put them into a data set of their own"
        clear = len(odd) <= (1 - _CLEARLY) * len(facts)  # a run uses those of the usual kind only
        gone = odd if clear else ()
        what = f"not {usual}D as the others" if clear else f"not {usual}D as most others"
        why = {f.name: note for f in facts if f.name in odd for note in f.notes if _NO_PLACE in note}
        if len(why) == len(odd):
            what, remedy = f"{what}: their slices do not say where they lie", "export them with their whole header"
        problems.append(problem_of("dimensions", "error", what, odd, remedy, details=why, leave_out=gone))
    pixels = [fact.name for fact in facts if not fact.spacing_known]
    if 0 < len(pixels) < len(facts):
        what, remedy = "no spacing while others have one", "export them with their header"
        problems.append(problem_of("no-spacing", "error", what, pixels, remedy))
    return problems


def _modalities(evidence: Evidence) -> list[Problem]:
    """By what each file says of itself; where the dataset has a word of its own, against that.

    Which of several is wrong is only said where nearly all cases agree; a person decides what goes.
    """
    said = {f.name: f.modality for f in evidence.facts if f.modality}
    said |= {name: o.tags["modality"] for name, o in evidence.seen.items() if "modality" in o.tags}
    counts = Counter(said.values()).most_common()
    usual = evidence.dataset.manifest.modality
    if not usual and counts and counts[0][1] >= _CLEARLY * len(evidence.facts):
        usual = counts[0][0]
    odd = {name: f"its header says {modality}" for name, modality in said.items() if modality != usual}
    if not odd or (not usual and len(counts) == 1):
        return []
    if usual:
        what = f"not of modality {usual} as the others"
    else:
        silent = len(evidence.facts) - len(said)
        listed = ", ".join(f"{modality} {count}" for modality, count in counts)
        what = f"of several modalities ({listed}" + (f"; {silent} do not say)" if silent else ")")
    return [problem_of("modality", "warning", what, odd, "check that they belong together", details=odd)]


def _patients(evidence: Evidence) -> list[Problem]:
    manifest = evidence.dataset.manifest
    problems = []
    told = {record.name: record.patient for record in evidence.dataset.records if record.patient is not None}
    problems += _torn(evidence, told, "patients")
    tagged = {name: o.tags["patient"] for name, o in evidence.seen.items() if "patient" in o.tags}
    problems += _sharing(evidence)
    if manifest.patients == "unknown":
        problems += _torn(evidence, tagged, "patients by their DICOM headers")
        what = "nothing says which images are of one patient, so figures will be by image"
        remedy = "if a patient has several images, give --patient REGEX, which finds the patient in each name"
        problems.append(Problem(code="patients-unknown", severity="warning", what=what, remedy=remedy))
    elif manifest.patients == "given":
        problems += _nameless(evidence)
    elif manifest.patients == "pattern" and manifest.proposed_pattern:
        patients = len({record.patient for record in evidence.dataset.records})
        what = f"{patients} patients were taken from the names by {manifest.proposed_pattern!r}"
        remedy = "check it; --patient REGEX says it otherwise"
        problems.append(Problem(code="patients-pattern", severity="note", what=what, remedy=remedy))
    return problems


def _sharing(evidence: Evidence) -> list[Problem]:
    """Series of several patients under one UID, which was meant to be the only one of its kind in the world."""
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name, seen in evidence.seen.items():
        if {"patient", "series"} <= seen.tags.keys():
            groups[seen.tags["series"]][name] = seen.tags["patient"]
    shared = [tuple(group) for group in groups.values() if len(set(group.values())) > 1]
    if not shared:
        return []
    what = "under one SeriesInstanceUID with another patient's: one of the two PatientIDs may be wrong"
    remedy = "find out whose images these are"
    cases = [name for group in shared for name in group]
    return [problem_of("patients-share", "warning", what, cases, remedy, groups=shared)]


def _nameless(evidence: Evidence) -> list[Problem]:
    """Where others have one, images without a patient, and those of which only a name tells whose they are."""
    found = {record.name: "nothing says whose it is" for record in evidence.dataset if record.patient is None}
    tags = {name: o.tags for name, o in evidence.seen.items() if "modality" in o.tags}
    if evidence.dataset.manifest.layout not in _TABLES and any("patient" in one for one in tags.values()):
        lacking = (name for name, one in tags.items() if "patient" not in one and name not in found)
        found |= {name: "its PatientID is empty, and its patient is taken from the PatientName" for name in lacking}
    if not found:
        return []
    what = "without a PatientID: an image can fall on another side of a split than its own patient"
    remedy = "repair the headers, or give --patient REGEX, which finds the patient in each name"
    return [problem_of("patients-some", "warning", what, found, remedy, details=found)]


def _torn(evidence: Evidence, patients: Mapping[str, str], who: str) -> list[Problem]:
    sides: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, list[str]] = defaultdict(list)
    for name, patient in patients.items():
        split = evidence.records[name].split
        if split is not None:
            sides[patient].add(split)
            groups[patient].append(name)
    torn = [tuple(groups[patient]) for patient, splits in sides.items() if len(splits) > 1]
    if not torn:
        return []
    cases = [name for group in torn for name in group]
    what = f"of {len(torn)} {who} who are on both sides of the given split, so scores will look too good"
    trained = [name for name in cases if evidence.records[name].split == "train"]
    remedy = "split by patient"
    return [problem_of("patient-across", "error", what, cases, remedy, groups=torn, leave_out=trained)]


def _answers(evidence: Evidence) -> list[Problem]:
    dataset = evidence.dataset
    problems = []
    flawed = {name for flaw in dataset.manifest.flaws for name in flaw.cases}
    silent = [record.name for record in dataset.records if not record.answered and record.name not in flawed]
    if silent:
        remedy = "they are not used; add their answers"
        problems.append(problem_of("no-answer", "warning", "no answer", silent, remedy, leave_out=silent))
    training = [record for record in dataset.records if record.split in (None, "train")]
    counts = count_labels(dataset, training, evidence.facts_of)
    few = {name: count for name, count in counts.items() if count < _FEW}
    if few:
        scarce = ", ".join(f"{name} ({count})" for name, count in few.items())
        what = f"fewer than {_FEW} training cases show {scarce}"
        problems.append(Problem(code="few-cases", severity="warning", what=what, remedy="add cases or join classes"))
    return problems
