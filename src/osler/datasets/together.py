"""``kept_together``: which cases a split may never part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from osler.datasets.dataset import Dataset
from osler.datasets.duplicates import duplicate_groups
from osler.progress import Progress

__all__ = ["Together", "kept_together"]

Together = Sequence[tuple[int, ...]]
"""Indices of records that belong together: each record in exactly one group."""


def kept_together(dataset: Dataset, *, progress: Progress | None = None) -> Together:
    """The cases of each patient or, where patients are unknown, sets of near-duplicates; a case without a patient is
    alone.

    Reads every image where patients are unknown, so do it once and hand it on.

    Raises:
        StudyError: when an image cannot be read.
    """
    if dataset.manifest.patients == "unknown":
        return duplicate_groups(dataset, dataset.records, progress=progress)
    found: dict[str, list[int]] = defaultdict(list)
    for i, record in enumerate(dataset.records):
        found[record.patient or f"\0{record.name}"].append(i)
    return [tuple(members) for members in found.values()]
