"""The making of a compressed model, in a folder beside its place: students, INT8 graphs, parity, card."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.assurance.card import model_card
from osler.datasets.identity import content_digest, patient_digest
from osler.datasets.store import PreparedStore
from osler.errors import Cancelled, TooFew
from osler.inference.calibrate import collect, fit
from osler.inference.parity import compare
from osler.inference.predictor import Predictor
from osler.inference.quantise import quantise, windows_of
from osler.models.folder import INT8_SUFFIX, DataSummary, Member, Model, ModelInfo, seal
from osler.models.parity import ParityRecord
from osler.progress import CancelToken, Progress
from osler.workflows.known_cases import KnownCases

if TYPE_CHECKING:
    from osler.learning.students import Lesson
    from osler.learning.trainer import Outcome

__all__ = ["DISTILLED_SHARE", "Making", "Wanted", "parameters_of"]

DISTILLED_SHARE = 0.5
"""Share of the filters of each level that a distilled student has fewer."""


@dataclass(frozen=True)
class Wanted:
    """What was asked for, checked. ``prune`` is a share of the filters; ``budget_s`` None goes by ``steps``."""

    int8: bool
    prune: float | None
    distil: bool
    budget_s: float | None
    steps: int
    seed: int
    device: str
    threads: int

    @property
    def student(self) -> bool:
        """Whether a new network is trained."""
        return self.prune is not None or self.distil

    def record(self) -> dict[str, Any]:
        """For the lineage."""
        return {
            "int8": self.int8,
            "prune": self.prune,
            "distil": DISTILLED_SHARE if self.distil else None,
            "seed": self.seed,
        }


def parameters_of(model: Model) -> int:
    """How many numbers the weights of all members hold, read from the headers of their files."""
    from safetensors import safe_open

    total = 0
    for number in range(len(model.info.members)):
        with safe_open(model.graph(number, ".safetensors"), framework="numpy") as file:
            total += sum(prod(file.get_slice(name).get_shape()) for name in file.offset_keys())
    return total


class Making:
    """One compressed model from its parent to a sealed folder.

    Args:
        parent: what is compressed.
        cases: what it may be compressed with.
        wanted: how.
        name: of the new model.
        staging: where its folder is made.
        work: for what is needed meanwhile.
    """

    def __init__(
        self,
        parent: Model,
        cases: KnownCases,
        wanted: Wanted,
        name: str,
        staging: Path,
        work: Path,
        progress: Progress,
        cancel: CancelToken,
    ) -> None:
        self.parent, self.cases, self.wanted = parent, cases, wanted
        self.staging, self._work = staging, work
        self._progress, self._cancel = progress, cancel
        self._name = name
        self._steps: list[int] = []

    def make(self) -> ParityRecord:
        """Everything but the verdict: the folder holds every form, and the record says which may be run."""
        members = self._students() if self.wanted.student else self._copied()
        self._copy_coarse()
        info = self._info(members)
        model = seal(self.staging, info)
        if self.wanted.student:
            self._progress.say("calibrating on the validation split")
            with Predictor(model, threads=self.wanted.threads) as predictor:
                collected = collect(predictor, self.cases.dataset, self.cases.judged, cancel=self._cancel)
            self._cancel.raise_if_cancelled()
            model = seal(self.staging, info.model_copy(update={"calibration": fit(model.plan, collected)}))
        if self.wanted.int8:
            model = self._quantised(model)
        return compare(
            model,
            self.cases.dataset,
            self.cases.judged,
            parent=self.parent if self.wanted.student else None,
            notes=self.cases.notes,
            threads=self.wanted.threads,
            progress=self._progress,
            cancel=self._cancel,
        )

    def finish(self, record: ParityRecord) -> None:
        """Take away INT8 graphs that may not be run, write the record and the card, and seal."""
        info = Model.open(self.staging).info
        refused = record.form("int8")
        if refused is not None and not refused.allowed:
            info = info.model_copy(update={"members": tuple(_without_int8(m, self.staging) for m in info.members)})
        (self.staging / "parity.json").write_text(record.model_dump_json(indent=1))
        self._card(info, record)
        seal(self.staging, info)

    def _quantised(self, model: Model) -> Model:
        windows = windows_of(self.cases.dataset, self.cases.judged, model.plan, cancel=self._cancel)
        members = quantise(model, self.staging, windows, progress=self._progress, cancel=self._cancel)
        return seal(self.staging, model.info.model_copy(update={"members": members}))

    def _copied(self) -> list[Member]:
        """The parent's files but for earlier INT8 graphs and what was said about its forms."""
        members = []
        for number, member in enumerate(self.parent.info.members):
            graphs = {suffix: path for suffix, path in member.graphs.items() if suffix != INT8_SUFFIX}
            for suffix in (".safetensors", *graphs):
                source = self.parent.graph(number, suffix)
                self._copy(source)
                if suffix == ".xml":
                    self._copy(source.with_suffix(".bin"))
            members.append(member.model_copy(update={"graphs": graphs}))
        for name in ("plan.json", "performance.json", "card.md"):
            if name in self.parent.info.files:
                self._copy(self.parent.file(name))
        return members

    def _copy_coarse(self) -> None:
        """The parent's coarse network, where it has one: it bounds where targets lie, whichever network finds them."""
        coarse = self.parent.info.coarse
        for name in self.parent.info.files if coarse is not None else ():
            if coarse is not None and name.startswith(f"{coarse.folder}/"):
                self._copy(self.parent.file(name))

    def _copy(self, source: Path) -> None:
        target = self.staging / source.relative_to(self.parent.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

    def _students(self) -> list[Member]:
        """Train, and write the plan, weights and graphs."""
        from osler.learning.devices import set_threads
        from osler.learning.export import export_member
        from osler.learning.students import distilled_student, pruned_student

        set_threads(self.wanted.threads)
        stores = self._stores()
        sink, token = self._progress, self._cancel
        count = len(self.parent.info.members) if self.wanted.prune is not None else 1
        members = []
        for number in range(count):
            lesson = self._lesson(number, count, stores)
            if self.wanted.prune is not None:
                outcome, plan = pruned_student(
                    self.parent, number, self.wanted.prune, lesson, progress=sink, cancel=token
                )
                fold = self.parent.info.members[number].fold
            else:
                outcome, plan = distilled_student(self.parent, DISTILLED_SHARE, lesson, progress=sink, cancel=token)
                fold = None
            _check_whole(outcome)
            members.append(export_member(outcome.network, plan, self.staging, number, steps=outcome.steps, fold=fold))
            self._steps.append(outcome.steps)
        (self.staging / "plan.json").write_text(plan.model_dump_json(indent=1))
        return members

    def _lesson(self, number: int, count: int, stores: Sequence[PreparedStore]) -> Lesson:
        from osler.learning.students import Lesson

        wanted = self.wanted
        return Lesson(
            training=stores[0],
            validation=stores[1],
            folder=self._work / f"student{number}",
            steps=wanted.steps,
            deadline_s=None if wanted.budget_s is None else wanted.budget_s / count,  # equal shares: none starves
            seed=wanted.seed + number,
            device=wanted.device,
            stage="training the student" if count == 1 else f"training student {number + 1} of {count}",
        )

    def _stores(self) -> list[PreparedStore]:
        """Prepared training and validation cases."""
        stores = [
            PreparedStore.build(
                self.cases.dataset,
                records,
                self.parent.plan,
                self._work / "prepared",
                progress=self._progress,
                cancel=self._cancel,
                workers=self.wanted.threads,
            )
            for records in (self.cases.training, self.cases.judged)
        ]
        if not stores[0].names:
            raise TooFew(
                "the data hold no case that the model was trained on, so a student has nothing to learn from",
                remedy="give the data that it was trained on",
            )
        return stores

    def _info(self, members: Sequence[Member]) -> ModelInfo:
        parent = self.parent.info
        lineage = {
            **({} if self.wanted.student else parent.lineage),
            "parent": {"name": parent.name, "digest": parent.digest, "lineage": parent.lineage},
            "compression": self.wanted.record(),
        }
        if self.wanted.student:
            lineage |= {"method": "distilled", "steps": self._steps}
        return parent.model_copy(
            update={
                "schema_version": ModelInfo.model_fields["schema_version"].default,
                "osler_version": version("osler"),
                "name": self._name,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "members": tuple(members),
                "data": parent.data if self.cases.known else self._newly_seen(parent.data),
                "lineage": lineage,
                "files": {},
            }
        )

    def _newly_seen(self, data: DataSummary) -> DataSummary:
        """Of a model that does not say what it has seen: at least what it has seen now."""
        salt, dataset = secrets.token_hex(16), self.cases.dataset
        judged = tuple(sorted(content_digest(dataset, record, salt) for record in self.cases.judged))
        learnt = self.cases.training if self.wanted.student else ()
        patients = {r.patient for r in (*self.cases.judged, *learnt) if r.patient is not None}
        return data.model_copy(
            update={
                "salt": salt,
                "calibrated": judged,
                "seen": tuple(sorted((*judged, *(content_digest(dataset, record, salt) for record in learnt)))),
                "seen_patients": tuple(sorted(patient_digest(patient, salt) for patient in patients)),
            }
        )

    def _card(self, info: ModelInfo, record: ParityRecord) -> None:
        """The parent's card of the same network, a new one of a new network, and what was compared."""
        path = self.staging / "card.md"
        if self.wanted.student or not path.is_file():
            facts = {
                "Compressed from": f"{self.parent.info.name}, SHA-256 {self.parent.info.digest}",
                "How": json.dumps(self.wanted.record()),
                "Performance": "not measured beyond what is below; osler evaluate does that",
            }
            path.write_text(model_card(info.name, None, intended_use=info.intended_use, facts=facts))
        lines = "\n".join(f"- {sentence.strip()}" for sentence in record.sentences())
        path.write_text(f"{path.read_text().rstrip()}\n\n## Compressed forms\n\n{lines}\n")


def _without_int8(member: Member, folder: Path) -> Member:
    path = folder / member.graphs[INT8_SUFFIX]
    path.unlink()
    path.with_suffix(".bin").unlink()
    return member.model_copy(update={"graphs": {k: v for k, v in member.graphs.items() if k != INT8_SUFFIX}})


def _check_whole(outcome: Outcome) -> None:
    """A student that was stopped early would only fail its comparison: nothing is written."""
    if outcome.stopped_early:
        raise Cancelled("stopped at your request; nothing was written", remedy="run the same command again")
