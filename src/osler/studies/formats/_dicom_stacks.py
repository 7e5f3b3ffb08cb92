"""From the slices of a series to the volumes that it holds.

A series may hold several: localizers beside the volume, other orientations or matrices, and the same places again at
another time, echo or b-value. Slices are first told apart by their grid, then, where places repeat, by the one fact (or
combination of facts) of their headers that leaves every place once in each part. Nothing is told apart by file order.
Grids that fill each other's places (``_dicom_mixtures``) are one stack, which must not be read.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from osler.studies.formats._dicom_geometry import Slice, unevenness
from osler.studies.formats._dicom_mixtures import contradiction, mixtures
from osler.studies.geometry import Array

__all__ = ["Stack", "stacks_of"]

_TOLERANCE = 1e-3  # of direction cosines, and of relative differences of spacings, within one grid
_SAME_PLACE = 1e-2  # mm: positions nearer than this are one place
_STATED = ("time", "b", "gradient", "echo", "inversion", "flip", "type", "kvp", "kernel", "frame_time", "acquisition")
_VALUES = (*_STATED, "stack")
_MOST_FACTS = 3
_PLANES = ("sagittal", "coronal", "axial")
_LOCALIZER = "LOCALIZER"


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one grid with every place once: a volume, or a single positioned image.

    Args:
        label: tells it from the other stacks of its series; "" when there is no other.
        slices: in the order of their files.
        copies: pairs (kept, left out) of slices at one place that have to hold the same pixels.
        localizer: whether it is a scout image, by ImageType.
        notes: how it was told apart, and what was left out.
        problem: why it must not be read, or "".
    """

    label: str
    slices: tuple[Slice, ...]
    copies: tuple[tuple[Slice, Slice], ...] = ()
    localizer: bool = False
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def plane(self) -> str:
        """ "axial", "coronal", "sagittal", or "oblique" when the normal is more than about 25° off all three."""
        normal = np.abs(self.slices[0].normal)
        return _PLANES[int(np.argmax(normal))] if normal.max() > 0.9 else "oblique"

    def describe(self) -> str:
        """For messages: what is in it, without anything that identifies."""
        rows, columns = self.slices[0].shape
        count = len(self.slices)
        kind = "localizer " if self.localizer else ""
        return f"{kind}{self.plane} {count} {'slice' if count == 1 else 'slices'} of {columns}×{rows}"


def stacks_of(slices: Sequence[Slice]) -> list[Stack]:
    """Every stack of one series, volumes first as their files come.

    Args:
        slices: of one series; positions and directions in LPS+ mm.
    """
    grids, problems = _put_together(_by_grid(slices))
    stacks = []
    for number, grid in enumerate(grids):
        name, problem = _grid_name(grids, number), problems.get(number)
        for part, notes in _parts(grid) if problem is None else [(Stack("", tuple(grid), problem=problem), ())]:
            label = "-".join(text for text in (name, part.label) if text)
            stacks.append(replace(part, label=label, localizer=_is_localizer(part.slices), notes=(*notes, *part.notes)))
    return sorted(stacks, key=lambda stack: stack.localizer)


def _is_localizer(slices: Sequence[Slice]) -> bool:
    return all(_LOCALIZER in (one.facts.get("type") or ()) for one in slices)


def _by_grid(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Groups of one shape, orientation and pixel spacing; scout images are kept apart."""
    kinds: dict[Hashable, list[Slice]] = defaultdict(list)
    for one in slices:
        kinds[one.shape, _is_localizer([one])].append(one)
    return [group for several in kinds.values() for group in _alike(several)]


def _alike(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Groups of one orientation and pixel spacing, each around its first slice."""
    with np.errstate(divide="ignore", invalid="ignore"):  # damaged headers hold any number
        features = np.array([[*one.directions.ravel(), *np.log(one.spacing)] for one in slices])
    left = np.arange(len(slices))
    groups = []
    while len(left):
        first = features[left[0]]
        with np.errstate(invalid="ignore"):
            near = ((np.abs(features[left] - first) <= _TOLERANCE) | (features[left] == first)).all(axis=1)
        near[0] = True  # also where a number is none
        groups.append([slices[number] for number in left[near]])
        left = left[~near]
    return groups


def _put_together(grids: Sequence[list[Slice]]) -> tuple[list[list[Slice]], dict[int, str]]:
    """The grids, those that were one volume as one, and the problem of each of these by its number."""
    mixed = mixtures([grid for grid in grids if not _is_localizer(grid)])
    gone = {id(grid) for several in mixed for grid in several}
    whole = [grid for grid in grids if id(grid) not in gone]
    problems = {len(whole) + number: contradiction(several) for number, several in enumerate(mixed)}
    return whole + [[one for grid in several for one in grid] for several in mixed], problems


def _grid_name(grids: Sequence[Sequence[Slice]], number: int) -> str:
    """The plane of a grid, numbered where several have the same; "" when there is one grid."""
    if len(grids) == 1:
        return ""
    planes = [("localizer-" if _is_localizer(grid) else "") + Stack("", tuple(grid)).plane for grid in grids]
    if Counter(planes)[planes[number]] == 1:
        return planes[number]
    return f"{planes[number]}{planes[: number + 1].count(planes[number])}"


def _parts(grid: Sequence[Slice]) -> list[tuple[Stack, tuple[str, ...]]]:
    slices, copies = _without_copies(grid)
    note = () if not copies else (_copies_note(len(copies)),)
    places = _places(slices)
    most = max(Counter(places.tolist()).values())
    if most == 1 and not unevenness(slices):
        return [(Stack("", tuple(slices), tuple(copies)), note)]
    split = _split(slices, places, most)
    if split is not None:
        names, groups, how = split
        lacking = _lacking(groups, places) if most > 1 else [""] * len(groups)
        return [
            (Stack(name, tuple(group), _copies_of(copies, group), problem=problem), (*note, f"{how}; this is {name}"))
            for name, group, problem in zip(names, groups, lacking, strict=True)
        ]
    if most > 1:  # what nothing tells apart may be the same picture twice; reading compares the pixels
        slices, more = _first_of_each_place(slices, places)
        copies, note = [*copies, *more], (_copies_note(len(copies) + len(more)),)
    return [(Stack("", tuple(slices), tuple(copies)), note)]


def _lacking(groups: Sequence[Sequence[Slice]], places: Array) -> list[str]:
    """For each part, how many of the places of the whole it has no slice at, in words; two even slices of three would
    pass for a volume of another spacing."""
    total = len(set(places.tolist()))
    return [
        "" if len(part) == total else f"it has slices at {len(part)} of the {total} places of its series"
        for part in groups
    ]


def _copies_note(count: int) -> str:
    return f"{count} {'copy of a slice was' if count == 1 else 'copies of slices were'} left out"


def _copies_of(copies: Sequence[tuple[Slice, Slice]], group: Sequence[Slice]) -> tuple[tuple[Slice, Slice], ...]:
    kept = {id(one) for one in group}
    return tuple(pair for pair in copies if id(pair[0]) in kept)


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], list[tuple[Slice, Slice]]]:
    """The same object (SOP Instance UID and frame) at the same place, from another file, is a copy."""
    kept: list[Slice] = []
    copies = []
    seen: dict[tuple[str, int], list[Slice]] = defaultdict(list)
    for one in slices:
        same = seen[one.uid, one.place] if one.uid else []
        twin = next((other for other in same if _same_slice(one, other)), None)
        if twin is None:
            kept.append(one)
            same.append(one)
        else:
            copies.append((twin, one))
    return kept, copies


def _same_slice(one: Slice, other: Slice) -> bool:
    near = float(np.abs(one.position - other.position).max()) < _SAME_PLACE
    return near and one.path != other.path and one.facts == other.facts


def _places(slices: Sequence[Slice]) -> Array:
    """For each slice the number of its place along the normal; slices within 0.01 mm of the next share one."""
    along = np.array([one.position for one in slices]) @ slices[0].normal
    order = np.argsort(along, kind="stable")
    places = np.empty(len(slices), np.intp)
    places[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > _SAME_PLACE)])
    return places


def _first_of_each_place(slices: Sequence[Slice], places: Array) -> tuple[list[Slice], list[tuple[Slice, Slice]]]:
    kept: dict[int, Slice] = {}
    copies = []
    for one, place in zip(slices, places.tolist(), strict=True):
        if place in kept:
            copies.append((kept[place], one))
        else:
            kept[place] = one
    return list(kept.values()), copies


_Split = tuple[list[str], list[list[Slice]], str]


def _split(slices: Sequence[Slice], places: Array, most: int) -> _Split | None:
    """Names and slices of the parts, and how they were told apart; None when no fact does it."""
    varying = [name for name in _VALUES if len({_value(one, name) for one in slices}) > 1]
    ways = [way for count in range(1, _MOST_FACTS + 1) for way in combinations(varying, count)]
    for way in ways:
        if "gradient" in way and "b" in varying and "b" not in way:
            continue  # a direction means nothing without its b-value
        keys = [tuple(_value(one, name) for name in way) for one in slices]
        found = _if_parts(keys, slices, places, most)
        if found is not None:
            groups = dict(sorted(found.items(), key=lambda item: _sortable(item[0])))
            names = _names(way, list(groups))
            return names, list(groups.values()), f"split by {' and '.join(map(_word, way))} into {len(groups)}"
    return _ranked(slices, places, most)


def _value(one: Slice, name: str) -> Any:
    return one.facts.get(name)


def _if_parts(
    keys: Sequence[Hashable], slices: Sequence[Slice], places: Array, most: int
) -> dict[Hashable, list[Slice]] | None:
    """The parts when each holds a place once, and there are no more parts than the most frequent place needs.

    Where no place repeats, parts have to be even stacks of three slices or more each.
    """
    if most > 1 and len(set(keys)) != most:
        return None
    parts: dict[Hashable, list[Slice]] = defaultdict(list)
    for key, one in zip(keys, slices, strict=True):
        parts[key].append(one)
    if most > 1:
        return parts if len(set(zip(keys, places.tolist(), strict=True))) == len(slices) else None
    even = all(len(part) > 2 and not unevenness(part) for part in parts.values())
    return parts if even and len(parts) > 1 else None


def _ranked(slices: Sequence[Slice], places: Array, most: int) -> _Split | None:
    """By the order in time at each place, where every place has as many slices: heart phases by their trigger time,
    repetitions by their moment when each is over before the next begins."""
    counts = set(Counter(places.tolist()).values())
    if most == 1 or counts != {most}:
        return None
    for name, word, ordered in (("trigger", "phase", _always), ("when", "time", _one_after_the_other)):
        values = [_value(one, name) for one in slices]
        if any(value is None for value in values):
            continue
        groups: list[list[Slice]] = [[] for _ in range(most)]
        by_place: dict[int, list[tuple[Any, int]]] = defaultdict(list)
        for number, place in enumerate(places.tolist()):
            by_place[place].append((values[number], number))
        if any(len({value for value, _ in several}) < most for several in by_place.values()):
            continue
        for several in by_place.values():
            for rank, (_, number) in enumerate(sorted(several)):
                groups[rank].append(slices[number])
        if ordered(groups):
            width = len(str(most))
            names = [f"{word}{rank + 1:0{width}}" for rank in range(most)]
            return names, groups, f"split by {_word(name)} into {most}"
    return None


def _always(groups: Sequence[Sequence[Slice]]) -> bool:
    return True


def _one_after_the_other(groups: Sequence[Sequence[Slice]]) -> bool:
    return all(
        max(one.facts["when"] for one in before) < min(one.facts["when"] for one in after)
        for before, after in pairwise(groups)
    )


_WORDS = {
    "time": "temporal position",
    "b": "b-value",
    "gradient": "diffusion direction",
    "echo": "echo time",
    "inversion": "inversion time",
    "flip": "flip angle",
    "type": "image type",
    "kvp": "tube voltage",
    "kernel": "reconstruction kernel",
    "frame_time": "frame reference time",
    "acquisition": "acquisition number",
    "stack": "stack",
    "trigger": "trigger time",
    "when": "time of acquisition",
}


def _word(name: str) -> str:
    return _WORDS[name]


def _names(way: Sequence[str], keys: Sequence[Any]) -> list[str]:
    """A label per part, safe in file names: values where they are short numbers, else ranks."""
    columns = []
    for place, name in enumerate(way):
        distinct = sorted({key[place] for key in keys}, key=_sortable)
        columns.append({value: _NAMERS.get(name, _by_rank(name))(value, distinct) for value in distinct})
    names = ["-".join(filter(None, (column[key[place]] for place, column in enumerate(columns)))) for key in keys]
    return names if len(set(names)) == len(names) and all(names) else [f"part{n + 1}" for n in range(len(names))]


_Namer = Callable[[Any, Sequence[Any]], str]


def _by_rank(prefix: str) -> _Namer:
    def name(value: Any, distinct: Sequence[Any]) -> str:
        if value is None:
            return ""
        known = [one for one in distinct if one is not None]
        return f"{prefix}{known.index(value) + 1:0{len(str(len(known)))}}"

    return name


def _by_difference(value: Any, distinct: Sequence[Any]) -> str:
    """Those of several values that not all have, e.g. "w" and "f" of Dixon images."""
    common = set.intersection(*(set(one or ()) for one in distinct))
    return re.sub(r"[^a-z0-9]+", "", "".join(str(one) for one in value or () if one not in common).lower())


def _by_value(prefix: str) -> _Namer:
    return lambda value, distinct: "" if value is None else f"{prefix}{value:g}"


_NAMERS: dict[str, _Namer] = {
    "b": _by_value("b"),
    "inversion": _by_value("ti"),
    "flip": _by_value("flip"),
    "kvp": _by_value("kvp"),
    "gradient": _by_rank("direction"),
    "type": _by_difference,
    "frame_time": _by_rank("frame"),
}


def _sortable(value: Any) -> tuple[Any, ...]:
    """A key that orders numbers by size and others after them; absent comes first."""
    if isinstance(value, tuple):
        return (2, tuple(_sortable(one) for one in value))
    if value is None:
        return (0,)
    return (1, 0, value, "") if isinstance(value, (int, float)) else (1, 1, 0.0, str(value))
