"""What is in a dataset, what is wrong with it, and what would be planned. Trains nothing and needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts, look
from osler.datasets.fingerprint import Fingerprint
from osler.datasets.layouts import list_dataset
from osler.datasets.manifest import Record
from osler.datasets.measure import choose, fingerprint_of
from osler.datasets.parallel import in_threads
from osler.datasets.plan import Plan, TaskName
from osler.datasets.planner import make_plan
from osler.datasets.problems import Duplicates, Problem, count_labels, find_duplicates, find_problems
from osler.errors import GridMismatch, OutputExists, PlanError, StudyError, TooFew, UsageError
from osler.progress import CancelToken, Progress, Silent
from osler.report.files import output_folder, put

__all__ = ["BUDGET_S", "Inspection", "inspect"]

BUDGET_S = 900.0
"""The budget that the plan is made for."""
_INTENSITIES = 200
_TILES = 24
_SHOWN = 5
_SHOWN_ERRORS = 20
_FILES = ("inspection.json", "cases.png")


class Inspection(BaseModel):
    """What was found. ``classes`` counts cases per split and label ("unassigned" where no split is given).

    ``fingerprint`` is of the training cases (those given as such, or all), None when none can be used; ``plan`` is
    what a run of ``BUDGET_S`` would do, by the cost model: nothing was measured on this machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
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
    files: tuple[Path, ...] = ()

    def summary(self) -> list[str]:
        """Lines for a person."""
        patients = "unknown" if self.patients is None else str(self.patients)
        lines = [f"{self.name}: {self.cases} cases, layout {self.layout}, patients {patients}"]
        lines += [f"  {split}: {count} cases{_listed(self.classes[split])}" for split, count in self.splits.items()]
        lines += _fingerprint_lines(self.fingerprint) if self.fingerprint else []
        lines.append("Problems" if self.problems else "No problems found")
        for problem in self.problems:
            lines.append(f"  {problem.severity}: {problem.what}{_some_names(problem)}")
            lines += [f"    what to do: {problem.remedy}"] if problem.remedy else []
        if self.plan:
            lines.append(f"Plan for {BUDGET_S / 60:.0f} minutes (step times from the cost model, not measured here)")
            lines += [f"  {field}: {reason}" for field, reason in self.plan.reasons.items()]
        return lines + [f"wrote {path}" for path in self.files]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return self.model_dump(mode="json")


def inspect(
    data: Dataset | str | Path,
    *,
    task: TaskName | None = None,
    patient: str | None = None,
    output: str | Path | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Inspection:
    """Read every case once and say what is there.

    Args:
        data: a dataset, or where it lies.
        task: what is to be learnt; None takes what the data holds.
        patient: a regular expression that finds the patient in each case's name.
        output: a folder for ``inspection.json`` and a contact sheet ``cases.png``; nothing in it is overwritten.
        progress: gets the stage "inspect", in cases.
        cancel: looked at between cases.

    Raises:
        PathNotFound: when there is nothing at ``data``.
        DatasetError: when it is no dataset.
        UsageError: when ``task`` or ``patient`` does not fit.
        OutputExists: when ``output`` holds an inspection already.
        StorageError: when ``output`` cannot be written.
        Cancelled: when asked to stop.
    """
    progress = progress or Silent()
    if output is not None:
        _check_free(Path(output))
    dataset = data if isinstance(data, Dataset) else list_dataset(data, task=task, patient=patient)
    place = None if output is None else Path(output)
    with output_folder(place):
        return _inspected(dataset, task, place, progress, cancel)


def _inspected(
    dataset: Dataset, task: TaskName | None, output: Path | None, progress: Progress, cancel: CancelToken | None
) -> Inspection:
    facts, unreadable = _read(dataset, progress, cancel)
    problems = list(find_problems(dataset, facts, unreadable))
    fingerprint, plan = _plan(dataset, facts, unreadable, task, problems)
    by_split: dict[str, list[Record]] = {}
    for record in dataset.records:
        by_split.setdefault(record.split or "unassigned", []).append(record)
    by_name = {fact.name: fact for fact in facts}
    patients = {record.patient for record in dataset.records}
    inspection = Inspection(
        name=dataset.manifest.name,
        layout=dataset.manifest.layout,
        kind=dataset.labels.kind,
        cases=len(dataset),
        patients=None if None in patients else len(patients),
        splits={split: len(records) for split, records in by_split.items()},
        classes={split: count_labels(dataset, records, by_name) for split, records in by_split.items()},
        fingerprint=fingerprint,
        problems=tuple(problems),
        duplicates=find_duplicates(dataset, facts),
        plan=plan,
    )
    return inspection if output is None else _write(inspection, dataset, facts, output)


def _read(dataset: Dataset, progress: Progress, cancel: CancelToken | None) -> tuple[list[CaseFacts], dict[str, str]]:
    training = [record for record in dataset.records if record.split in (None, "train")]
    sampled = {record.name for record in choose(training, _INTENSITIES)}

    def work(record: Record) -> CaseFacts | str:
        try:
            return look(dataset, record, intensities=record.name in sampled, digest=True)
        except (StudyError, GridMismatch, UsageError) as error:
            return str(error)

    facts: list[CaseFacts] = []
    unreadable: dict[str, str] = {}
    progress.start("inspect", len(dataset), "cases")
    for record, result in zip(dataset.records, in_threads(work, dataset.records, cancel=cancel), strict=True):
        progress.advance("inspect", 1, record.name)
        if isinstance(result, str):
            unreadable[record.name] = result
        else:
            facts.append(result)
    progress.finish("inspect")
    return facts, unreadable


def _plan(
    dataset: Dataset,
    facts: Sequence[CaseFacts],
    unreadable: dict[str, str],
    task: TaskName | None,
    problems: list[Problem],
) -> tuple[Fingerprint | None, Plan | None]:
    """The fingerprint and what would be planned; what stands in the way goes to ``problems``."""
    training = [record for record in dataset.records if record.answered and record.split in (None, "train")]
    names = {record.name for record in training}
    fingerprint = None
    try:
        fingerprint = fingerprint_of(
            dataset,
            training,
            [fact for fact in facts if fact.name in names],
            [item for item in unreadable.items() if item[0] in names],
        )
        return fingerprint, make_plan(fingerprint, task=task, budget_s=BUDGET_S)
    except (TooFew, PlanError) as error:
        problems.insert(0, Problem(severity="error", what=error.problem, remedy=error.remedy))
        return fingerprint, None


def _check_free(output: Path) -> None:
    taken = [output / name for name in _FILES if (output / name).exists()]
    if taken:
        raise OutputExists(f"{taken[0]} exists already", remedy="give another --output")


def _write(inspection: Inspection, dataset: Dataset, facts: Sequence[CaseFacts], folder: Path) -> Inspection:
    files = (folder / _FILES[0], folder / _FILES[1])
    usable = {fact.name for fact in facts if fact.usable}
    shown = _examples([record for record in dataset.records if record.name in usable])
    if shown:
        put(files[1], _sheet(dataset, shown))
    written = inspection.model_copy(update={"files": files if shown else files[:1]})
    put(files[0], written.model_dump_json(indent=2).encode())
    return written


def _examples(records: Sequence[Record]) -> list[Record]:
    """Up to ``_TILES`` cases, as evenly over the answers as there are cases (drawn with a fixed seed)."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(str(record.target), []).append(record)
    share = max(1, _TILES // max(1, len(groups)))
    return [record for _, group in sorted(groups.items()) for record in choose(group, share)][:_TILES]


def _sheet(dataset: Dataset, records: Sequence[Record]) -> bytes:
    from osler.studies.pictures import contact_sheet, to_png_bytes

    cases = [dataset.load(record) for record in records]
    captions = [_caption(dataset, record) for record in records]
    masks = [None if case.mask is None else case.mask.array[0] for case in cases]
    labels = {label.value: label.name for label in dataset.labels.labels} if dataset.labels.kind == "mask" else None
    return to_png_bytes(contact_sheet([case.study.image for case in cases], captions, masks=masks, labels=labels))


def _caption(dataset: Dataset, record: Record) -> str:
    """The case's name behind its answer, which is left out where the name says it."""
    names = dataset.labels.names
    if record.target is None:
        answer = ""
    elif dataset.labels.kind == "number":
        answer = f"{record.target:g} {dataset.labels.unit}".strip()
    elif isinstance(record.target, tuple):
        answer = "+".join(name for name, value in zip(names, record.target, strict=True) if value == 1) or "none"
    else:
        answer = names[int(record.target)]
    return record.name if answer.lower() in record.name.lower() else f"{answer}: {record.name}"


def _fingerprint_lines(fingerprint: Fingerprint) -> list[str]:
    unit = "mm" if fingerprint.spacing_known else "px (the files do not say how large a pixel is)"
    spacing = _range(fingerprint.median_spacing, fingerprint.minimum_spacing, fingerprint.maximum_spacing)
    shape = _range(fingerprint.median_shape, fingerprint.minimum_shape, fingerprint.maximum_shape)
    element = "voxels" if fingerprint.dimensions == 3 else "pixels"
    kind = f"{fingerprint.dimensions}D {fingerprint.modality}".strip() + (", colour" * (fingerprint.colours == 3))
    lines = [f"  {kind}, {shape} {element}, spacing {spacing} {unit}"]
    if fingerprint.orientations:
        lines.append(f"  orientations: {', '.join(f'{c} {n}' for c, n in fingerprint.orientations.items())}")
    lines += [
        f"  intensities of {c.name}: {c.minimum:g} to {c.maximum:g} {fingerprint.units}".rstrip()
        + f", median {c.percentile_50:g}, 99 % within {c.percentile_00_5:g} to {c.percentile_99_5:g}"
        for c in fingerprint.channels
    ]
    lines += [
        f"  {label.name}: median {label.median_voxels:g} {element} ({100 * label.fraction:.2g} % of a study), "
        f"about {_times(label.median_extent)}"
        for label in fingerprint.label_statistics
        if label.median_extent
    ]
    return lines


def _range(median: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
    return _times(median) + ("" if tuple(low) == tuple(high) else f" ({_times(low)} to {_times(high)})")


def _times(numbers: Sequence[float]) -> str:
    return "×".join(f"{n:.4g}" for n in numbers)


def _listed(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{name} {count}' for name, count in counts.items())})" if counts else ""


def _some_names(problem: Problem) -> str:
    if not problem.cases:
        return ""
    most = _SHOWN_ERRORS if problem.severity == "error" else _SHOWN
    shown = [
        f"{name} ({problem.details[name].rstrip('.')})" if name in problem.details else name
        for name in problem.cases[:most]
    ]
    rest = len(problem.cases) - most
    return f": {', '.join(shown)}" + (f" and {rest} more (all with --json)" if rest > 0 else "")
