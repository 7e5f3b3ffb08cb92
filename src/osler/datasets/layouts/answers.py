"""What layouts share about answers: which task wants which kind, and classes or grades out of names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from osler.datasets.labels import Kind, Label, LabelSet
from osler.datasets.layouts.files import natural
from osler.datasets.plan import TaskName
from osler.errors import NoLabels, TooFew, UsageError

__all__ = ["KIND_OF_TASK", "check_task", "mask_labels", "named_labels"]

KIND_OF_TASK: dict[TaskName, Kind] = {
    "classify": "classes",
    "multilabel": "several",
    "ordinal": "grades",
    "regress": "number",
    "segment": "mask",
}


def check_task(task: TaskName | None, possible: Sequence[TaskName], holds: str) -> TaskName:
    """``task``, or the first possible one when it is None.

    Raises:
        UsageError: when the data cannot answer the task.
    """
    if task is None:
        return possible[0]
    if task not in possible:
        raise UsageError(
            f"the task {task!r} cannot be learnt from {holds}",
            remedy=f"use --task {' or '.join(possible)}, or bring data that answers {task!r}",
        )
    return task


def named_labels(names: Iterable[str], kind: Kind, name: str = "label") -> LabelSet:
    """Classes or grades by name: in natural order ("2" before "10"), values 0, 1, ...

    Raises:
        TooFew: when there is only one.
    """
    ordered = sorted(set(names), key=natural)
    if len(ordered) < 2:
        what = "grade" if kind == "grades" else "class"
        raise TooFew(
            f"there is only one {what}, {ordered[0]!r}" if ordered else f"there is no {what}",
            remedy="bring studies of at least two, each in a folder (or with a label) of its own",
        )
    return LabelSet(kind=kind, name=name, labels=tuple(Label(name=n, value=i) for i, n in enumerate(ordered)))


def mask_labels(values: Iterable[int], names: dict[int, str] | None = None) -> LabelSet:
    """The labels of masks whose voxels hold ``values`` (0 is background). A single unnamed one is "foreground".

    Raises:
        NoLabels: when every mask is empty.
    """
    found = sorted(set(values) - {0})
    if not found:
        raise NoLabels("every mask is empty", remedy="voxels of a label must have a value other than 0")
    names = names or {}
    default = {found[0]: "foreground"} if len(found) == 1 else {v: f"value {v}" for v in found}
    return LabelSet(kind="mask", labels=tuple(Label(name=names.get(v, default[v]), value=v) for v in found))
