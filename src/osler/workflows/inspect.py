"""What is in a dataset, what is wrong with it, and what would be planned. Trains nothing and needs no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from osler.datasets.checks.unlabelled import likely_masks
from osler.datasets.dataset import Dataset
from osler.datasets.distributions import distributions_of
from osler.datasets.facts import CaseFacts
from osler.datasets.fingerprint import Fingerprint
from osler.datasets.inspection import BUDGET_S, CleaningReport, Inspection, study_rows
from osler.datasets.layouts import list_dataset
from osler.datasets.manifest import Record
from osler.datasets.measure import choose, fingerprint_of
from osler.datasets.plan import Plan, TaskName
from osler.datasets.planner import make_plan
from osler.datasets.problem import Problem
from osler.datasets.problems import (
    Evidence,
    count_labels,
    find_duplicates,
    find_problems,
    rank_problems,
    rank_quality,
)
from osler.datasets.signal_inspection import SignalInspection
from osler.datasets.survey import look_at_all
from osler.datasets.tables.inspection import TableInspection
from osler.errors import (
    DatasetError,
    NoLabels,
    OutputExists,
    PlanError,
    StorageError,
    TooFew,
    UnknownLayout,
    UsageError,
)
from osler.progress import CancelToken, Progress, Silent
from osler.workflows.inspect_signals import are_signals, inspect_signals
from osler.workflows.inspect_tables import are_tables, inspect_tables
from osler.workflows.unlabelled import unlabelled

if TYPE_CHECKING:
    from osler.models.folder import Model
    from osler.workflows.label_check import Asked

__all__ = ["Inspection", "SignalInspection", "TableInspection", "inspect"]

_INTENSITIES = 200
_FILES: tuple[str, str] = ("index.html", "inspect.json")


def inspect(
    data: Dataset | str | Path,
    *,
    task: TaskName | None = None,
    patient: str | None = None,
    model: Model | str | Path | None = None,
    output: str | Path | None = None,
    fix: str | Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Inspection | SignalInspection | TableInspection:
    """Read every case once and say what is there. Studies without answers are inspected too; nothing is planned then.

    Recordings (ECG and the like), and tables without images, are looked at in their own way.

    Args:
        data: a dataset, or where it lies.
        task: what is to be learnt; None takes what the data holds.
        patient: a regular expression that finds the patient in each case's name.
        model: a model folder that is asked which answers are probably wrong; it judges the cases that it has not learnt
            from. None asks none, and then no inference engine is loaded.
        output: a folder for ``index.html``, a page with pictures, and ``inspect.json``, the whole inspection.
        fix: a folder outside the data for a cleaned ``manifest.csv`` and, in ``excluded.csv``, the reason for each case
            that it leaves out; ``review.csv`` lists what stays and needs a person. No file of the data is touched.
        force: overwrite what is in ``output`` and ``fix``.
        progress: gets the stages "inspect", in cases, and "pictures".
        cancel: looked at between cases.

    Raises:
        PathNotFound: when there is nothing at ``data`` or ``model``.
        DatasetError: when it is no dataset.
        ModelError: when the model is damaged, or for another task or other labels.
        UsageError: when ``task`` or ``patient`` does not fit, or ``fix`` lies in the data or nothing can be cleaned.
        OutputExists: when ``output`` or ``fix`` holds such files already.
        StorageError: when these cannot be written.
        Cancelled: when asked to stop.
    """
    progress = progress or Silent()
    if not isinstance(data, Dataset) and (words := _without_images(Path(data).expanduser())):
        _refuse_options(f"{data} holds {words}", task, model, fix, patient if words == "tables" else None)
        place = None if output is None else Path(output)
        if place is not None:
            _make_place(place, _FILES, force=force)
        path = Path(data).expanduser()
        if words == "tables":
            return inspect_tables(path, output=place, names=_FILES, progress=progress, cancel=cancel)
        return inspect_signals(path, patient=patient, output=place, names=_FILES, progress=progress, cancel=cancel)
    judge = None if model is None else _opened(model)
    dataset, notice = (data, None) if isinstance(data, Dataset) else _open_for(judge, data, task, patient)
    _check_fit(judge, dataset)
    _prepare_places(dataset, output, fix, force=force)
    facts, unreadable, kinds = _read(dataset, progress, cancel)
    problems = list(find_problems(dataset, facts, unreadable, kinds=kinds))
    asked = None if judge is None else _ask(judge, dataset, masks=output is not None, progress=progress, cancel=cancel)
    problems += asked.problems if asked else ()
    if notice is not None:
        kept = (problem for problem in problems if problem.code != "no-answer")
        problems = [notice, *kept, *likely_masks(facts)]
    fingerprint, plan = _plan(dataset, facts, unreadable, task, problems)
    problems = list(rank_problems(problems))
    found = _summed_up(dataset, facts, problems, fingerprint, plan)
    if fix is not None:
        found = _write_cleaned(found, dataset, Path(fix))
    if output is not None:
        found = found.model_copy(update={"files": (*found.files, *(Path(output) / name for name in _FILES))})
        _write_page(found, dataset, Path(output), asked, progress, cancel)
    return found


def _without_images(path: Path) -> Literal["", "signals", "tables"]:
    return "signals" if are_signals(path) else "tables" if are_tables(path) else ""


def _refuse_options(what: str, task: TaskName | None, model: object, fix: object, patient: str | None) -> None:
    """Options that are of images."""
    if model is not None:
        raise UsageError(f"{what}, and models are of images", remedy="leave --model out")
    if task is not None or fix is not None:
        asked = f"the task {task!r}" if task is not None else "a cleaned manifest"
        raise UsageError(f"{what}, and {asked} is of images", remedy="leave that option out")
    if patient is not None:
        raise UsageError(f"{what}, whose rows have no names to find patients in", remedy="leave --patient out")


def _opened(model: Model | str | Path) -> Model:
    from osler.models.folder import Model

    return model if isinstance(model, Model) else Model.open(model)


def _open_for(
    judge: Model | None, path: str | Path, task: TaskName | None, patient: str | None
) -> tuple[Dataset, Problem | None]:
    """The dataset, with answers to the model's task where there is a model and it has such."""
    if judge is not None and task is None:
        with suppress(UsageError, DatasetError):  # then it is opened as it is, so that the mismatch can be named
            return list_dataset(path, task=judge.plan.task, patient=patient), None
    return _open(path, task, patient)


def _check_fit(judge: Model | None, dataset: Dataset) -> None:
    """Before any work: refuse a model that cannot judge these answers."""
    if judge is not None:
        from osler.workflows.label_check import fitting_model

        fitting_model(judge, dataset.labels)


def _ask(judge: Model, dataset: Dataset, *, masks: bool, progress: Progress, cancel: CancelToken | None) -> Asked:
    from osler.report.inspection_pictures import PER_PROBLEM
    from osler.workflows.label_check import check_answers

    return check_answers(judge, dataset, masks=PER_PROBLEM if masks else 0, progress=progress, cancel=cancel)


def _open(path: str | Path, task: TaskName | None, patient: str | None) -> tuple[Dataset, Problem | None]:
    """The dataset; where nothing says what its studies show, the studies with that as a problem."""
    try:
        return list_dataset(path, task=task, patient=patient), None
    except (NoLabels, UnknownLayout, TooFew) as error:
        if task is not None or not Path(path).is_dir():
            raise
        boxes = _by_boxes(path, patient) if isinstance(error, NoLabels) else None
        if boxes is not None:
            return boxes, Problem(code="layout", severity="warning", what=error.problem, remedy=error.remedy)
        try:
            dataset = unlabelled(Path(path).resolve(), patient)
        except UsageError:
            raise error from None
        what = error.problem if isinstance(error, NoLabels) else f"nothing says what these show: {error.problem}"
        return dataset, Problem(code="no-answer", severity="warning", what=what, remedy=error.remedy)


def _by_boxes(path: str | Path, patient: str | None) -> Dataset | None:
    """The data set as far as boxes answer it: which objects an image shows; None when there are none."""
    try:
        return list_dataset(path, task="multilabel", patient=patient)
    except (DatasetError, UsageError):
        return None


def _read(
    dataset: Dataset, progress: Progress, cancel: CancelToken | None
) -> tuple[list[CaseFacts], dict[str, str], dict[str, str]]:
    """Facts of the cases that can be read; of the others the reason, and the class of the error, by name."""
    training = [record for record in dataset.records if record.split in (None, "train")]
    sampled = {record.name for record in choose(training, _INTENSITIES)}

    facts, errors = look_at_all(
        dataset, dataset.records, "inspect", sampled=sampled, progress=progress, inspecting=True, cancel=cancel
    )
    kinds = {name: type(error).__name__ for name, error in errors.items()}
    return facts, {name: str(error) for name, error in errors.items()}, kinds


def _plan(
    dataset: Dataset,
    facts: Sequence[CaseFacts],
    unreadable: dict[str, str],
    task: TaskName | None,
    problems: list[Problem],
) -> tuple[Fingerprint | None, Plan | None]:
    """The fingerprint and what would be planned; what stands in the way goes to ``problems``."""
    labelled = any(record.answered for record in dataset.records)
    training = [
        record for record in dataset.records if record.split in (None, "train") and (record.answered or not labelled)
    ]
    names = {record.name for record in training}
    fingerprint = None
    try:
        fingerprint = fingerprint_of(
            dataset,
            training,
            [fact for fact in facts if fact.name in names],
            [item for item in unreadable.items() if item[0] in names],
        )
        return fingerprint, make_plan(fingerprint, task=task, budget_s=BUDGET_S) if labelled else None
    except (TooFew, PlanError) as error:
        problems.append(Problem(code="plan", severity="error", what=error.problem, remedy=error.remedy))
        return fingerprint, None


def _summed_up(
    dataset: Dataset,
    facts: Sequence[CaseFacts],
    problems: Sequence[Problem],
    fingerprint: Fingerprint | None,
    plan: Plan | None,
) -> Inspection:
    by_split: dict[str, list[Record]] = {}
    for record in dataset.records:
        by_split.setdefault(record.split or "unassigned", []).append(record)
    by_name = {fact.name: fact for fact in facts}
    patients = {record.patient for record in dataset.records if record.patient is not None}
    return Inspection(
        name=dataset.manifest.name,
        layout=dataset.manifest.layout,
        kind=dataset.labels.kind if any(record.answered for record in dataset.records) else "",
        cases=len(dataset),
        patients=len(patients) or None,
        splits={split: len(records) for split, records in by_split.items()},
        classes={split: count_labels(dataset, records, by_name) for split, records in by_split.items()},
        fingerprint=fingerprint,
        problems=tuple(problems),
        duplicates=find_duplicates(dataset, facts),
        plan=plan,
        quality=rank_quality(Evidence(dataset, facts)),
        distributions=distributions_of(dataset, facts),
        studies=study_rows(dataset, facts),
    )


def _prepare_places(dataset: Dataset, output: str | Path | None, fix: str | Path | None, *, force: bool) -> None:
    """Before any work: refuse what would be overwritten, and make the folders."""
    if fix is not None:
        from osler.report.cleaned_files import CLEANED_FILES

        if Path(fix).resolve().is_relative_to(dataset.manifest.root.resolve()):
            raise UsageError(
                f"{fix} lies in the data set, which --fix leaves as it is", remedy="give a folder outside of it"
            )
        _make_place(Path(fix), CLEANED_FILES, force=force)
    if output is not None:
        _make_place(Path(output), _FILES, force=force)


def _make_place(folder: Path, names: Sequence[str], *, force: bool) -> None:
    taken = [folder / name for name in names if (folder / name).exists()]
    if taken and not force:
        raise OutputExists(f"{taken[0]} exists already", remedy="give another folder, or --force to overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError.of(error, folder) from error


def _write_cleaned(found: Inspection, dataset: Dataset, folder: Path) -> Inspection:
    """The inspection with the files of the cleaning and what it did."""
    if not found.kind:
        raise DatasetError(
            "nothing says what these studies show, so there is no manifest to clean",
            remedy="give them answers first (see the layouts that Osler knows)",
        )
    from osler.datasets.cleaning import clean
    from osler.report.cleaned_files import write_cleaned

    cleaned = clean(dataset, found.problems)
    left_out = {exclusion.case for exclusion in cleaned.exclusions}
    report = CleaningReport(
        kept=len(cleaned.dataset),
        left_out=len(left_out),
        changed=len({change.case for change in cleaned.changes}),
        undecided=sum(p.severity == "error" and not _settled(p, left_out) for p in found.problems),
        review=len({review.case for review in cleaned.reviews}),
        patients_from_names=dataset.manifest.patients == "pattern",
    )
    files = write_cleaned(cleaned, dataset, folder)
    return found.model_copy(update={"files": (*found.files, *files), "cleaning": report})


def _settled(problem: Problem, left_out: Collection[str]) -> bool:
    """Whether nothing of a problem is left: all its cases are gone, or of each group that it ties at most one side."""
    if problem.code in ("copies-across", "patient-across"):
        return True
    return bool(problem.cases) and set(problem.cases) <= set(left_out)


def _write_page(
    found: Inspection,
    dataset: Dataset,
    folder: Path,
    asked: Asked | None,
    progress: Progress,
    cancel: CancelToken | None,
) -> None:
    from osler.report.files import put
    from osler.report.inspection_page import inspection_page
    from osler.report.inspection_pictures import draw, examples_of, wanted_by

    examples = examples_of(dataset, found)
    masks = asked.masks if asked else {}
    drawn = draw(dataset, wanted_by(found, examples), masks=masks, progress=progress, cancel=cancel)
    put(folder / _FILES[0], inspection_page(found, examples, drawn).encode())
    put(folder / _FILES[1], found.model_dump_json(indent=1).encode())
