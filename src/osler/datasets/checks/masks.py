"""Masks: stray islands, labels that touch the border where they usually do not, labels far from their usual size."""

from __future__ import annotations

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.checks.robust import FEWEST, outliers
from osler.datasets.labels import Label
from osler.datasets.pieces import Pieces
from osler.datasets.problem import Box, Problem

__all__ = ["check"]

_STRAY = 0.05
"""A piece of less than this share of its label beside a larger one is stray, where the label usually is one piece."""
_SPECK = 0.001
"""A piece of less than this share is stray wherever the label has pieces at all."""
_BY_NATURE = 0.2
"""A label with stray pieces in more cases than this has them by nature: lesions, cells, what a slice cuts twice."""
_ONE_PIECE = 0.8
"""Share of the cases in which a label is one piece (specks apart) from which it is so by nature."""
_SELDOM = 0.2
"""A label that touches the border in more cases than this does so by nature."""
_FEW = 5
"""Cases of a label below which it is not said whether it usually lies inside."""
_FACTOR = 1.5
"""A label up to this many times larger or smaller than usual is not unusual."""


def check(evidence: Evidence) -> list[Problem]:
    """What is unusual about the shapes of masks; nothing for other answers."""
    if evidence.dataset.labels.kind != "mask":
        return []
    found = [(label, _with(evidence, label)) for label in evidence.dataset.labels.labels]
    return [*_islands(found), *_borders(found), *_sizes(found), *_unjudged(found)]


_Found = list[tuple[Label, dict[str, Pieces]]]


def _with(evidence: Evidence, label: Label) -> dict[str, Pieces]:
    """Of the masks that can be used: one on another grid says nothing about what is usual."""
    usable = {fact.name for fact in evidence.facts if fact.usable}
    return {n: o.pieces[label.value] for n, o in evidence.seen.items() if n in usable and label.value in o.pieces}


def _islands(found: _Found) -> list[Problem]:
    details: dict[str, list[str]] = {}
    boxes: dict[str, tuple[Box, ...]] = {}
    for label, cases in found:
        share = _STRAY if _is_one_piece(cases) else _SPECK
        limits = {name: share * sum(pieces.sizes) for name, pieces in cases.items()}
        strays = {name: [size for size in cases[name].sizes[1:] if size < limit] for name, limit in limits.items()}
        strays = {name: sizes for name, sizes in strays.items() if sizes}
        if len(strays) > max(1, _BY_NATURE * len(cases)):
            continue
        for name, sizes in strays.items():
            counted = "1 island" if len(sizes) == 1 else f"{len(sizes)} islands"
            details.setdefault(name, []).append(f"{counted} of {label.name}, {sum(sizes)} voxels")
            places = zip(cases[name].sizes[1:], cases[name].strays, strict=False)
            boxes[name] = (*boxes.get(name, ()), *(box for size, box in places if size < limits[name]))
    if not details:
        return []
    problem = problem_of(
        "mask-islands",
        "warning",
        "small islands of a label away from the rest of it",
        details,
        "look whether they are meant; else erase them",
        details={name: ", ".join(parts) for name, parts in details.items()},
    )
    return [problem.model_copy(update={"boxes": boxes})]


def _is_one_piece(cases: dict[str, Pieces]) -> bool:
    """Whether a label is one structure by nature: pieces of 5 % and more are as a rule one."""
    whole = [sum(size >= _STRAY * sum(p.sizes) for size in p.sizes) == 1 for p in cases.values()]
    return len(whole) >= FEWEST and sum(whole) >= _ONE_PIECE * len(whole)


def _borders(found: _Found) -> list[Problem]:
    details: dict[str, list[str]] = {}
    for label, cases in found:
        touching = {name: pieces.sides for name, pieces in cases.items() if pieces.sides}
        if len(cases) >= _FEW and len(touching) <= _SELDOM * len(cases):
            for name, sides in touching.items():
                details.setdefault(name, []).append(f"{label.name} at {', '.join(sides)}")
    if not details:
        return []
    texts = {name: "; ".join(parts) for name, parts in details.items()}
    what = "masks that touch the border of the image, where the label usually lies inside: it may be cut off"
    return [problem_of("mask-border", "note", what, texts, "look whether the structure goes on outside", details=texts)]


def _unjudged(found: _Found) -> list[Problem]:
    """What is not said because too few masks show a label."""
    few = {label.name: len(cases) for label, cases in found if 0 < len(cases) < FEWEST}
    if not few:
        return []
    listed = ", ".join(f"{name} ({count})" for name, count in few.items())
    what = (
        f"too few masks show {listed} to tell unusual ones: sizes are compared from {FEWEST} masks on, and what "
        f"touches the border of the image from {_FEW}"
    )
    return [Problem(code="few-cases", severity="note", what=what, remedy="look at each mask yourself")]


def _sizes(found: _Found) -> list[Problem]:
    from math import exp, log

    details: dict[str, list[str]] = {}
    scores: dict[str, float] = {}
    for label, cases in found:
        sizes = {name: log(sum(pieces.sizes)) for name, pieces in cases.items()}
        limits, odd = outliers(sizes, log(_FACTOR))
        if limits is None:
            continue
        for name, excess in odd.items():
            text = (
                f"{label.name} of {exp(sizes[name]):.0f} voxels, usual {exp(limits.low):.0f} to {exp(limits.high):.0f}"
            )
            details.setdefault(name, []).append(text)
            scores[name] = max(scores.get(name, 0.0), excess)
    if not details:
        return []
    texts = {name: "; ".join(parts) for name, parts in details.items()}
    what = "labels much larger or smaller than in the other cases"
    remedy = "look whether the mask belongs to the image and is complete"
    return [problem_of("outlier-label-size", "warning", what, texts, remedy, details=texts, scores=scores)]
