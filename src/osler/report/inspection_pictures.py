"""Small pictures for the page of an inspection: which cases are shown, and each of them drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from osler.datasets.dataset import Dataset
from osler.datasets.inspection import Inspection, StudyRow
from osler.datasets.parallel import in_threads
from osler.datasets.preparation import grid_difference
from osler.datasets.problem import Box, Problem
from osler.errors import GridMismatch, StudyError, UsageError
from osler.progress import CancelToken, Progress, Silent
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.pictures import tile, to_png_bytes

__all__ = [
    "PER_PROBLEM",
    "Drawn",
    "Example",
    "Wanted",
    "draw",
    "examples_of",
    "pictures_of_problem",
    "wanted_by",
    "worst_of",
]

_TILES = 24
_FEWEST, _MOST = 3, 8
_MOST_LABELS = 12
PER_PROBLEM = 6
"""Pictures under a problem."""
_GROUPS, _PER_GROUP = 4, 3
_WORST = 10
_SIDE = 224


@dataclass(frozen=True)
class Wanted:
    """A picture to draw: of which case, the label that chooses the plane, and what to frame.

    ``compared`` draws what a model drew, where it did, and the data's own mask over it in dashes.
    """

    name: str
    focus: int | None = None
    boxes: tuple[Box, ...] = ()
    compared: bool = False


@dataclass(frozen=True)
class Example:
    """A picture of the contact sheet: under which heading, and what it stands for."""

    heading: str
    wanted: Wanted
    words: str


@dataclass(frozen=True)
class Drawn:
    """A PNG with what a reader must know to read it; without a PNG ``notes`` says why there is none."""

    png: bytes | None
    notes: str


def examples_of(dataset: Dataset, found: Inspection) -> list[Example]:
    """About ``_TILES`` cases: of each label of masks from the smallest to the largest, of each class some at random.

    Chance has a fixed seed; labels beyond the twelfth are left out.
    """
    usable = [row for row in found.studies if row.usable]
    if found.kind == "mask":
        return list(_by_size(dataset, usable))
    if found.kind == "number":
        targets = {record.name: record.target for record in dataset.records}
        ranked = sorted(usable, key=lambda row: float(targets[row.name] or 0.0))  # type: ignore[arg-type]
        return [Example("From low to high", Wanted(row.name), row.answer) for row in _spread(ranked, _MOST)]
    groups: dict[str, list[StudyRow]] = {}
    for row in usable:
        groups.setdefault(row.answer, []).append(row)
    chosen = sorted(groups.items(), key=lambda item: _place(dataset, item[0]))[:_MOST_LABELS]
    share = _share(len(chosen))
    return [Example(answer, Wanted(row.name), "") for answer, rows in chosen for row in _spread(rows, share)]


def _place(dataset: Dataset, answer: str) -> tuple[int, str]:
    names = dataset.labels.names
    return (names.index(answer) if answer in names else len(names)), answer


def _share(groups: int) -> int:
    return max(_FEWEST, min(_MOST, _TILES // max(1, groups)))


def _spread(rows: Sequence[StudyRow], count: int) -> list[StudyRow]:
    """At most ``count`` rows, evenly from the first to the last."""
    if len(rows) <= count:
        return list(rows)
    return [rows[round(n * (len(rows) - 1) / (count - 1))] for n in range(count)]


def _by_size(dataset: Dataset, rows: Sequence[StudyRow]) -> Iterator[Example]:
    labels = dataset.labels.labels[:_MOST_LABELS]
    for label in labels:
        ranked = sorted((row for row in rows if label.name in row.sizes), key=lambda row: row.sizes[label.name])
        for row in _spread(ranked, _share(len(labels))):
            rank = ranked.index(row)
            which = "smallest, " if rank == 0 else "largest, " if rank == len(ranked) - 1 else ""
            words = f"{which}{row.sizes[label.name]:,.5g} {row.size_unit}"
            yield Example(label.name, Wanted(row.name, focus=label.value), words)
    empty = [row for row in rows if not row.sizes]
    for row in _spread(empty, _FEWEST):
        yield Example("Empty mask", Wanted(row.name), "")


def pictures_of_problem(problem: Problem) -> list[list[Wanted]]:
    """The first cases that a problem concerns, those that belong together in one list."""

    def wanted(name: str) -> Wanted:
        return Wanted(name, boxes=problem.boxes.get(name, ()), compared=problem.code == "label-error")

    if problem.groups:
        return [[wanted(name) for name in group[:_PER_GROUP]] for group in problem.groups[:_GROUPS]]
    return [[wanted(name)] for name in problem.cases[:PER_PROBLEM]]


def wanted_by(found: Inspection, examples: Sequence[Example]) -> list[Wanted]:
    """Every picture of the page once, in the order in which they appear."""
    of_problems = [wanted for problem in found.problems for group in pictures_of_problem(problem) for wanted in group]
    return list(dict.fromkeys([*of_problems, *(example.wanted for example in examples), *worst_of(found)]))


def worst_of(found: Inspection) -> list[Wanted]:
    """The studies whose image quality is furthest from what is usual, whether that is unusual or not."""
    cases = found.quality.cases if found.quality else ()
    return [Wanted(case.name) for case in cases[:_WORST] if case.score > 0]


def draw(
    dataset: Dataset,
    wanted: Sequence[Wanted],
    *,
    masks: Mapping[str, Array] | None = None,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> dict[Wanted, Drawn]:
    """Read the cases and draw them; a case that cannot be drawn is there with the reason.

    Args:
        dataset: reads the images.
        wanted: each once.
        masks: what a model drew, by case: (I, J[, K]) with the values of the data's labels.
        progress: gets the stage "pictures".
        cancel: looked at between two pictures.

    Raises:
        Cancelled: when asked to stop.
    """
    progress = progress or Silent()
    drawn: dict[Wanted, Drawn] = {}
    progress.start("pictures", len(wanted), "pictures")
    work = partial(_drawn, dataset, masks or {})
    for one, result in zip(wanted, in_threads(work, wanted, cancel=cancel), strict=True):
        progress.advance("pictures")
        drawn[one] = result
    progress.finish("pictures")
    return drawn


def _drawn(dataset: Dataset, masks: Mapping[str, Array], wanted: Wanted) -> Drawn:
    record = next(record for record in dataset.records if record.name == wanted.name)
    channel = next((box.channel for box in wanted.boxes if box.channel in record.images), next(iter(record.images)))
    try:
        image = _with_modality(dataset, dataset.read(record.images[channel]))
        mask = None if record.mask is None else dataset.read_mask(record.mask, onto=image)
    except (StudyError, GridMismatch, UsageError) as error:
        return Drawn(None, error.problem)
    fits = mask is not None and not grid_difference(image, mask)
    boxes = [
        (box.start, box.stop)
        for box in wanted.boxes
        if len(box.start) == image.dimensions and (box.channel == channel or (box.channel == "mask" and fits))
    ]
    given = mask.array[0] if mask is not None and fits else None
    other = masks.get(wanted.name) if wanted.compared else None
    shown, truth = (given, None) if other is None else (other, given)
    picture, notes = tile(image, shown, _names(dataset), side=_SIDE, focus=wanted.focus, boxes=boxes, truth=truth)
    words = [
        notes,
        "mask on another grid, not drawn" if mask is not None and not fits else "",
        "filled: the model; dashed: the data" if truth is not None else "",
    ]
    return Drawn(to_png_bytes(picture), "; ".join(word for word in words if word))


def _with_modality(dataset: Dataset, image: Image) -> Image:
    return image if image.modality else replace(image, modality=dataset.manifest.modality)


def _names(dataset: Dataset) -> Mapping[int, str] | None:
    return {label.value: label.name for label in dataset.labels.labels} if dataset.labels.kind == "mask" else None
