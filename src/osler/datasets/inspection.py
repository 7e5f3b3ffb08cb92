"""``Inspection``: what was found in a dataset, as plain data, and the screenful that a terminal shows of it."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from osler.datasets.dataset import Dataset
from osler.datasets.distributions import Histogram, label_size
from osler.datasets.facts import CaseFacts
from osler.datasets.fingerprint import Fingerprint
from osler.datasets.manifest import Record
from osler.datasets.plan import Plan
from osler.datasets.problem import Problem, Severity, counted
from osler.datasets.problems import Duplicates, QualityReport

__all__ = [
    "BUDGET_S",
    "INSPECTION_VERSION",
    "MOST_ROWS",
    "SCREEN",
    "CleaningReport",
    "Inspection",
    "StudyRow",
    "answer_of",
    "problem_lines",
    "range_of",
    "size_words",
    "spacing_words",
    "study_rows",
    "wrapped",
]

BUDGET_S = 900.0
"""The budget that the plan is made for."""
INSPECTION_VERSION = 3
SCREEN = (24, 80)
"""Rows and columns of a screen: what the summary keeps to where whole sentences allow it."""
MOST_ROWS = 40
"""Rows that problems take at most, so that no sentence is cut."""
_NAMED = 4
_MOST_SPLITS = 3


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudyRow(_Frozen):
    """One case that could be read. ``shape`` and ``spacing`` are in the working orientation (see ``CaseFacts``);
    ``sizes`` holds the size of each label that its mask shows, in ``size_unit``; ``notes`` what the reader says."""

    name: str
    split: str | None
    patient: str | None
    answer: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    spacing_known: bool
    orientation: str
    modality: str
    format: str
    usable: bool
    sizes: dict[str, float] = {}
    size_unit: str = ""
    notes: tuple[str, ...] = ()


class CleaningReport(_Frozen):
    """What a cleaning did, in numbers: cases kept and left out, cells changed, and errors that still need a person.

    ``review`` counts the cases that are kept and need a person: those of such errors, and those whose answer is in
    doubt.
    """

    kept: int
    left_out: int
    changed: int
    undecided: int
    review: int = 0
    patients_from_names: bool


class Inspection(_Frozen):
    """What was found. ``classes`` counts cases per split and label ("unassigned" where no split is given).

    ``kind`` is that of the label set, "" for studies without answers. ``fingerprint`` is of the training cases (those
    given as such, or all), None when none can be used; ``plan`` is what a run of ``BUDGET_S`` would do, by the cost
    model: nothing was measured on this machine.
    """

    schema_version: int = INSPECTION_VERSION
    name: str
    layout: str
    kind: str
    cases: int
    patients: int | None
    splits: dict[str, int]
    classes: dict[str, dict[str, int]]
    fingerprint: Fingerprint | None
    problems: tuple[Problem, ...]
    duplicates: tuple[Duplicates, ...]
    plan: Plan | None
    quality: QualityReport | None = None
    distributions: tuple[Histogram, ...] = ()
    studies: tuple[StudyRow, ...] = ()
    cleaning: CleaningReport | None = None
    files: tuple[Path, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every training case can be used."""
        return self.fingerprint is not None and not self.fingerprint.unreadable

    @property
    def severities(self) -> dict[str, int]:
        """How many problems there are of each severity, the worst first."""
        counts = Counter(problem.severity for problem in self.problems)
        ordered: tuple[Severity, ...] = ("error", "warning", "note")
        return {severity: counts[severity] for severity in ordered}

    def summary(self) -> list[str]:
        """Lines for a person: what matters first, a screenful unless there are many problems."""
        head, plan, files = wrapped(_head(self)), wrapped(_plan_lines(self), most=3), _file_lines(self)
        rows = len(head) + len(plan) + sum(math.ceil(len(line) / SCREEN[1]) for line in files)  # no path is cut
        return [*head, "", *problem_lines(self.problems, SCREEN[0] - rows - 3, page=_page(self)), "", *plan, *files]

    def record(self) -> dict[str, Any]:
        """The same for a machine in one line: problems with the number of their cases, no list of cases.

        The lists, the distributions and the studies are in the file ``inspect.json``.
        """
        problems = [
            {"severity": p.severity, "code": p.code, "what": p.what, "cases": len(p.cases), "remedy": p.remedy}
            for p in self.problems
        ]
        left_out = {"problems", "duplicates", "quality", "distributions", "studies"}
        counts = {"severities": self.severities, "duplicates": len(self.duplicates)}
        return {**self.model_dump(mode="json", exclude=left_out), **counts, "problems": problems}


def answer_of(dataset: Dataset, record: Record) -> str:
    """A case's answer in words; "" for masks and for cases without one."""
    names, target = dataset.labels.names, record.target
    if target is None:
        return ""
    if dataset.labels.kind == "number":
        return f"{target:g} {dataset.labels.unit}".strip()
    if isinstance(target, tuple):
        return " + ".join(name for name, value in zip(names, target, strict=True) if value == 1) or "none"
    return names[int(target)]


def study_rows(dataset: Dataset, facts: Iterable[CaseFacts]) -> tuple[StudyRow, ...]:
    """A row per case that was read."""
    records = {record.name: record for record in dataset.records}
    return tuple(_study_row(dataset, records[fact.name], fact) for fact in facts)


def _study_row(dataset: Dataset, record: Record, fact: CaseFacts) -> StudyRow:
    sizes = {
        label.name: round(label_size(fact, label.value)[0], 3)
        for label in (dataset.labels.labels if dataset.labels.kind == "mask" else ())
        if label.value in fact.extents
    }
    return StudyRow(
        name=fact.name,
        split=record.split,
        patient=record.patient,
        answer=answer_of(dataset, record),
        shape=fact.shape,
        spacing=fact.spacing,
        spacing_known=fact.spacing_known,
        orientation=fact.codes,
        modality=fact.modality,
        format=fact.format,
        usable=fact.usable,
        sizes=sizes,
        size_unit=label_size(fact, 0)[1] if sizes else "",
        notes=fact.notes,
    )


def range_of(median: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    """``"35×50×36 (31×40×24 to 43×59×46)"``; the median alone where all are the same."""
    return _times(median) + ("" if tuple(low) == tuple(high) else f" ({_times(low)} to {_times(high)})")


def _times(numbers: Sequence[float]) -> str:
    return "×".join(f"{n:.0f}" if float(n).is_integer() else f"{n:.4g}" for n in numbers)


def size_words(fingerprint: Fingerprint) -> str:
    """``"35×50×36 (31×40×24 to 43×59×46) voxels"``: the median in whole voxels."""
    median = [round(side) for side in fingerprint.median_shape]
    element = "voxels" if fingerprint.dimensions == 3 else "pixels"
    return f"{range_of(median, fingerprint.minimum_shape, fingerprint.maximum_shape)} {element}"


def spacing_words(fingerprint: Fingerprint, studies: Sequence[StudyRow]) -> str:
    """The spacing in millimetres of the files that say it, and how many do not; "" when none does.

    Args:
        fingerprint: of the training cases.
        studies: a row per case.
    """
    alike = [row for row in studies if row.usable and len(row.shape) == fingerprint.dimensions]
    if fingerprint.spacing_known or not alike:
        median, low, high = fingerprint.median_spacing, fingerprint.minimum_spacing, fingerprint.maximum_spacing
        return f"{range_of(median, low, high)} mm" if fingerprint.spacing_known else ""
    known = [row.spacing for row in alike if row.spacing_known]
    if not known:
        return ""
    axes = list(zip(*known, strict=True))
    spacing = range_of([statistics.median(a) for a in axes], [min(a) for a in axes], [max(a) for a in axes])
    return f"{spacing} mm in {len(known)} of {counted(len(alike))}, not known in the others"


def wrapped(lines: Iterable[str], *, indent: str = "", most: int = 2) -> list[str]:
    """Each line in at most ``most`` rows of the screen; what does not fit ends in "..."."""
    rows: list[str] = []
    for line in lines:
        rows += textwrap.wrap(
            line, SCREEN[1], subsequent_indent=indent, max_lines=most, placeholder=" ...", break_on_hyphens=False
        )
    return rows


def _head(found: Inspection) -> list[str]:
    patients = (
        "patients unknown" if found.patients is None else f"{found.patients} patient{'s' * (found.patients != 1)}"
    )
    lines = [f"{found.name}: {counted(found.cases)}, layout {found.layout}, {patients}"]
    if len(found.splits) > 1 or any(found.classes.values()):
        lines += [
            f"{split}: {count}{_listed(found.classes[split])}"
            for split, count in list(found.splits.items())[:_MOST_SPLITS]
        ]
    return lines + ([_fingerprint_line(found.fingerprint, found)] if found.fingerprint else [])


def _listed(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {count}' for name, count in counts.items())})" if counts else ""


def _fingerprint_line(fingerprint: Fingerprint, found: Inspection) -> str:
    spacing = spacing_words(fingerprint, found.studies) or "not known (no file says how large a pixel is)"
    kind = f"{fingerprint.dimensions}D {fingerprint.modality}".strip() + (", colour" * (fingerprint.colours == 3))
    codes = f", {' '.join(fingerprint.orientations)}" if fingerprint.orientations else ""
    return f"{kind}, {size_words(fingerprint)}, spacing {spacing}{codes}"


def problem_lines(problems: Sequence[Problem], room: int, *, page: bool = False) -> list[str]:
    """The counts, then every problem in whole sentences, and more of the first ones as far as ``room`` (rows) reaches.

    Args:
        problems: the worst first.
        room: rows of the screen; whole sentences may take more of them, up to ``MOST_ROWS``.
        page: whether a page shows all of them.
    """
    if not problems:
        return ["No problems found"]
    entries: list[list[str]] = []
    for problem in problems:
        entry = _entry(problem)
        if sum(map(len, entries)) + len(entry) > MOST_ROWS - 2:
            break
        entries.append(entry)
    hidden = problems[len(entries) :]
    left = room - 1 - sum(map(len, entries)) - bool(hidden)
    for place, problem in enumerate(problems[: len(entries)]):
        for longer in (_entry(problem, more=1), _entry(problem, more=1, remedy=True)):
            needed = len(longer) - len(entries[place])
            if needed <= left:
                entries[place], left = longer, left - needed
    lines = [_counted(Counter(problem.severity for problem in problems))]
    lines += [line for entry in entries for line in entry]
    if hidden:
        counts = _counted(Counter(problem.severity for problem in hidden))
        lines.append(f"  and {counts} more: {'see the page' if page else '--output OUT shows all'}")
    return lines


def _counted(severities: Counter[Severity]) -> str:
    ordered: tuple[Severity, ...] = ("error", "warning", "note")
    return ", ".join(f"{severities[s]} {s}{'s' * (severities[s] != 1)}" for s in ordered if severities[s])


def _entry(problem: Problem, *, more: int = 0, remedy: bool = False) -> list[str]:
    """Rows of a problem: its whole sentence, as many names of cases as fit into these and ``more`` rows, the remedy."""
    head = f"  {problem.severity.upper():8}{problem.what}"
    lines = _rows(head, 10)
    most = len(lines) + more
    for count in range(min(_NAMED, len(problem.cases)), 0, -1):
        left = len(problem.cases) - count
        named = ", ".join(problem.cases[:count]) + (f" and {left} more" if left else "")
        longer = _rows(f"{head}: {named}", 10)
        if len(longer) <= most:
            lines = longer
            break
    if remedy and problem.remedy:
        lines += _rows(f"          -> {problem.remedy}", 13)
    return lines


def _rows(line: str, indent: int) -> list[str]:
    return textwrap.wrap(line, SCREEN[1], subsequent_indent=" " * indent, break_on_hyphens=False)


def _page(found: Inspection) -> bool:
    return any(path.suffix == ".html" for path in found.files)


def _plan_lines(found: Inspection) -> list[str]:
    plan = found.plan
    if plan is None:
        return ["Nothing can be planned"]
    spacing = (
        f" at {_times(plan.grid.spacing)} {'mm' if plan.grid.spacing_known else 'px'}" if plan.grid.spacing else ""
    )
    return [
        f"Plan for {BUDGET_S / 60:.0f} minutes: {plan.task}, {plan.network.family} of {plan.network.features[0]} to "
        f"{max(plan.network.features)} filters, {_times(plan.patch)}{spacing}, {plan.batch} a step, about "
        f"{plan.steps:,} steps (from the cost model, not measured here)"
    ]


def _cleaning_lines(done: CleaningReport | None) -> list[str]:
    if done is None:
        return []
    changed = f", {done.changed} changed" if done.changed else ""
    lines = [f"Cleaned manifest: {done.kept} cases kept, {done.left_out} left out (excluded.csv says why){changed}"]
    if done.review:
        verb = "needs" if done.review == 1 else "need"
        lines.append(f"  {counted(done.review)} in it {verb} a decision of yours (review.csv says why)")
    if done.patients_from_names:
        lines.append("  patients, as taken from the names, are written into it: check them")
    return lines


def _file_lines(found: Inspection) -> list[str]:
    folders: dict[Path, list[str]] = {}
    for path in found.files:
        folders.setdefault(path.parent, []).append(path.name)
    lines = [f"wrote {folder / names[0]}{''.join(f', {n}' for n in names[1:])}" for folder, names in folders.items()]
    return [*_cleaning_lines(found.cleaning), *lines] or [
        "--output OUT writes a page with pictures, --fix OUT a cleaned manifest"
    ]
