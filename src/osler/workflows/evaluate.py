"""Measures a model on labelled studies that it has not seen, and writes the figures as a page. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.assurance.evaluation import Evaluation
from osler.assurance.page import write_page
from osler.assurance.results import SplitBy
from osler.assurance.wording import headline_sentences
from osler.datasets.dataset import Dataset
from osler.datasets.identity import known_digest, patient_digest
from osler.datasets.layouts import open_dataset
from osler.datasets.manifest import Record, Split
from osler.datasets.plan import Plan
from osler.errors import DatasetError, NoLabels, OslerError, OutputExists, TooFew, UsageError
from osler.inference.engines import DEFAULT_ENGINE, Precision
from osler.inference.predictor import Predictor
from osler.models.folder import DataSummary, Model
from osler.progress import CancelToken, Progress, Silent
from osler.report.files import output_folder
from osler.workflows.coarse_facts import coarse_facts
from osler.workflows.matching import match_labels
from osler.workflows.measure import Measured, evaluate_records

__all__ = ["Evaluated", "Measured", "evaluate", "evaluate_records", "part_seen"]

_STAGE = "looking for cases that the model has seen"
_UNKNOWN_NOTE = (
    "The model was trained by another program and it is not recorded on which cases: where these are among them, or of "
    "the same patients, the figures flatter it."
)


@dataclass(frozen=True)
class Evaluated:
    """What ``evaluate`` found.

    Args:
        evaluation: the figures.
        seen: how many cases the model was trained or calibrated on, or are of such a patient.
        include_seen: whether those are in the figures; else they were left out.
        failed: reason by name of cases that could not be used and are in no figure.
        page: ``index.html``, None when nothing was written; ``metrics.json`` lies beside it.
    """

    evaluation: Evaluation
    seen: int
    include_seen: bool
    failed: dict[str, str]
    page: Path | None

    def summary(self) -> list[str]:
        """Lines for a person."""
        lines = list(headline_sentences(self.evaluation))
        lines += [note for note in self.evaluation.notes if note == _UNKNOWN_NOTE]
        if self.seen:
            lines.append(_seen_note(self.seen, included=self.include_seen))
        lines += [f"left out: {name}: {reason}" for name, reason in self.failed.items()]
        return [*lines, f"page: {self.page}"] if self.page is not None else lines

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "page": None if self.page is None else str(self.page),
            "metrics_file": None if self.page is None else str(self.page.with_name("metrics.json")),
            "cases": self.evaluation.cases,
            "patients": self.evaluation.patients,
            "split_by": self.evaluation.split_by,
            "seen": self.seen,
            "include_seen": self.include_seen,
            "metrics": {name: figure.model_dump() for name, figure in self.evaluation.metrics.items()},
            "failed": self.failed,
        }


def evaluate(
    model: Model | str | Path,
    dataset: Dataset | str | Path,
    *,
    output: str | Path | None = None,
    force: bool = False,
    split: Split | None = None,
    include_seen: bool = False,
    patient: str | None = None,
    engine: str = DEFAULT_ENGINE,
    precision: Precision | None = None,
    mirror: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Evaluated:
    """Measure a model.

    Args:
        model: a model folder.
        dataset: labelled studies.
        output: where ``metrics.json`` and ``index.html`` go; None writes nothing.
        force: overwrite them.
        split: only the cases that the data set itself puts into this split.
        include_seen: measure also on cases that the model was trained or calibrated on; the page says so.
        patient: a regular expression that finds the patient in a case's name.
        engine: a name on the list of engines.
        precision: None takes the fastest that the processor offers and the model's parity record allows.
        mirror: average over mirrored copies too.
        threads: 0 lets the engine decide.
        progress: where to tell.
        cancel: asked between cases.

    Raises:
        ModelError: when the model is damaged, or for another task or other labels.
        OutputExists: before any work, when the page would be overwritten.
        TooFew: when no case is left to measure on.
        Unknown, MissingExtra: when the engine cannot be had.
        StorageError: when the disk is full or ``output`` cannot be written.
        DatasetError, UsageError: when the data set cannot be used.
        Cancelled: when a stop was asked for.
    """
    model = model if isinstance(model, Model) else Model.open(model)
    place = None if output is None else Path(output)
    if place is not None and not force:
        _ensure_free(place)
    data = dataset if isinstance(dataset, Dataset) else _opened(dataset, model.plan, patient)
    match_labels(data.labels, model.plan.labels)
    sink, token = progress or Silent(), cancel or CancelToken()
    chosen = _chosen(data, split)
    predictor = Predictor(model, engine=engine, precision=precision, mirror=mirror, threads=threads)
    if predictor.choice.note:
        sink.say(predictor.choice.note)
    with predictor, output_folder(place):
        seen, unseen = part_seen(data, chosen, model.info.data, progress=sink, cancel=token)
        if not include_seen and not unseen:
            raise TooFew(
                f"the model was trained or calibrated on all {len(chosen)} cases, so nothing is left to measure it on",
                remedy="bring cases of other patients; --include-seen measures on these, which flatters the model",
            )
        records = chosen if include_seen else unseen
        given = split is not None or _holds_the_given_test_split(model, len(seen), include_seen)
        split_by: SplitBy | None = "given" if given else None
        measured = evaluate_records(predictor, data, records, split_by=split_by, progress=sink, cancel=token)
        evaluation = measured.evaluation
        notes = [_seen_note(len(seen), included=include_seen)] if seen else []
        notes += [f"{predictor.choice.note}."] if predictor.choice.note else []
        if model.info.data.split_by == "unknown":
            notes.append(_UNKNOWN_NOTE)
        evaluation = evaluation.model_copy(update={"notes": (*notes, *evaluation.notes)})
        page = None
        if place is not None:
            page = write_page(
                evaluation,
                place,
                facts=_facts(model, len(seen), include_seen, f"{engine} in {predictor.choice.precision}"),
                intended_use=model.info.intended_use,
                pictures=measured.pictures,
            )
    return Evaluated(evaluation, len(seen), include_seen, measured.failed, page)


def part_seen(
    dataset: Dataset,
    records: Sequence[Record],
    summary: DataSummary,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> tuple[list[Record], list[Record]]:
    """Part records into those whose content or patient the model has seen, and the others.

    A record whose image cannot be read counts as not seen; measuring reports it.
    """
    if not summary.seen and not summary.seen_patients:
        return [], list(records)
    sink, token = progress or Silent(), cancel or CancelToken()
    cases, patients = set(summary.seen), set(summary.seen_patients)
    seen: list[Record] = []
    unseen: list[Record] = []
    sink.start(_STAGE, len(records), "cases")
    for record in records:
        token.raise_if_cancelled()
        known = record.patient is not None and patient_digest(record.patient, summary.salt) in patients
        (seen if known or known_digest(dataset, record, summary.salt) in cases else unseen).append(record)
        sink.advance(_STAGE)
    sink.finish(_STAGE)
    return seen, unseen


def _holds_the_given_test_split(model: Model, seen: int, include_seen: bool) -> bool:
    """Whether these are what is left of the data that the model was trained on, whose test split came with them."""
    return seen > 0 and not include_seen and model.info.data.split_by == "given"


def _ensure_free(output: Path) -> None:
    for name in ("metrics.json", "index.html"):
        if (output / name).exists():
            raise OutputExists(
                f"{output / name} exists already", remedy="give another --output, or --force to overwrite"
            )


def _opened(path: str | Path, plan: Plan, patient: str | None) -> Dataset:
    """The dataset with answers to the model's task; where it has none, as it is, so that the mismatch can be named."""
    try:
        return open_dataset(path, task=plan.task, patient=patient)
    except (UsageError, DatasetError) as error:
        other = _as_it_is(path, patient)
        if other is None or other.labels.kind == plan.labels.kind:
            raise error
        return other


def _as_it_is(path: str | Path, patient: str | None) -> Dataset | None:
    try:
        return open_dataset(path, patient=patient)
    except OslerError:
        return None


def _chosen(dataset: Dataset, split: Split | None) -> list[Record]:
    answered = [record for record in dataset if record.answered]
    if not answered:
        raise NoLabels(f"no case of {dataset.manifest.name} has an answer", remedy="bring labelled cases")
    if split is None:
        return answered
    chosen = [record for record in answered if record.split == split]
    if not chosen:
        there = sorted({record.split for record in answered if record.split})
        raise TooFew(
            f"{dataset.manifest.name} has no case in the split {split!r}",
            remedy=f"it has {', '.join(there)}" if there else "leave --split out: these data come without splits",
        )
    return chosen


def _seen_note(count: int, *, included: bool) -> str:
    cases = "1 case" if count == 1 else f"{count} cases"
    if included:
        return f"The model was trained or calibrated on {cases} of these, or on their patients: the figures flatter it."
    return f"{cases} left out: the model was trained or calibrated on them or on their patients."


def _facts(model: Model, seen: int, include_seen: bool, engine: str) -> dict[str, str]:
    data = model.info.data
    return {
        "Model": model.info.name,
        "Made": f"{model.info.created} with Osler {model.info.osler_version}",
        "Trained on": f"{data.train} cases of {data.name}, calibrated on {data.validation}"
        if data.split_by != "unknown"
        else f"{data.name}, by another program",
        "Networks": str(len(model.info.members)),
        "Cases that the model had seen": f"{seen}, {'kept' if include_seen else 'left out'}",
        "Engine": engine,
        **coarse_facts(model.info),
    }
