"""Which answers of a dataset are probably wrong, asked of a model that has not seen the cases. No torch.

Classes, grades and each of several labels go through confident learning. Of masks and numbers it is the cases on which
model and answer are much further apart than on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from osler.datasets.checks.robust import outliers
from osler.datasets.dataset import Dataset
from osler.datasets.label_errors import find_label_errors
from osler.datasets.manifest import Record
from osler.datasets.problem import Problem, counted
from osler.errors import DatasetError, StudyError
from osler.inference.calibrate import images_of
from osler.inference.predictor import Predictor
from osler.inference.stream import stream
from osler.models.folder import Model
from osler.progress import CancelToken, Progress, Silent
from osler.studies.geometry import Array
from osler.workflows.evaluate import part_seen
from osler.workflows.matching import Matching, match_labels
from osler.workflows.measure import evaluate_records

__all__ = ["check_answers"]

_STAGE = "asking the model"
_FEWEST = 20
"""Cases that the model has not seen, below which its disagreement says nothing."""
_DISAGREEMENT = 0.1
"""Share of a mask's agreement, or of the answers' range, that is never unusual."""
_REMEDY = "look at image and answer together; correct the answer, or keep it if it is right"


def check_answers(
    model: Model | str | Path,
    dataset: Dataset,
    *,
    threads: int = 0,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> tuple[Problem, ...]:
    """At most one problem, of code "label-error": the cases, the surest first, and what the model says of each.

    Cases that the model was trained or calibrated on say nothing about their labels and are left out; so are cases that
    cannot be read. When too few are left, a note says so.

    Args:
        model: a model folder.
        dataset: its answers are of the model's kind.
        threads: 0 lets the engine decide.
        progress: where to tell.
        cancel: asked between cases.

    Raises:
        ModelError: when the model is damaged, or for another task or other labels.
        Cancelled: when a stop was asked for.
    """
    model = model if isinstance(model, Model) else Model.open(model)
    matching = match_labels(dataset.labels, model.plan.labels)
    sink, token = progress or Silent(), cancel or CancelToken()
    answered = [record for record in dataset.records if record.answered]
    seen, unseen = part_seen(dataset, answered, model.info.data, progress=sink, cancel=token)
    if len(unseen) < _FEWEST:
        what = f"labels were not checked: the model has seen {counted(len(seen))}, and only {len(unseen)} are left"
        remedy = "check them with a model that was trained on other cases"
        return (Problem(code="label-error", severity="note", what=what, remedy=remedy),)
    with Predictor(model, threads=threads) as predictor:
        if dataset.labels.kind in ("mask", "number"):
            return _by_disagreement(predictor, dataset, unseen, sink, token)
        kept, outputs, truths = _ask(predictor, dataset, unseen, matching, sink, token)
    if len(kept) < _FEWEST:
        return ()
    if dataset.labels.kind == "several":
        return _of_several(kept, outputs, truths, matching)
    return _of_classes(kept, outputs, truths.astype(int), matching)


def _ask(
    predictor: Predictor,
    dataset: Dataset,
    records: Sequence[Record],
    matching: Matching,
    progress: Progress,
    cancel: CancelToken,
) -> tuple[list[str], Array, Array]:
    """Names, outputs (N, O) and truths (N,) or (N, O) of the cases that could be used."""
    names: list[str] = []
    outputs, truths = [], []
    progress.start(_STAGE, len(records), "cases")
    sources = ((record, partial(images_of, dataset, record, predictor.plan)) for record in records)
    for answer in stream(predictor, sources, cancel=cancel):
        progress.advance(_STAGE)
        record = answer.key
        if record.target is None:
            continue
        try:
            outputs.append(answer.usable[2])
        except (StudyError, DatasetError):
            continue  # inspection has listed it already, with the reason
        truths.append(matching.target(record.target))
        names.append(record.name)
    cancel.raise_if_cancelled()
    progress.finish(_STAGE)
    return names, np.array(outputs), np.array(truths)


def _of_classes(names: Sequence[str], outputs: Array, truths: Array, matching: Matching) -> tuple[Problem, ...]:
    labels = matching.model.names
    found = find_label_errors(outputs / outputs.sum(axis=1, keepdims=True), truths)
    details = {
        names[place]: f"called {labels[truths[place]]}, looks like {labels[suggested]} "
        f"({outputs[place, suggested]:.2f} against {outputs[place, truths[place]]:.2f})"
        for place, suggested in zip(found.places, found.suggested, strict=True)
    }
    scores = {names[place]: margin for place, margin in zip(found.places, found.margins, strict=True)}
    return _problem(details, scores, {"noise": found.noise, "checked": float(len(names))})


def _of_several(names: Sequence[str], outputs: Array, truths: Array, matching: Matching) -> tuple[Problem, ...]:
    """Each label by itself, where it is known."""
    details: dict[str, list[str]] = {}
    scores: dict[str, float] = {}
    for label, output, truth in zip(matching.model.names, outputs.T, truths.T, strict=True):
        known = np.flatnonzero(~np.isnan(truth))
        if len(known) < _FEWEST:
            continue
        probabilities = np.stack([1 - output[known], output[known]], axis=1)
        found = find_label_errors(probabilities, truth[known].astype(int))
        for place, suggested, margin in zip(found.places, found.suggested, found.margins, strict=True):
            name = names[known[place]]
            verb = "seems to show" if suggested else "seems not to show"
            details.setdefault(name, []).append(f"{verb} {label} ({output[known[place]]:.2f})")
            scores[name] = max(scores.get(name, 0.0), margin)
    texts = {name: ", ".join(parts) for name, parts in details.items()}
    return _problem(texts, scores, {"checked": float(len(names))})


def _by_disagreement(
    predictor: Predictor, dataset: Dataset, records: Sequence[Record], progress: Progress, cancel: CancelToken
) -> tuple[Problem, ...]:
    """Masks by their mean agreement with the model's, numbers by their distance from it."""
    evaluation = evaluate_records(predictor, dataset, records, pictures=0, progress=progress, cancel=cancel).evaluation
    rows = {row.name: row.score for row in evaluation.per_case if row.score is not None and np.isfinite(row.score)}
    limits, odd = outliers(rows, _DISAGREEMENT, side="low" if dataset.labels.kind == "mask" else "high")
    if limits is None:
        return ()
    details = {name: f"{rows[name]:.3g} where {limits.middle:.3g} is usual" for name in odd}
    return _problem(details, odd, {"checked": float(len(rows))})


def _problem(
    details: Mapping[str, str], scores: Mapping[str, float], figures: Mapping[str, float]
) -> tuple[Problem, ...]:
    if not details:
        return ()
    return (
        Problem(
            code="label-error",
            severity="warning",
            what=f"{counted(len(details))}: the answer is probably wrong, by a model that has not seen them",
            cases=tuple(sorted(details, key=lambda name: -scores[name])),
            remedy=_REMEDY,
            details=dict(details),
            scores=dict(scores),
            figures=dict(figures),
        ),
    )
