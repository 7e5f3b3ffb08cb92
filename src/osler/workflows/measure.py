"""Predicts the cases of a dataset and measures the answers: what both training and ``osler evaluate`` end with.

Answers of a few numbers are kept until the end; a mask is scored as soon as it is predicted, and dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from osler.assurance.evaluation import (
    CaseScores,
    Evaluation,
    evaluate_classes,
    evaluate_grades,
    evaluate_masks,
    evaluate_numbers,
    evaluate_several,
    score_mask,
)
from osler.assurance.results import CaseRow, SplitBy
from osler.datasets.dataset import Dataset
from osler.datasets.manifest import Record
from osler.datasets.preparation import grid_difference
from osler.errors import DatasetError, GridMismatch, StudyError, TooFew
from osler.findings.finding import Findings
from osler.inference.calibrate import images_of
from osler.inference.decoders import DECODERS
from osler.inference.labelled import as_labelled
from osler.inference.predictor import Predictor
from osler.inference.stream import Answer, stream
from osler.progress import CancelToken, Progress, Silent
from osler.report.pictures import picture_of
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.notes import grouped_notes
from osler.workflows.matching import Matching, match_labels

__all__ = ["Measured", "Part", "evaluate_records", "measure_parts"]

_STAGE = "evaluating"


@dataclass(frozen=True)
class Measured:
    """The figures, pictures (PNG) of the worst cases by name, worst first, and the reason by name of each case that
    could not be used and is in no figure."""

    evaluation: Evaluation
    pictures: dict[str, bytes]
    failed: dict[str, str]


@dataclass(frozen=True)
class Part:
    """Cases and the entered predictor that measures them."""

    predictor: Predictor
    dataset: Dataset
    records: tuple[Record, ...]


@dataclass
class _Kept:
    """What is kept of each case until the end: ``truths`` and ``outputs``, or ``scores`` of masks; and what to check
    about it, by name."""

    records: list[Record] = field(default_factory=list)
    truths: list[Array] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    scores: list[CaseScores] = field(default_factory=list)
    doubts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def evaluate_records(
    predictor: Predictor,
    dataset: Dataset,
    records: Sequence[Record],
    *,
    name: str = "",
    split_by: SplitBy | None = None,
    seed: int = 0,
    pictures: int = 6,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Measured:
    """Predict and measure cases; a case that cannot be used is told, listed, and in no figure.

    Args:
        predictor: entered.
        dataset: where the records lie; its labels may be fewer or in another order than the model's.
        records: those with an answer are measured.
        name: of the data, for the page; the dataset's by default.
        split_by: how the data were split, where it cannot be told from the records' patients.
        seed: of the bootstrap.
        pictures: how many of the worst cases to draw.
        progress: where to tell.
        cancel: asked between cases.

    Raises:
        ModelError: when the model is for another task or other labels.
        TooFew: when no case is left.
        Cancelled: when a stop was asked for; half of a test set measures nothing.
    """
    part = Part(predictor, dataset, tuple(records))
    return measure_parts(
        [part], name=name, split_by=split_by, seed=seed, pictures=pictures, progress=progress, cancel=cancel
    )


def measure_parts(
    parts: Sequence[Part],
    *,
    name: str = "",
    split_by: SplitBy | None = None,
    seed: int = 0,
    pictures: int = 6,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Measured:
    """As ``evaluate_records``, over several parts that are measured as one: the folds of a cross-validation, each with
    the member that has not seen it. All parts have one label set and one plan."""
    matching = match_labels(parts[0].dataset.labels, parts[0].predictor.plan.labels)
    parts = [Part(p.predictor, p.dataset, tuple(r for r in p.records if r.answered)) for p in parts]
    total = sum(len(part.records) for part in parts)
    if not total:
        raise TooFew("there is no case with an answer to measure on", remedy="bring labelled cases")
    sink, token = progress or Silent(), cancel or CancelToken()
    kept = _Kept()
    sink.start(_STAGE, total, "cases")
    for part in parts:
        _predict_part(part, kept, matching, sink, token)
    token.raise_if_cancelled()
    if not kept.records:
        raise TooFew(
            f"none of the {total} cases could be used; the first: {next(iter(kept.failed.values()))}",
            remedy="check that these data are of the kind that the model was trained on",
        )
    first = parts[0]
    figures = _evaluation(kept, first.predictor, name=name or first.dataset.manifest.name, split_by=split_by, seed=seed)
    evaluation = _noted(figures, kept, matching)
    worst = {row.name: row for row in evaluation.per_case[:pictures]}
    drawn = {}
    for part in parts:
        drawn.update(_draw(worst, part, matching))
    sink.finish(_STAGE)
    return Measured(evaluation, {case: drawn[case] for case in worst}, kept.failed)


def _predict_part(part: Part, kept: _Kept, matching: Matching, sink: Progress, token: CancelToken) -> None:
    for answer in stream(part.predictor, _sources(part.predictor, part.dataset, part.records), cancel=token):
        _keep(kept, answer, part, matching)
        sink.advance(_STAGE, 1)
        if answer.key.name in kept.failed:
            sink.say(f"{answer.key.name} is left out: {kept.failed[answer.key.name]}")


def _sources(predictor: Predictor, dataset: Dataset, records: Sequence[Record]) -> Any:
    return ((record, partial(images_of, dataset, record, predictor.plan)) for record in records)


def _keep(kept: _Kept, answer: Answer[Record], part: Part, matching: Matching) -> None:
    record = answer.key
    try:
        image, trace, output = answer.usable
        if record.mask is not None and matching.model.kind == "mask":
            truth = _truth(record, image, part.dataset, matching)
            regions = part.predictor.plan.regions
            predicted = as_labelled(output, trace, matching.model, regions=regions).whole_mask
            kept.scores.append(score_mask(truth, predicted, matching.model, image.spacing, image.spacing_known))
        elif record.target is not None:
            kept.truths.append(matching.target(record.target))
            kept.outputs.append(np.asarray(output))
        kept.records.append(record)
        kept.doubts[record.name] = answer.notes
    except (StudyError, DatasetError) as error:
        kept.failed[record.name] = error.problem


def _truth(record: Record, image: Image, dataset: Dataset, matching: Matching) -> Array:
    """(I, J[, K]) with the model's values."""
    if record.mask is None:
        raise StudyError(f"{record.name} has no mask")
    mask = dataset.read_mask(record.mask, onto=image)
    difference = grid_difference(image, mask)
    if difference:
        raise GridMismatch(f"the mask does not lie on the image's grid: {difference}", remedy="resample it first")
    return matching.mask(mask.array[0])


def _evaluation(kept: _Kept, predictor: Predictor, *, name: str, split_by: SplitBy | None, seed: int) -> Evaluation:
    labels = predictor.plan.labels
    names = [record.name for record in kept.records]
    patients = [record.patient for record in kept.records]
    columns = [_columns(record) for record in kept.records]
    common: dict[str, Any] = {"name": name, "split_by": split_by, "seed": seed}
    if labels.kind == "mask":
        return evaluate_masks(labels, kept.scores, names, patients, columns, **common)
    truths, outputs = np.stack(kept.truths), np.stack(kept.outputs)
    if labels.kind == "number":
        half_width = predictor.calibration.half_width
        return evaluate_numbers(
            labels, names, patients, truths, outputs[:, 0], columns, half_width=half_width, **common
        )
    measure = {"classes": evaluate_classes, "grades": evaluate_grades, "several": evaluate_several}[labels.kind]
    evaluation: Evaluation = measure(labels, names, patients, truths, outputs, columns, **common)
    return evaluation


def _columns(record: Record) -> dict[str, str]:
    return {**({"site": record.site} if record.site else {}), **record.columns}


def _noted(evaluation: Evaluation, kept: _Kept, matching: Matching) -> Evaluation:
    notes = list(evaluation.notes)
    if kept.failed:
        listed = "; ".join(f"{name}: {reason}" for name, reason in list(kept.failed.items())[:5])
        rest = len(kept.failed) - 5
        more = f"; and {rest} more" if rest > 0 else ""
        notes.append(f"{len(kept.failed)} cases could not be used and are in no figure ({listed}{more}).")
    doubts = grouped_notes(kept.doubts)
    notes += [f"In {len(found)} of {len(kept.records)} cases {doubt}." for doubt, found in doubts.items()]
    if matching.absent:
        notes.append(f"No case of these data is labelled {', '.join(matching.absent)}, which the model knows.")
    return evaluation.model_copy(update={"notes": tuple(notes)})


def _draw(rows: Mapping[str, CaseRow], part: Part, matching: Matching) -> dict[str, bytes]:
    """The worst cases are predicted once more, so that no image has to be kept for them."""
    predictor, dataset = part.predictor, part.dataset
    chosen = [record for record in part.records if record.name in rows]
    drawn = {}
    for answer in stream(predictor, _sources(predictor, dataset, chosen)):
        image, trace, output = answer.usable
        decoded = DECODERS[predictor.plan.task].decode(output, trace, predictor.plan, predictor.calibration)
        name = answer.key.name
        findings = Findings(study=name, model="", task=predictor.plan.task, findings=decoded.findings)
        is_mask = matching.model.kind == "mask"
        truth = _truth(answer.key, image, dataset, matching) if is_mask else None
        more = [f"true answer: {rows[name].answer}"] if rows[name].answer else []
        drawn[name] = picture_of(image, findings, matching.model, mask=decoded.mask, truth=truth, more=more)
    return drawn
