"""From trained networks to a sealed model folder: export, calibrate, evaluate, card."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from osler.assurance.card import model_card
from osler.assurance.evaluation import Evaluation
from osler.assurance.page import write_page
from osler.datasets.dataset import Dataset
from osler.datasets.identity import content_digest, patient_digest
from osler.datasets.manifest import Record, Split
from osler.datasets.plan import Plan
from osler.datasets.split_report import split_by
from osler.inference.calibrate import collect, fit, join
from osler.inference.parity import compare, forms_of
from osler.inference.predictor import Predictor
from osler.models.folder import Calibration, DataSummary, Member, Model, ModelInfo, seal
from osler.progress import Progress
from osler.workflows.coarse import add_coarse
from osler.workflows.coarse_facts import coarse_facts
from osler.workflows.measure import Part, measure_parts
from osler.workflows.run_folder import RunFolder

if TYPE_CHECKING:
    from osler.learning.trainer import Outcome

__all__ = ["Trained", "finish", "move_into_place"]


@dataclass(frozen=True)
class Trained:
    """One member: its dataset with splits, what training gave, its fold, and the cases that could not be used."""

    dataset: Dataset
    outcome: Outcome
    fold: int | None
    refused: dict[str, str]

    def records(self, split: Split) -> tuple[Record, ...]:
        """Answered and usable records of a split."""
        return tuple(r for r in self.dataset.records if r.split == split and r.answered and r.name not in self.refused)


def finish(
    run: RunFolder,
    plan: Plan,
    trained: Sequence[Trained],
    output: Path,
    *,
    coarse: Trained | None = None,
    intended_use: str,
    mirror: bool,
    progress: Progress,
) -> tuple[Model, Evaluation | None, dict[str, float]]:
    """Write the model folder beside its place, and move it there when it is whole. ``coarse`` is the trained network of
    ``plan.coarse``; it is left out, and that is said, where its bound would lose targets of the validation cases, and
    off where it loses too much of those of the test cases.

    Returns:
        The model, its evaluation on the test cases (None without any), and seconds by stage.

    Raises:
        StorageError: when the disk is full.
    """
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)
    staging = output.with_name(output.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    final = plan.model_copy(update={"steps": trained[0].outcome.steps, "pace": _pace(plan, trained)})
    progress.start("export", len(trained), "networks")
    members = _export(trained, final, staging, progress)
    progress.finish("export")
    clock.lap("export")
    info = ModelInfo(
        osler_version=version("osler"),
        name=output.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        intended_use=intended_use or _default_use(plan, trained[0].dataset),
        members=tuple(members),
        data=_summary(trained),
        lineage={"method": plan.method, "seed": plan.seed, "steps": [t.outcome.steps for t in trained]},
    )
    if coarse is not None:
        info, problem = add_coarse(staging, info, final, coarse, progress=progress)
        if problem:
            state = "left out" if info.coarse is None else "off"
            info = info.model_copy(update={"lineage": {**info.lineage, "coarse": f"{state}: {problem}"}})
            progress.say(f"the coarse pass is {state}: {problem}")
        clock.lap("coarse pass")
    model = seal(staging, info)
    progress.say("calibrating on the validation split")
    info = info.model_copy(update={"calibration": _calibrate(model, trained)})
    model = seal(staging, info)
    clock.lap("calibration")
    model = _compared(model, trained, progress)
    clock.lap("comparing with float32")
    evaluation, pictures = _evaluate(model, trained, mirror=mirror, progress=progress)
    if evaluation is not None:
        facts = _facts(model, trained)
        write_page(
            evaluation,
            run.path / "evaluation",
            facts=facts,
            intended_use=info.intended_use,
            pictures=pictures,
            title=f"{info.name}: evaluation",
        )
        summary = evaluation.without_cases()
        (staging / "performance.json").write_text(summary.model_dump_json(indent=1))
        (staging / "card.md").write_text(model_card(info.name, evaluation, intended_use=info.intended_use, facts=facts))
    seal(staging, info)
    clock.lap("evaluation")
    move_into_place(staging, output)
    run.finish()
    return Model.open(output), evaluation, seconds


class _Clock:
    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def lap(self, stage: str) -> None:
        """What passed since the last lap goes to ``stage``."""
        now = time.monotonic()
        self._seconds[stage] = now - self._last
        self._last = now


def _pace(plan: Plan, trained: Sequence[Trained]) -> tuple[tuple[int, float], ...]:
    """What repeats a run limited by time; an ensemble's members have a pace each, so only a single run keeps its."""
    return trained[0].outcome.pace if plan.budget_s is not None and len(trained) == 1 else ()


def _export(trained: Sequence[Trained], plan: Plan, staging: Path, progress: Progress) -> list[Member]:
    from osler.learning.export import export_member

    (staging / "plan.json").write_text(plan.model_dump_json(indent=1))
    members = []
    for number, member in enumerate(trained):
        outcome = member.outcome
        members.append(export_member(outcome.network, plan, staging, number, steps=outcome.steps, fold=member.fold))
        progress.advance("export")
    return members


def _together(trained: Sequence[Trained]) -> list[tuple[int, ...]]:
    """Numbers of the members that answer together about cases that none of them has seen: those of one fold."""
    folds = sorted({-1 if member.fold is None else member.fold for member in trained})
    return [tuple(n for n, m in enumerate(trained) if (-1 if m.fold is None else m.fold) == fold) for fold in folds]


def _calibrate(model: Model, trained: Sequence[Trained]) -> Calibration:
    """The members of each fold on the validation cases that they did not learn from, all together."""
    collected = []
    for numbers in _together(trained):
        first = trained[numbers[0]]
        with Predictor(model, members=numbers) as predictor:
            collected.append(collect(predictor, first.dataset, first.records("validation")))
    return fit(model.plan, join(collected))


def _evaluate(
    model: Model, trained: Sequence[Trained], *, mirror: bool, progress: Progress
) -> tuple[Evaluation | None, dict[str, bytes]]:
    """The members of each fold on its test cases, which they have never seen, all together in one evaluation."""
    with ExitStack() as stack:
        parts = [
            Part(stack.enter_context(Predictor(model, members=numbers, mirror=mirror)), first.dataset, records)
            for numbers in _together(trained)
            if (records := (first := trained[numbers[0]]).records("test"))
        ]
        if not parts:
            return None, {}
        split = model.info.data.split_by
        measured = measure_parts(parts, split_by=None if split == "unknown" else split, progress=progress)
    for name, reason in measured.failed.items():
        progress.say(f"{name} could not be measured: {reason}")
    return measured.evaluation, measured.pictures


def _compared(model: Model, trained: Sequence[Trained], progress: Progress) -> Model:
    """With its parity record: which forms of the graphs may be run. Of folds, all members answer on all their
    validation cases: what is asked is how far two forms of one ensemble are apart."""
    names: set[str] = set()
    records: list[Record] = []
    for member in trained:
        records += [r for r in member.records("validation") if r.name not in names]
        names |= {r.name for r in records}
    if len(forms_of(model)) < 2 or not records:
        return model
    record = compare(model, trained[0].dataset, records, progress=progress)
    (model.path / "parity.json").write_text(record.model_dump_json(indent=1))
    return seal(model.path, model.info)


def _summary(trained: Sequence[Trained]) -> DataSummary:
    """Counts, and salted digests of the cases that any member has seen."""
    first = trained[0].dataset
    salt = secrets.token_hex(16)
    seen = {r.name: (m.dataset, r) for m in trained for s in ("train", "validation") for r in m.records(s)}
    patients = {r.patient for _, r in seen.values() if r.patient is not None}
    calibrated = {r.name: (m.dataset, r) for m in trained for r in m.records("validation")}
    counts = {split: len(trained[0].records(split)) for split in ("train", "validation", "test")}
    known = first.manifest.patients != "unknown"
    everyone = {r.patient for r in first.records if r.patient is not None}
    return DataSummary(
        name=first.manifest.name,
        modality=first.manifest.modality,
        train=counts["train"],
        validation=counts["validation"],
        test=counts["test"],
        patients=len(everyone) if known else None,
        split_by=split_by(first),
        salt=salt,
        seen=tuple(sorted(content_digest(dataset, record, salt) for dataset, record in seen.values())),
        seen_patients=tuple(sorted(patient_digest(patient, salt) for patient in patients)) if known else (),
        calibrated=tuple(sorted(content_digest(dataset, record, salt) for dataset, record in calibrated.values())),
        held_out={m.fold: _digests(m, "test", salt) for m in trained if m.fold is not None},
    )


def _digests(member: Trained, split: Split, salt: str) -> tuple[str, ...]:
    return tuple(sorted(content_digest(member.dataset, record, salt) for record in member.records(split)))


def _default_use(plan: Plan, dataset: Dataset) -> str:
    what = ", ".join(plan.labels.names) or plan.labels.name
    verb = {"segment": "outlines", "regress": "estimates"}.get(plan.task, "tells apart")
    modality = f"{plan.modality} " if plan.modality else ""
    return f"Research on {modality}studies like those of {dataset.manifest.name}: it {verb} {what}."


def _facts(model: Model, trained: Sequence[Trained]) -> dict[str, str]:
    data, plan, calibration = model.info.data, model.plan, model.info.calibration
    network = plan.network
    facts = {
        "Trained on": f"{data.train} cases of {data.name}; calibrated on {data.validation}, measured on {data.test}",
        "Split": "as it came with the data" if data.split_by == "given" else f"by {data.split_by}",
        "Network": f"{network.family}, filters {', '.join(map(str, network.features))}; patch {plan.patch}",
        "Training": f"{', '.join(str(t.outcome.steps) for t in trained)} steps of {plan.batch}, seed {plan.seed}",
        "Calibration": f"temperature {calibration.temperature:.3f} from {calibration.cases} cases",
    }
    facts |= coarse_facts(model.info)
    folds = len(_together(trained))
    if len(trained) > folds:
        facts["Ensemble"] = f"{len(trained) // folds} networks from different seeds; their answers are averaged"
    if folds > 1:
        facts["Cross-validation"] = f"{folds} folds; each case was measured by the members that had not seen it"
        facts["Trained on"] = f"{data.name}, {folds} folds of about {data.train} training cases"
    return facts


def move_into_place(staging: Path, output: Path) -> None:
    """Replace what is at ``output``; the old folder goes only when the new one is whole."""
    if output.exists():
        old = output.with_name(output.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        os.replace(output, old)
        os.replace(staging, output)
        shutil.rmtree(old)
    else:
        os.replace(staging, output)
