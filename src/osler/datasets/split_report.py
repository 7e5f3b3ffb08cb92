"""``SplitReport``: how a dataset is split, and whether anything is on two sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import Split
from osler.datasets.together import Together, kept_together
from osler.progress import Progress

__all__ = ["SplitReport", "describe_splits", "split_by"]

_SHOWN = 3
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class SplitReport(BaseModel):
    """Counts per split ("train", "validation", "test").

    Args:
        counts: cases.
        groups: what stays together: patients or, where these are unknown, sets of near-duplicates.
        classes: cases per class and split; empty unless the answers are classes or grades.
        by: how the test split was made: dealt by patient, dealt by image, or "given": it came with the data.
        dealt: the splits that were dealt from what was for training; the others came with the data.
        leaks: names of cases that belong together and lie on different sides; only given splits can have any.
        warnings: one sentence each, for the user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    counts: dict[str, int]
    groups: dict[str, int]
    classes: dict[str, dict[str, int]] = {}
    by: Literal["patient", "image", "given"]
    dealt: tuple[Split, ...] = ()
    leaks: tuple[tuple[str, ...], ...] = ()
    warnings: tuple[str, ...] = ()

    def summary(self) -> str:
        """One line: how it was split, and the counts."""
        counts = ", ".join(f"{count} {split}" for split, count in self.counts.items())
        if self.by != "given":
            return f"split by {self.by}: {counts}"
        dealt = " and ".join(self.dealt)
        return f"split as it came with the data{f', {dealt} dealt out of training' if dealt else ''}: {counts}"


def split_by(dataset: Dataset) -> Literal["patient", "image", "given"]:
    """How the test split was made, or would be if there is none yet."""
    manifest = dataset.manifest
    if "test" not in manifest.dealt and any(record.split == "test" for record in manifest.records):
        return "given"
    return "image" if manifest.patients == "unknown" else "patient"


def describe_splits(
    dataset: Dataset, *, together: Together | None = None, progress: Progress | None = None
) -> SplitReport:
    """Count what is in each split and look for what should not be on two sides.

    Args:
        dataset: with a split on every record.
        together: from ``kept_together``; None looks again.
        progress: told while images are compared.

    Raises:
        StudyError: when an image cannot be read.
    """
    records = dataset.records
    together = kept_together(dataset, progress=progress) if together is None else together
    leaks = [group for group in together if len({records[i].split for i in group}) > 1]
    groups = Counter(split for group in together for split in {records[i].split for i in group})
    return SplitReport(
        counts=_counted(Counter(record.split for record in records)),
        groups=_counted(groups),
        classes=_classes(dataset),
        by=split_by(dataset),
        dealt=dataset.manifest.dealt,
        leaks=tuple(tuple(records[i].name for i in group) for group in leaks),
        warnings=tuple(_warnings(dataset, together, leaks)),
    )


def _counted(counts: Mapping[Split | None, int]) -> dict[str, int]:
    return {split: counts[split] for split in _SPLITS if split in counts}


def _classes(dataset: Dataset) -> dict[str, dict[str, int]]:
    if dataset.labels.kind not in ("classes", "grades"):
        return {}
    found = {split: Counter(record.target for record in dataset if record.split == split) for split in _SPLITS}
    names = dataset.labels.names
    return {split: {name: counts[n] for n, name in enumerate(names)} for split, counts in found.items() if counts}


def _warnings(dataset: Dataset, together: Together, leaks: Sequence[tuple[int, ...]]) -> list[str]:
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
        what = (
            "it cannot be told whether the split that came with the data keeps them apart"
            if split_by(dataset) == "given"
            else "the split is by image"
        )
        found.append(f"patients are not known, so {what}: name them with --patient REGEX if you can")
        found += _contradictions(dataset, together)
    elif nobody := [record.name for record in records if record.patient is None]:
        shown = ", ".join(nobody[:_SHOWN]) + " ..." * (len(nobody) > _SHOWN)
        found.append(
            f"of {len(nobody)} cases the patient is not known ({shown}): only their near-duplicates stay together"
        )
    return found


def _contradictions(dataset: Dataset, together: Together) -> list[str]:
    records = dataset.records
    if dataset.labels.kind not in ("classes", "grades"):
        return []
    groups = [group for group in together if len({records[i].target for i in group}) > 1]
    if not groups:
        return []
    shown = "; ".join(" and ".join(records[i].name for i in group[:_SHOWN]) for group in groups[:_SHOWN])
    more = " ..." if len(groups) > _SHOWN else ""
    return [f"{len(groups)} sets of near-duplicates carry different labels ({shown}{more})"]
