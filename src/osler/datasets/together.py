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
    """The cases of each patient; of cases without a patient, sets of near-duplicates.

    Reads every image without a patient, so do it once and hand it on.

    Raises:
        StudyError: when an image cannot be read.
    """
    if dataset.manifest.patients == "unknown":
        return duplicate_groups(dataset, dataset.records, progress=progress)
    found: dict[str, list[int]] = defaultdict(list)
    nobody: list[int] = []
    for i, record in enumerate(dataset.records):
        (nobody if record.patient is None else found[record.patient]).append(i)
    groups = [tuple(members) for members in found.values()]
    if nobody:
        alike = duplicate_groups(dataset, [dataset.records[i] for i in nobody], progress=progress)
        groups += [tuple(nobody[n] for n in group) for group in alike]
    return groups
