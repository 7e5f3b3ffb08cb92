"""Which cases are for training, validation and test: by patient, stratified, and the same whatever the order of files.

Rules:
- What belongs together is never parted: the images of one patient or, where patients are unknown, near-duplicates.
- Given splits stay as they are; what is missing is carved from training.
- Patients are dealt out within strata: the class (the rarest one that a patient has), the labels present in the masks,
  the fifth of the range of a number. Chance comes from a hash of seed and patient, so neither order nor number of
  files matters to it.
- Every class has at least one patient in each split; a class that cannot is refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import Record, Split
from osler.datasets.mask_sources import values_of
from osler.datasets.split_report import SplitReport, describe_splits
from osler.datasets.together import Together, kept_together
from osler.errors import DatasetError, TooFew, UsageError
from osler.progress import Progress

__all__ = ["TEST_FRACTION", "VALIDATION_FRACTION", "SplitReport", "assign_splits", "describe_splits", "folds"]

TEST_FRACTION = 0.25
VALIDATION_FRACTION = 0.12
_BINS = 5
_ATTEMPTS = 50
_Labels = frozenset[int]


@dataclass(frozen=True)
class _Group:
    """What stays together: indices of records, a key that does not depend on their order, labels, and the stratum."""

    members: tuple[int, ...]
    key: str
    labels: _Labels
    stratum: str = ""


def assign_splits(
    dataset: Dataset,
    *,
    seed: int,
    validation: float = VALIDATION_FRACTION,
    test: float = TEST_FRACTION,
    together: Together | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """The same dataset with a split on every record.

    Args:
        dataset: with or without given splits.
        seed: the same seed gives the same splits.
        validation: fraction of the patients that are not for test.
        test: fraction of all patients.
        together: from ``kept_together``, which looks at every image where patients are unknown; None looks again.
        progress: told while images are compared or masks read.

    Raises:
        TooFew: when a class has too few patients for one in each split.
        DatasetError: when given splits leave nothing to carve the missing ones from.
        UsageError: when a fraction is not between 0 and 1.
    """
    for name, fraction in (("validation", validation), ("test", test)):
        if not 0 < fraction < 1:
            raise UsageError(f"the {name} fraction is {fraction}", remedy="use a fraction between 0 and 1, such as 0.2")
    given = {record.split for record in dataset} - {None}
    if {"train", "validation", "test"} <= given and all(record.split for record in dataset):
        return dataset
    pool = [i for i, record in enumerate(dataset.records) if record.split in (None, "train")]
    wanted: dict[Split, float] = {}
    if "test" not in given:
        wanted["test"] = test
    if "validation" not in given:
        wanted["validation"] = validation * (1 - wanted.get("test", 0.0))
    groups = _groups(dataset, pool, together, progress)
    _refuse_small_classes(dataset, groups, len(wanted) + 1)
    chosen = _deal(groups, wanted, seed)
    return _with_splits(dataset, {**{i: "train" for i in pool}, **chosen}, dealt=(*dataset.manifest.dealt, *wanted))


def folds(
    dataset: Dataset,
    k: int,
    *,
    seed: int,
    validation: float = VALIDATION_FRACTION,
    together: Together | None = None,
    progress: Progress | None = None,
) -> list[Dataset]:
    """Cross-validation: ``k`` times the same cases, each patient in the test split of exactly one fold.

    Given splits are not looked at; the validation split of each fold is carved from what is not its test split. The
    other arguments are those of ``assign_splits``.

    Raises:
        UsageError: when ``k`` is below 2.
        TooFew: when a class has fewer patients than there are folds, or than three.
    """
    if k < 2:
        raise UsageError(f"{k} folds were asked for", remedy="use at least 2, usually 5")
    groups = _groups(dataset, range(len(dataset)), together, progress)
    _refuse_folds(dataset, groups, k)
    turn = _dealt_round(groups, k, seed)
    result = []
    for fold in range(k):
        rest = [group for group, n in zip(groups, turn, strict=True) if n != fold]
        splits: dict[int, Split] = {i: "train" for i in range(len(dataset))}
        splits |= {i: "test" for g, n in zip(groups, turn, strict=True) if n == fold for i in g.members}
        splits |= _deal(rest, {"validation": validation}, seed + fold)
        result.append(_with_splits(dataset, splits, dealt=("test", "validation")))
    return result


def _with_splits(dataset: Dataset, splits: Mapping[int, Split], *, dealt: tuple[Split, ...]) -> Dataset:
    records = tuple(
        record.model_copy(update={"split": splits.get(i, record.split)}) for i, record in enumerate(dataset.records)
    )
    return Dataset(dataset.manifest.model_copy(update={"records": records, "dealt": dealt}))


def _groups(
    dataset: Dataset, members: Iterable[int], together: Together | None, progress: Progress | None
) -> list[_Group]:
    """What stays together, each with its stratum, in an order that does not depend on the order of records."""
    chosen = list(members)
    if not chosen:
        raise DatasetError("no case is for training", remedy="give some cases the split 'train', or remove the splits")
    together = kept_together(dataset, progress=progress) if together is None else together
    pool = set(chosen)
    labels = _labels_of(dataset, chosen)
    groups = []
    for whole in together:
        indices = tuple(i for i in whole if i in pool)
        if not indices:
            continue
        records = [dataset.records[i] for i in indices]
        key = records[0].patient or min(record.name for record in records)
        groups.append(_Group(indices, key, frozenset().union(*(labels[i] for i in indices))))
    groups.sort(key=lambda group: group.key)
    return _with_strata(dataset, groups)


def _labels_of(dataset: Dataset, chosen: Sequence[int]) -> dict[int, _Labels]:
    """Which labels each record has: indices into the label set; for a number none."""
    kind = dataset.labels.kind
    if kind != "mask":
        return {i: _labels_in_target(dataset.records[i], kind) for i in chosen}
    values = dataset.labels.values
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda i: _values_of(dataset, dataset.records[i]), chosen)
        return {
            i: frozenset(n for n, v in enumerate(values) if v in here) for i, here in zip(chosen, found, strict=True)
        }


def _labels_in_target(record: Record, kind: str) -> _Labels:
    target = record.target
    if isinstance(target, tuple):
        return frozenset(n for n, value in enumerate(target) if value)
    return frozenset() if target is None or kind == "number" else frozenset({int(target)})


def _values_of(dataset: Dataset, record: Record) -> frozenset[int]:
    return frozenset() if record.mask is None else values_of(dataset.manifest.root, record.mask)


def _with_strata(dataset: Dataset, groups: list[_Group]) -> list[_Group]:
    kind = dataset.labels.kind
    name: Callable[[_Group], str]
    if kind == "number":
        name = _bins(dataset, groups)
    elif kind == "mask":
        name = _present
    else:
        name = _rarest(groups)
    return [_Group(g.members, g.key, g.labels, name(g)) for g in groups]


def _present(group: _Group) -> str:
    return ",".join(map(str, sorted(group.labels)))


def _rarest(groups: Sequence[_Group]) -> Callable[[_Group], str]:
    counts = Counter(label for group in groups for label in group.labels)
    return lambda group: str(min(group.labels, key=lambda label: (counts[label], label), default=""))


def _bins(dataset: Dataset, groups: Sequence[_Group]) -> Callable[[_Group], str]:
    """Fifths of the groups by the mean of their numbers; fewer bins when there are few groups."""

    def mean(group: _Group) -> float:
        numbers = [dataset.records[i].target for i in group.members]
        return fmean([float(n) for n in numbers if isinstance(n, int | float)] or [0.0])

    ranked = sorted(groups, key=lambda group: (mean(group), group.key))
    bins = max(1, min(_BINS, len(groups) // 6))
    where = {group.key: str(rank * bins // len(ranked)) for rank, group in enumerate(ranked)}
    return lambda group: where[group.key]


def _refuse_small_classes(dataset: Dataset, groups: Sequence[_Group], needed: int) -> None:
    who = "image" if dataset.manifest.patients == "unknown" else "patient"
    remedy = f"at least {needed} are needed, one for each of training, validation and test; add cases"
    if len(groups) < needed:
        raise TooFew(f"there {_are(len(groups), who)}", remedy=remedy)
    if dataset.labels.kind not in ("classes", "grades"):
        return
    counts = Counter(label for group in groups for label in group.labels)
    for n, label in enumerate(dataset.labels.names):
        if counts[n] < needed:
            raise TooFew(
                f"the class {label!r} has {_count(counts[n], who)}", remedy=f"{remedy}, or leave the class out"
            )


def _refuse_folds(dataset: Dataset, groups: Sequence[_Group], k: int) -> None:
    """Every fold needs its own patient of every class for its test split, and two more for training and validation."""
    who = "image" if dataset.manifest.patients == "unknown" else "patient"
    least, of = len(groups), "there " + _are(len(groups), who)
    if dataset.labels.kind in ("classes", "grades"):
        counts = Counter(label for group in groups for label in group.labels)
        rarest = min(range(len(dataset.labels.names)), key=lambda n: counts[n], default=None)
        if rarest is not None and counts[rarest] < least:
            least, of = counts[rarest], f"the class {dataset.labels.names[rarest]!r} has {_count(counts[rarest], who)}"
    if least >= max(k, 3):
        return
    remedy = (
        f"each fold is tested on other {who}s, so {least} folds are the most that are possible"
        if least >= 3
        else f"cross-validation needs at least 3 {who}s of each class; add cases"
    )
    raise TooFew(f"{k} folds were asked for and {of}", remedy=remedy)


def _count(number: int, who: str) -> str:
    return f"{'one' if number == 1 else number or 'no'} {who}{'' if number == 1 else 's'}"


def _are(number: int, who: str) -> str:
    return f"{'is' if number == 1 else 'are'} only {_count(number, who)}"


def _chance(seed: int, attempt: int, group: _Group) -> str:
    """A number that seed and patient decide: the order in which groups are dealt."""
    return hashlib.sha256(f"{seed}/{attempt}/{group.key}".encode()).hexdigest()


def _deal(groups: Sequence[_Group], wanted: Mapping[Split, float], seed: int) -> dict[int, Split]:
    """Split of every record that does not stay in training.

    Labels that few patients have, or only together with others, may miss a split by chance: then it is dealt again,
    and the deal in which the fewest are missing is taken.
    """
    best: dict[int, Split] = {}
    fewest = -1
    for attempt in range(_ATTEMPTS):
        splits = _dealt_once(groups, wanted, seed, attempt)
        missing = _missing(groups, splits, len(wanted) + 1)
        if fewest < 0 or missing < fewest:
            best, fewest = splits, missing
        if not missing:
            break
    return {i: split for group in groups for i in group.members if (split := best.get(group.members[0]))}


def _dealt_once(groups: Sequence[_Group], wanted: Mapping[Split, float], seed: int, attempt: int) -> dict[int, Split]:
    """Split by the first member of each group. Rounding is carried from stratum to stratum, so totals are right."""
    splits: dict[int, Split] = {}
    carried: dict[Split, float] = {split: 0.0 for split in wanted}
    for stratum in _strata(groups):
        ordered = sorted(stratum, key=lambda group: _chance(seed, attempt, group))
        total = len(ordered)
        for split, fraction in wanted.items():
            exact = fraction * total + carried[split]
            count = max(1 if total > len(wanted) else 0, round(exact))
            count = min(count, max(len(ordered) - 1, 0))
            carried[split] = exact - count
            splits |= {group.members[0]: split for group in ordered[:count]}
            ordered = ordered[count:]
    return splits


def _strata(groups: Sequence[_Group]) -> list[list[_Group]]:
    """The smallest first, so that what must be rounded up in them is made up for in the largest."""
    strata: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        strata[group.stratum].append(group)
    return [strata[name] for name in sorted(strata, key=lambda name: (len(strata[name]), name))]


def _missing(groups: Sequence[_Group], splits: Mapping[int, Split], parts: int) -> int:
    """How often a label that enough groups have is in none of a split's; an empty split counts for much."""
    where: dict[int, set[Split]] = defaultdict(set)
    counts: Counter[int] = Counter()
    for group in groups:
        counts.update(group.labels)
        for label in group.labels:
            where[label].add(splits.get(group.members[0], "train"))
    absent = sum(parts - len(where[label]) for label, count in counts.items() if count >= parts)
    used = {splits.get(group.members[0], "train") for group in groups}
    return absent + 1000 * (parts - len(used))


def _dealt_round(groups: Sequence[_Group], k: int, seed: int) -> list[int]:
    """The test fold of each group: dealt round within strata, going on where the stratum before ended."""
    turn: dict[str, int] = {}
    for stratum in _strata(groups):
        for group in sorted(stratum, key=lambda group: _chance(seed, 0, group)):
            turn[group.key] = len(turn) % k
    return [turn[group.key] for group in groups]
