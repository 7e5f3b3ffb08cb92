"""``train``: from a dataset to a trained, calibrated, evaluated model folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from osler.assurance.evaluation import Evaluation
from osler.datasets.coarse import coarse_plan, with_coarse
from osler.datasets.dataset import Dataset
from osler.datasets.fingerprint import Fingerprint
from osler.datasets.hardware import Hardware
from osler.datasets.layouts import open_dataset
from osler.datasets.manifest import Record, Split
from osler.datasets.measure import measure
from osler.datasets.plan import Plan, TaskName
from osler.datasets.planner import Timings, check_names, make_plan, member_budget, override, task_of
from osler.datasets.split_report import describe_splits
from osler.datasets.splits import assign_splits
from osler.datasets.splits import folds as make_folds
from osler.datasets.store import PreparedStore
from osler.datasets.together import kept_together
from osler.errors import OslerError, PlanError, TooFew, Unknown
from osler.models.folder import Model
from osler.progress import CancelToken, Progress, Silent
from osler.workflows.durations import format_duration
from osler.workflows.finish import Trained, finish
from osler.workflows.plan_files import describe_plan, read_plan
from osler.workflows.process_group import ProcessGroup
from osler.workflows.run_folder import RunFolder, request_digest
from osler.workflows.settings import Request, budget_seconds, check_counts

__all__ = ["DEVICES", "TrainResult", "train"]

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TrainResult:
    """What a training left behind. ``model`` and ``evaluation`` are None after ``plan_only``, and in every process but
    the first of several, where ``helper`` is true."""

    plan: Plan
    run_folder: Path
    model: Model | None = None
    evaluation: Evaluation | None = None
    stopped_early: bool = False
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    helper: bool = False

    def summary(self) -> list[str]:
        """Lines for a person."""
        if self.helper:
            return []
        if self.model is None:
            return [*describe_plan(self.plan), *self.notes]
        lines = list(self.notes)
        if self.evaluation is not None:
            from osler.assurance.wording import headline_sentences

            lines += headline_sentences(self.evaluation)
        lines += [f"{stage}: {format_duration(spent)}" for stage, spent in self.seconds.items()]
        lines.append(f"model: {self.model.path}")
        if self.evaluation is not None:
            lines.append(f"page: {self.run_folder / 'evaluation' / 'index.html'}")
        lines.append(f"records: {self.run_folder} (curves.png, TensorBoard files, splits)")
        return lines


def train(
    dataset: Dataset | str | Path,
    *,
    output: str | Path,
    task: TaskName | None = None,
    budget: str | float = "15m",
    steps: int | None = None,
    seed: int = 0,
    patient: str | None = None,
    folds: int = 1,
    start_from: str | Path | None = None,
    plan_only: bool = False,
    overrides: Mapping[str, Any] | None = None,
    plan_file: str | Path | None = None,
    device: str = "auto",
    method: str = "supervised",
    force: bool = False,
    mirror: bool = False,
    coarse_to_fine: bool | None = None,
    resume: bool = True,
    threads: int = 0,
    intended_use: str = "",
    checkpoint_s: float = 20.0,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> TrainResult:
    """Fingerprint, plan, train, calibrate, evaluate on patients never seen, export.

    Args:
        dataset: an open dataset, or where one lies.
        output: the model folder to write; records go to ``<output>.run`` beside it.
        task: None takes what the labels ask for.
        budget: for planning and training, as "15m" or in seconds; evaluation and export come on top.
        steps: train exactly so many steps instead; the same data, plan, seed and steps give the same weights.
        seed: of everything random.
        patient: regular expression that finds the patient in a name; "none" when every image is its own patient.
        folds: 1 for one split; more for cross-validation, the model being the ensemble.
        start_from: a model folder whose weights to start from.
        plan_only: stop after planning; nothing is written.
        overrides: plan fields by dotted name.
        plan_file: JSON: a whole plan, or some of its fields.
        device: "auto", "cpu" or "cuda".
        method: name of a training method.
        force: replace what is at ``output``.
        mirror: average over mirrored copies when measuring.
        coarse_to_fine: train a low-resolution network that says where the fine one looks; None where that is worth it.
        resume: go on with an unfinished run of the same request.
        threads: of the processor; 0 takes all.
        intended_use: what the model is for, for its card.
        checkpoint_s: seconds between checkpoints.
        progress: told of each stage.
        cancel: asked between steps; a stop keeps the best model so far.

    Raises:
        UsageError, DatasetError, PlanError: when it cannot be done as asked, before anything is trained.
        StorageError: when the disk is full.
        Cancelled: when stopped before there was anything to keep.
    """
    begun = time.monotonic()
    progress, cancel = progress or Silent(), cancel or CancelToken()
    check_counts(steps=steps, folds=folds)
    budget_s = None if steps is not None else budget_seconds(budget)
    opened = dataset if isinstance(dataset, Dataset) else open_dataset(dataset, task=task, patient=patient)
    for note in opened.manifest.notes:
        progress.say(note)
    full_plan, fields = read_plan(plan_file)
    request = Request(
        output=Path(output),
        task=task or task_of(opened.labels.kind),
        budget_s=budget_s,
        steps=steps,
        seed=seed,
        folds=folds,
        start_from=None if start_from is None else Path(start_from),
        overrides={**fields, **dict(overrides or {})},
        plan=full_plan,
        device=device,
        method=method,
        threads=threads,
        checkpoint_s=checkpoint_s,
        coarse=coarse_to_fine,
    )
    check_names(request.overrides)
    if device not in DEVICES:
        raise Unknown(f"no device {device!r}", remedy=f"choose one of {', '.join(DEVICES)}")
    if request.start_from is not None:
        Model.open(request.start_from)  # fails now rather than after preparing
    run = RunFolder(request.output)
    group = ProcessGroup.detect()
    if plan_only:
        parts, notes = _split(opened, request, progress)
        plan = _plan(parts[0], request, progress, cancel)
        return TrainResult(plan=plan, run_folder=run.path, notes=tuple(notes))
    training = _Training(opened, request, run, progress, cancel, begun)
    try:
        return _carry_out(training, group, force=force, resume=resume, mirror=mirror, intended_use=intended_use)
    finally:
        run.release()


def _carry_out(
    training: _Training, group: ProcessGroup, *, force: bool, resume: bool, mirror: bool, intended_use: str
) -> TrainResult:
    """In the first process: claim the folder, plan, train, finish. In the others: wait for the plan, train along."""
    run, request = training.run, training.request
    if group.first:
        resumed = run.claim(request_digest(training.opened, request.settings()), force=force, resume=resume)
        if resumed:
            training.progress.say(f"going on with the unfinished run in {run.path}")
        try:
            parts, plan, notes = training.plan()
        except OslerError:
            if not resumed:
                run.discard()  # nothing was trained: a mistake in the command must not block the next one
            raise
        group.announce(run.path)
    else:
        group.wait(run.path, training.cancel)
        parts, plan, notes = training.plan()  # reads what the first process stored
    trained = training.members(parts, plan)
    coarse = None if trained[-1].outcome.stopped_early else training.coarse(parts, plan)
    if not group.first:
        return TrainResult(plan, run.path, helper=True)
    return training.finish(plan, trained, coarse, notes, intended_use, mirror=mirror)


def _split(opened: Dataset, request: Request, progress: Progress) -> tuple[list[Dataset], list[str]]:
    """One dataset with splits per fold, and what the user should know about them."""
    together = kept_together(opened, progress=progress)
    if request.folds > 1:
        parts = make_folds(opened, request.folds, seed=request.seed, together=together)
    else:
        parts = [assign_splits(opened, seed=request.seed, together=together)]
    report = describe_splits(parts[0], together=together)
    notes = [report.summary(), *report.warnings]
    if opened.manifest.patients == "pattern" and opened.manifest.proposed_pattern:
        notes.append(f"patients are taken from the names by {opened.manifest.proposed_pattern} (off: --patient none)")
    for note in notes:
        progress.say(note)
    return parts, notes


def _of(dataset: Dataset, split: Split) -> tuple[Record, ...]:
    return tuple(record for record in dataset.records if record.split == split and record.answered)


def _plan(part: Dataset, request: Request, progress: Progress, cancel: CancelToken) -> Plan:
    fingerprint = measure(part, _of(part, "train"), progress=progress, cancel=cancel)
    if request.plan is not None:
        if request.plan.labels != fingerprint.labels:
            raise PlanError("the plan file is for other labels than this dataset's", remedy="train without --plan")
        changes: dict[str, Any] = {"seed": request.seed}
        if request.steps is not None:
            changes["steps"] = request.steps
        plan = override(request.plan, {**changes, **request.overrides})
        if request.coarse is None:
            return plan
        return with_coarse(plan, fingerprint, Hardware.detect(), wanted=request.coarse, folds=request.folds)
    hardware, timings = _measured(fingerprint, request, progress, cancel)
    return make_plan(
        fingerprint,
        task=request.task,
        budget_s=request.budget_s,
        steps=request.steps,
        hardware=hardware,
        timings=timings,
        seed=request.seed,
        method=request.method,
        folds=request.folds,
        coarse=request.coarse,
        overrides=request.overrides,
    )


def _measured(
    fingerprint: Fingerprint, request: Request, progress: Progress, cancel: CancelToken
) -> tuple[Hardware, Timings | None]:
    """The hardware and, for a run limited by time, step times on it."""
    from osler.learning.timing import detect_hardware, measure_step_times
    from osler.learning.trainer import make_fabric

    hardware = detect_hardware(request.device)
    if request.budget_s is None:
        return hardware, None
    task = request.task or task_of(fingerprint.labels.kind)
    timings = measure_step_times(
        fingerprint,
        task,
        hardware,
        budget_s=member_budget(task, request.budget_s, folds=request.folds),
        make_fabric=lambda plan: make_fabric(plan, device=request.device, several=False),
        progress=progress,
        cancel=cancel,
        method=request.method,
    )
    return hardware, timings


class _Training:
    """One run from split to model folder."""

    def __init__(
        self,
        opened: Dataset,
        request: Request,
        run: RunFolder,
        progress: Progress,
        cancel: CancelToken,
        begun: float,
    ) -> None:
        self.opened = opened
        self.request = request
        self.run = run
        self.progress = progress
        self.cancel = cancel
        self.begun = begun

    def plan(self) -> tuple[list[Dataset], Plan, list[str]]:
        """Splits and plan: those of the stopped run where there is one, else new ones, which are stored."""
        from osler.learning.devices import set_threads
        from osler.learning.session import check_plan

        set_threads(self.request.threads)
        parts, notes = self._parts()
        plan = self.run.load_plan()
        if plan is None:
            plan = _plan(parts[0], self.request, self.progress, self.cancel)
            for one in (plan, coarse_plan(plan)):
                if one is not None:
                    check_plan(one, device=self.request.device)
            self.run.save_plan(plan)
        return parts, plan, notes

    def members(self, parts: Sequence[Dataset], plan: Plan) -> list[Trained]:
        """Train the plan's members on each part; a stop ends with the members there are."""
        trained: list[Trained] = []
        total = len(parts) * plan.members
        for number in range(total):
            fold = number // plan.members
            trained.append(self._member(number, parts[fold], plan, total, fold if len(parts) > 1 else None))
            if trained[-1].outcome.stopped_early:
                break
        return trained

    def coarse(self, parts: Sequence[Dataset], plan: Plan) -> Trained | None:
        """Train the coarse network in the time that is left for it; None where the plan has none."""
        own = coarse_plan(plan)
        if own is None:
            return None
        budget = self.request.budget_s
        deadline = None if budget is None else max(1.0, budget - (time.monotonic() - self.begun))
        return self._network(parts[0], own, self.run.path / "coarse", deadline, None, "training the coarse network")

    def finish(
        self,
        plan: Plan,
        trained: Sequence[Trained],
        coarse: Trained | None,
        notes: list[str],
        intended_use: str,
        *,
        mirror: bool,
    ) -> TrainResult:
        """Export, calibrate, evaluate."""
        stopped = any(one.outcome.stopped_early for one in (*trained, *([] if coarse is None else [coarse])))
        if stopped:
            notes.append("stopped early at your request: this is the best model so far")
        refused = sorted({row for member in trained for row in member.refused.items()})
        notes += [f"left out of training: {name}: {reason}" for name, reason in refused]
        spent = {"planning and training": time.monotonic() - self.begun}
        model, evaluation, seconds = finish(
            self.run,
            plan,
            trained,
            self.request.output,
            coarse=coarse,
            intended_use=intended_use,
            mirror=mirror,
            progress=self.progress,
        )
        return TrainResult(plan, self.run.path, model, evaluation, stopped, tuple(notes), {**spent, **seconds})

    def _parts(self) -> tuple[list[Dataset], list[str]]:
        stored = self.run.load_splits()
        if stored is not None:
            return stored, []
        parts, notes = _split(self.opened, self.request, self.progress)
        for part in parts:
            if not _of(part, "train"):
                raise TooFew("no case is left to train on", remedy="add cases or change the given splits")
        self.run.save_splits(parts)
        return parts, notes

    def _member(self, number: int, part: Dataset, plan: Plan, members: int, fold: int | None) -> Trained:
        """Train one member of the plan."""
        deadline = self._clock(number, members, plan)
        stage = "training" if members == 1 else f"training network {number + 1} of {members}"
        own = plan.model_copy(update={"seed": plan.seed + number})
        folder, start_from = self.run.fold(number), self.request.start_from
        return replace(self._network(part, own, folder, deadline, start_from, stage), fold=fold)

    def _network(
        self, part: Dataset, plan: Plan, folder: Path, deadline_s: float | None, start_from: Path | None, stage: str
    ) -> Trained:
        """Prepare and train one network; those of one part and grid share its prepared store."""
        from osler.learning.session import train_network

        store = {
            split: PreparedStore.build(
                part,
                _of(part, split),
                plan,
                self.run.path / "prepared",
                progress=self.progress,
                cancel=self.cancel,
                workers=self.request.threads,
            )
            for split in ("train", "validation")
        }
        if not store["train"].names:
            raise TooFew("no training case could be prepared", remedy="run osler inspect on this folder")
        outcome = train_network(
            plan,
            store["train"],
            store["validation"],
            folder,
            deadline_s=deadline_s,
            spent_s=0.0,
            checkpoint_s=self.request.checkpoint_s,
            device=self.request.device,
            start_from=start_from,
            stage=stage,
            progress=self.progress,
            cancel=self.cancel,
        )
        refused = {**store["train"].refused, **store["validation"].refused}
        return Trained(part, outcome, None, refused)

    def _clock(self, number: int, members: int, plan: Plan) -> float | None:
        """Seconds this member may take; a coarse network's share stays untouched."""
        if self.request.budget_s is None:
            return None
        kept = 0.0 if plan.coarse is None else plan.coarse.share * self.request.budget_s
        left = self.request.budget_s - kept - (time.monotonic() - self.begun)
        return max(1.0, left) / (members - number)
