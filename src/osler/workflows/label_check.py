"""Which answers of a dataset are probably wrong, asked of a model that has not seen the cases. No torch.

Classes, grades and each of several labels go through confident learning. Of masks and numbers it is the cases on which
model and answer are much further apart than on the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from osler.assurance.results import CaseRow
from osler.datasets.checks.robust import Usual, outliers
from osler.datasets.dataset import Dataset
from osler.datasets.identity import known_digest
from osler.datasets.label_errors import find_label_errors
from osler.datasets.labels import LabelSet
from osler.datasets.manifest import Record
from osler.datasets.problem import Problem, counted
from osler.errors import DatasetError, StudyError, TooFew, UsageError
from osler.inference.calibrate import images_of
from osler.inference.labelled import as_labelled
from osler.inference.predictor import Predictor
from osler.inference.stream import Answer, stream
from osler.models.folder import Model
from osler.progress import CancelToken, Progress, Silent
from osler.studies.geometry import Array
from osler.workflows.evaluate import part_seen
from osler.workflows.matching import Matching, match_labels
from osler.workflows.measure import Part, measure_parts

__all__ = ["Asked", "check_answers", "fitting_model"]

_STAGE = "asking the model"
_FEWEST = 20
"""Cases that the model has not seen, below which its disagreement says nothing."""
_DISAGREEMENT = 0.1
"""Share of a mask's agreement, or of the answers' range, that is never unusual."""
_TOO_MANY = 0.3
"""Share of the answers from which it is the model that is wrong, or the data are of another kind."""
_REMEDY = "look at image and answer together; correct the answer, or keep it if it is right"


@dataclass(frozen=True)
class Asked:
    """What came of asking: ``problems`` is one, of code "label-error". ``masks`` holds what the model drew in the first
    suspects: (I, J[, K]) on the image's grid, with the values that the data give their labels."""

    problems: tuple[Problem, ...]
    masks: Mapping[str, Array] = field(default_factory=dict)


def fitting_model(model: Model | str | Path, labels: LabelSet) -> Model:
    """The model, opened, if its answers are of the kind of these labels.

    Raises:
        PathNotFound: when there is no such folder.
        ModelError: when the model is damaged, or for another task or other labels.
        UsageError: when there are no answers that could be checked.
    """
    opened = model if isinstance(model, Model) else Model.open(model)
    if labels.kind != "number" and not labels.labels:
        raise UsageError(
            "nothing says what these studies show, so there are no answers to check with a model",
            remedy="leave --model out, or give the studies answers first",
        )
    match_labels(labels, opened.plan.labels)
    return opened


def check_answers(
    model: Model | str | Path,
    dataset: Dataset,
    *,
    masks: int = 0,
    threads: int = 0,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Asked:
    """The cases whose answer is probably wrong, the surest first, and what the model says of each.

    Cases that the model was trained or calibrated on say nothing about their labels and are left out; of a
    cross-validation, each is judged by the members that have not seen it. Cases that cannot be read are left out too.
    A note says so when too few are left, when no answer is suspect, and when the model disagrees so often that it is no
    judge.

    Args:
        model: a model folder.
        dataset: its answers are of the model's kind.
        masks: of how many suspects to keep what the model drew.
        threads: 0 lets the engine decide.
        progress: where to tell.
        cancel: asked between cases.

    Raises:
        PathNotFound: when there is no such folder.
        ModelError: when the model is damaged, or for another task or other labels.
        UsageError: when there are no answers that could be checked.
        Cancelled: when a stop was asked for.
    """
    model = fitting_model(model, dataset.labels)
    sink, token = progress or Silent(), cancel or CancelToken()
    answered = [record for record in dataset.records if record.answered]
    seen, unseen = part_seen(dataset, answered, model.info.data, progress=sink, cancel=token)
    juries = _juries(model, dataset, seen, unseen)
    judged = sum(len(records) for _, records in juries)
    if judged < _FEWEST:
        return Asked((_too_few(len(answered) - judged, judged),))
    with ExitStack() as stack:
        parts = [
            Part(stack.enter_context(Predictor(model, threads=threads, members=members)), dataset, tuple(records))
            for members, records in juries
        ]
        asking = _Asking(parts, dataset, match_labels(dataset.labels, model.plan.labels), sink, token)
        by_disagreement = dataset.labels.kind in ("mask", "number")
        suspects = _by_disagreement(asking) if by_disagreement else _by_probability(asking)
        problem = _problem(suspects, seen=len(answered) - judged, unseen=judged)
        first = problem.cases[:masks] if dataset.labels.kind == "mask" else ()
        return Asked((problem,), _masks_of(asking, first))


_Jury = tuple[tuple[int, ...] | None, list[Record]]
"""Numbers of the members that judge, None for all, and the cases that none of them has seen."""


def _juries(model: Model, dataset: Dataset, seen: Sequence[Record], unseen: Sequence[Record]) -> list[_Jury]:
    found: list[_Jury] = [(None, list(unseen))] if unseen else []
    summary = model.info.data
    if not summary.held_out:
        return found
    digests = {record.name: known_digest(dataset, record, summary.salt) for record in seen}
    taken: set[str] = set()
    for fold, held_out in summary.held_out.items():
        members = tuple(n for n, member in enumerate(model.info.members) if member.fold == fold)
        known = set(held_out)
        records = [r for r in seen if r.name not in taken and digests[r.name] in known]
        taken |= {r.name for r in records}
        if records and members:
            found.append((members, records))
    return found


@dataclass(frozen=True)
class _Asking:
    """Entered predictors and what each is asked about."""

    parts: Sequence[Part]
    dataset: Dataset
    matching: Matching
    progress: Progress
    cancel: CancelToken


@dataclass(frozen=True)
class _Suspects:
    """What is said of each suspect and how sure it is (higher is surer), by name; of how many ``checked`` cases.

    ``noise`` is the estimated share of wrong answers, None where it cannot be estimated.
    """

    checked: int
    details: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    noise: float | None = None


def _too_few(seen: int, unseen: int) -> Problem:
    left = "none is left" if not unseen else f"only {unseen} {'is' if unseen == 1 else 'are'} left"
    what = f"the answers were not checked: the model has learnt from {counted(seen)}, and {left}"
    return Problem(
        code="label-error",
        severity="note",
        what=what if seen else f"the answers were not checked: {counted(unseen)} are too few",
        remedy=f"ask a model that has learnt from other cases, about {_FEWEST} cases or more",
    )


def _problem(suspects: _Suspects, *, seen: int, unseen: int) -> Problem:
    """A warning with the suspects, or a note that there are none or that the model is no judge."""
    figures = {"answers checked": float(suspects.checked)}
    if suspects.noise is not None:
        figures["estimated share of wrong answers"] = suspects.noise
    if suspects.checked < _FEWEST:
        what = f"the answers were not checked: the model can use only {suspects.checked} of {counted(unseen)}"
        remedy = "ask a model for images of this kind"
        return Problem(code="label-error", severity="note", what=what, remedy=remedy, figures=figures)
    left_out = f"; it has learnt from {counted(seen)}, which were left out" if seen else ""
    if not suspects.details:
        what = f"the model contradicts none of the {suspects.checked} answers that were checked{left_out}"
        return Problem(code="label-error", severity="note", what=what, figures=figures)
    many = len(suspects.details)
    if many > _TOO_MANY * suspects.checked:
        what = f"the model contradicts {many} of {suspects.checked} answers: so often that it is no judge of them"
        remedy = "evaluate it on these data (osler evaluate), or ask a better one"
        return Problem(code="label-error", severity="note", what=what, remedy=remedy, figures=figures)
    return Problem(
        code="label-error",
        severity="warning",
        what=f"{counted(many)}: the answer is probably wrong, of {suspects.checked} that a model judged which had not "
        f"seen them{left_out}",
        cases=tuple(sorted(suspects.details, key=lambda name: -suspects.scores[name])),
        remedy=_REMEDY,
        details=dict(suspects.details),
        scores=dict(suspects.scores),
        figures=figures,
    )


def _by_probability(asking: _Asking) -> _Suspects:
    names, outputs, truths = _answers(asking)
    if len(names) < _FEWEST:
        return _Suspects(len(names))
    judge = _of_several if asking.matching.model.kind == "several" else _of_classes
    return judge(names, outputs, truths, asking.matching.model.names)


def _answers(asking: _Asking) -> tuple[list[str], Array, Array]:
    """Names, outputs (N, O) and truths (N,) or (N, O) of the cases that could be used."""
    names: list[str] = []
    outputs, truths = [], []
    asking.progress.start(_STAGE, sum(len(part.records) for part in asking.parts), "cases")
    for answer in chain.from_iterable(_asked(part, part.records, asking.cancel) for part in asking.parts):
        asking.progress.advance(_STAGE)
        record = answer.key
        if record.target is None:
            continue
        try:
            output = answer.usable[2]
        except (StudyError, DatasetError):
            continue  # how many were checked is told, and inspection lists what cannot be read
        outputs.append(output)
        truths.append(asking.matching.target(record.target))
        names.append(record.name)
    asking.cancel.raise_if_cancelled()
    asking.progress.finish(_STAGE)
    return names, np.array(outputs), np.array(truths)


def _asked(part: Part, records: Iterable[Record], cancel: CancelToken) -> Iterator[Answer[Record]]:
    sources = ((record, partial(images_of, part.dataset, record, part.predictor.plan)) for record in records)
    return stream(part.predictor, sources, cancel=cancel)


def _of_classes(names: Sequence[str], outputs: Array, truths: Array, labels: Sequence[str]) -> _Suspects:
    given = truths.astype(int)
    found = find_label_errors(outputs / outputs.sum(axis=1, keepdims=True), given)
    details = {
        names[place]: f"called {labels[given[place]]}, looks like {labels[suggested]} "
        f"(probability {outputs[place, suggested]:.2f} against {outputs[place, given[place]]:.2f})"
        for place, suggested in zip(found.places, found.suggested, strict=True)
    }
    scores = {names[place]: margin for place, margin in zip(found.places, found.margins, strict=True)}
    return _Suspects(len(names), details, scores, found.noise)


def _of_several(names: Sequence[str], outputs: Array, truths: Array, labels: Sequence[str]) -> _Suspects:
    """Each label by itself, where it is known."""
    details: dict[str, list[str]] = {}
    scores: dict[str, float] = {}
    for label, output, truth in zip(labels, outputs.T, truths.T, strict=True):
        known = np.flatnonzero(~np.isnan(truth))
        if len(known) < _FEWEST:
            continue
        probabilities = np.stack([1 - output[known], output[known]], axis=1)
        found = find_label_errors(probabilities, truth[known].astype(int))
        for place, suggested, margin in zip(found.places, found.suggested, found.margins, strict=True):
            name = names[known[place]]
            said = "called without, seems to show" if suggested else "called with, seems not to show"
            details.setdefault(name, []).append(f"{said} {label} (probability {output[known[place]]:.2f})")
            scores[name] = max(scores.get(name, 0.0), margin)
    return _Suspects(len(names), {name: "; ".join(parts) for name, parts in details.items()}, scores)


def _by_disagreement(asking: _Asking) -> _Suspects:
    """Masks by their mean agreement with the model's, numbers by their distance from it."""
    try:
        measured = measure_parts(asking.parts, pictures=0, progress=asking.progress, cancel=asking.cancel)
    except TooFew:  # no case could be used
        return _Suspects(0)
    labels = asking.dataset.labels
    rows = {r.name: r for r in measured.evaluation.per_case if r.score is not None and np.isfinite(r.score)}
    apart = {name: float(row.score or 0.0) for name, row in rows.items()}
    masks = labels.kind == "mask"
    floor = _DISAGREEMENT * (1.0 if masks else _range_of(rows.values()))
    limits, odd = outliers(apart, floor, side="low" if masks else "high")
    if limits is None:
        return _Suspects(len(rows))
    say = _said_of_mask if masks else _said_of_number
    return _Suspects(len(rows), {name: say(rows[name], limits, labels.unit) for name in odd}, odd)


def _range_of(rows: Iterable[CaseRow]) -> float:
    truths = [truth for row in rows if (truth := row.scores.get("truth")) is not None]
    return float(np.ptp(truths)) if truths else 0.0


def _said_of_mask(row: CaseRow, limits: Usual, _unit: str) -> str:
    score = row.score or 0.0
    note = f"; {row.note} by the model" if row.note else ""
    return f"agrees with the model's mask to {score:.2f} (Dice), usual {min(limits.low, 1.0):.2f} and above{note}"


def _said_of_number(row: CaseRow, limits: Usual, unit: str) -> str:
    told = f"said to be {row.answer}, looks like {row.predicted} {unit}".rstrip()
    return f"{told} (usual difference at most {limits.high:.3g})"


def _masks_of(asking: _Asking, names: Sequence[str]) -> dict[str, Array]:
    """What the model draws in a few cases, which are asked once more so that no mask of the others has to be kept."""
    drawn = {}
    for part in asking.parts:
        for answer in _asked(part, (r for r in part.records if r.name in names), asking.cancel):
            _, trace, output = answer.usable
            regions = part.predictor.plan.regions
            mask = as_labelled(output, trace, asking.matching.model, regions=regions).whole_mask
            drawn[answer.key.name] = _with_values_of_the_data(mask, asking.matching)
    asking.cancel.raise_if_cancelled()
    return drawn


def _with_values_of_the_data(mask: Array, matching: Matching) -> Array:
    """What the data have no label for is left out."""
    result = np.zeros(mask.shape, np.result_type(*(np.min_scalar_type(v) for v in (0, *matching.data.values))))
    for value, place in zip(matching.data.values, matching.places, strict=True):
        result[mask == matching.model.values[place]] = value
    return result
