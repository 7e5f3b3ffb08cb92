"""Which cases of a data set a model may be compressed with: its own validation split, and its training split to learn.

A model folder keeps salted digests of the cases that it has seen, and of those which were for validation; by these they
are found again, whatever they are called now. Cases that the model has not seen are its test cases: they stay unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from osler.datasets.dataset import Dataset
from osler.datasets.identity import known_digest
from osler.datasets.manifest import Record
from osler.datasets.plan import Plan
from osler.datasets.splits import assign_splits
from osler.datasets.together import kept_together
from osler.errors import ModelError, TooFew
from osler.models.folder import DataSummary, Model
from osler.progress import CancelToken, Progress
from osler.workflows.matching import match_labels

__all__ = ["KnownCases", "known_cases"]

_STAGE = "looking for the cases that the model knows"
_UNKNOWN_NOTE = (
    "it is not recorded on which cases the model was trained: it may have learnt from those that its forms were "
    "compared on, which flatters all of them alike"
)


@dataclass(frozen=True)
class KnownCases:
    """Cases for learning, and those that compressing is judged on. ``known`` is False of a model that another program
    trained: then the data set's own new split is used, and its test cases are left alone."""

    dataset: Dataset
    training: tuple[Record, ...]
    judged: tuple[Record, ...]
    known: bool

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of figures on these cases should know."""
        return () if self.known else (_UNKNOWN_NOTE,)


def known_cases(model: Model, dataset: Dataset, *, seed: int, progress: Progress, cancel: CancelToken) -> KnownCases:
    """Find them.

    Args:
        model: what it has seen is in ``info.data``.
        dataset: with the labels of the model.
        seed: of the split, where the model does not know its cases.
        progress: gets a stage in cases.
        cancel: asked between cases.

    Raises:
        ModelError: when the labels are not the model's, or the model was made before validation cases were recorded.
        TooFew: when the data hold none of the model's validation cases.
        Cancelled: when a stop was asked for.
    """
    _check_labels(dataset, model.plan)
    records = [record for record in dataset if record.answered]
    summary = model.info.data
    if not summary.seen:
        parted = assign_splits(dataset, seed=seed, together=kept_together(dataset, progress=progress))
        return _of(
            dataset,
            [r for r in parted.records if r.answered and r.split == "train"],
            [r for r in parted.records if r.answered and r.split == "validation"],
            known=False,
        )
    if not summary.calibrated:
        raise ModelError(
            f"{model.path} does not say which cases it was calibrated on", remedy="train it with this version of Osler"
        )
    training, judged = _found(dataset, records, summary, progress, cancel)
    if not judged:
        raise TooFew(
            f"none of the {len(records)} cases of {dataset.manifest.name} is one that the model was calibrated on",
            remedy="give the data that it was trained on",
        )
    return _of(dataset, training, judged, known=True)


def _of(dataset: Dataset, training: Sequence[Record], judged: Sequence[Record], *, known: bool) -> KnownCases:
    return KnownCases(dataset, tuple(training), tuple(judged), known)


def _found(
    dataset: Dataset, records: Sequence[Record], summary: DataSummary, progress: Progress, cancel: CancelToken
) -> tuple[list[Record], list[Record]]:
    seen, calibrated = set(summary.seen), set(summary.calibrated)
    training: list[Record] = []
    judged: dict[str, Record] = {}  # by content: of copies one, and rather the one that is marked for validation
    progress.start(_STAGE, len(records), "cases")
    for record in records:
        cancel.raise_if_cancelled()
        digest = known_digest(dataset, record, summary.salt)
        if digest in calibrated:
            if digest not in judged or (record.split == "validation" != judged[digest].split):
                judged[digest] = record
        elif digest in seen:
            training.append(record)
        progress.advance(_STAGE)
    progress.finish(_STAGE)
    return training, list(judged.values())


def _check_labels(dataset: Dataset, plan: Plan) -> None:
    """Masks and targets are read as the plan numbers them."""
    matching = match_labels(dataset.labels, plan.labels)
    if matching.absent or matching.places != tuple(range(len(plan.labels.labels))):
        raise ModelError(
            f"the data's labels {', '.join(dataset.labels.names)} are not the model's {', '.join(plan.labels.names)}",
            remedy="give the data that it was trained on",
        )
    if plan.task == "segment" and dataset.labels.values != plan.labels.values:
        raise ModelError(
            f"masks of the data hold {dataset.labels.values}, those of the model {plan.labels.values}",
            remedy="give the data that it was trained on",
        )
