"""``SplitReport``: how a dataset is split, and whether anything is on two sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from osler.datasets.dataset import Dataset
from osler.datasets.duplicates import duplicate_groups
from osler.datasets.manifest import Record, Split
from osler.progress import Progress

__all__ = ["SplitReport", "describe_splits"]

_SHOWN = 3
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class SplitReport(BaseModel):
    """Counts per split ("train", "validation", "test").

    Args:
        counts: cases.
        groups: what stays together: patients or, where these are unknown, sets of near-duplicates.
        classes: cases per class and split; empty unless the answers are classes or grades.
        by: what was split by.
        leaks: names of cases that belong together and lie on different sides; only given splits can have any.
        warnings: one sentence each, for the user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    counts: dict[str, int]
    groups: dict[str, int]
    classes: dict[str, dict[str, int]] = {}
    by: Literal["patient", "image"]
    leaks: tuple[tuple[str, ...], ...] = ()
    warnings: tuple[str, ...] = ()


def describe_splits(dataset: Dataset, *, progress: Progress | None = None) -> SplitReport:
    """Count what is in each split and look for what should not be on two sides.

    Where patients are unknown every image is compared with every other (hashes are kept from ``assign_splits``).

    Raises:
        StudyError: when an image cannot be read.
    """
    records = dataset.records
    known = dataset.manifest.patients != "unknown"
    together = _by_patient(records) if known else duplicate_groups(dataset, records, progress=progress)
    leaks = [group for group in together if len({records[i].split for i in group}) > 1]
    groups = Counter(split for group in together for split in {records[i].split for i in group})
    return SplitReport(
        counts=_counted(Counter(record.split for record in records)),
        groups=_counted(groups),
        classes=_classes(dataset),
        by="patient" if known else "image",
        leaks=tuple(tuple(records[i].name for i in group) for group in leaks),
        warnings=tuple(_warnings(dataset, together, leaks)),
    )


def _by_patient(records: Sequence[Record]) -> list[tuple[int, ...]]:
    found: dict[str, list[int]] = defaultdict(list)
    for i, record in enumerate(records):
        found[record.patient or f"\0{record.name}"].append(i)
    return [tuple(members) for members in found.values()]


def _counted(counts: Mapping[Split | None, int]) -> dict[str, int]:
    return {split: counts[split] for split in _SPLITS if split in counts}


def _classes(dataset: Dataset) -> dict[str, dict[str, int]]:
    if dataset.labels.kind not in ("classes", "grades"):
        return {}
    found = {split: Counter(record.target for record in dataset if record.split == split) for split in _SPLITS}
    names = dataset.labels.names
    return {split: {name: counts[n] for n, name in enumerate(names)} for split, counts in found.items() if counts}


def _warnings(dataset: Dataset, together: Sequence[tuple[int, ...]], leaks: Sequence[tuple[int, ...]]) -> list[str]:
    records = dataset.records
    known = dataset.manifest.patients != "unknown"
    found = []
    if leaks:
        what = "patients" if known else "sets of near-duplicates"
        shown = "; ".join(" and ".join(records[i].name for i in group[:_SHOWN]) for group in leaks[:_SHOWN])
        found.append(
            f"the given splits have {len(leaks)} {what} on more than one side, "
            f"so scores may be too good ({shown}{' ...' if len(leaks) > _SHOWN else ''})"
        )
    if not known:
        found.append("patients are not known, so the split is by image: name them with --patient REGEX if you can")
        found += _contradictions(dataset, together)
    return found


def _contradictions(dataset: Dataset, together: Sequence[tuple[int, ...]]) -> list[str]:
    records = dataset.records
    if dataset.labels.kind not in ("classes", "grades"):
        return []
    groups = [group for group in together if len({records[i].target for i in group}) > 1]
    if not groups:
        return []
    shown = "; ".join(" and ".join(records[i].name for i in group[:_SHOWN]) for group in groups[:_SHOWN])
    more = " ..." if len(groups) > _SHOWN else ""
    return [f"{len(groups)} sets of near-duplicates carry different labels ({shown}{more})"]
