"""Sides that contradict one another: a header, a name, a column; labels called left and right; what the image shows.

The image is asked by a classifier that learns from the set what the left ones look like, and only where it can tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.checks.learned import block_means, clearly_other, fold_of, out_of_fold
from osler.datasets.labels import Label
from osler.datasets.problem import Problem

__all__ = ["check", "side_in_name"]

_WORDS = {
    "left": "L",
    "lt": "L",
    "l": "L",
    "sin": "L",
    "os": "L",
    "right": "R",
    "rt": "R",
    "r": "R",
    "dex": "R",
    "od": "R",
}
_LOOSE = {"l", "r", "os", "od", "lt", "rt", "sin", "dex"}
"""Too short to mean a side in every name; they count where most names hold one."""
_COLUMNS = ("laterality", "side", "eye", "breast_side", "image_laterality")
_FEWEST = 12
"""Cases of each side from which it can be learned what they look like."""


def check(evidence: Evidence) -> list[Problem]:
    """Cases in which two of what says a side disagree."""
    return [*_told_twice(evidence), *_labels(evidence), *_shown(evidence)]


def side_in_name(name: str, *, loose: bool) -> str:
    """``"L"``, ``"R"``, or ``""`` when the name says neither or both.

    Args:
        name: of a case or label.
        loose: whether short words (L, R, LT, RT, OS, OD) count as well.
    """
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    sides = {_WORDS[word] for word in words if word in _WORDS and (loose or word not in _LOOSE)}
    return sides.pop() if len(sides) == 1 else ""


def _told(evidence: Evidence) -> dict[str, dict[str, str]]:
    """For each source that says a side: the side by case."""
    tags = {name: o.tags["side"][:1].upper() for name, o in evidence.seen.items() if o.tags.get("side")}
    names = [record.name for record in evidence.dataset.records]
    loose = sum(bool(side_in_name(name, loose=True)) for name in names) > 0.5 * len(names)
    sources = {
        "its header": {name: side for name, side in tags.items() if side in ("L", "R")},
        "its name": {name: side for name in names if (side := side_in_name(name, loose=loose))},
    }
    for column in _COLUMNS:
        written = {
            r.name: _side(value)
            for r in evidence.dataset.records
            for key, value in r.columns.items()
            if key.lower() == column
        }
        sources[f"the column {column}"] = {name: side for name, side in written.items() if side}
    return {source: sides for source, sides in sources.items() if sides}


def _side(value: str) -> str:
    return side_in_name(value, loose=True)


def _told_twice(evidence: Evidence) -> list[Problem]:
    details: dict[str, str] = {}
    sources = _told(evidence)
    for name in evidence.records:
        said = {source: sides[name] for source, sides in sources.items() if name in sides}
        if len(set(said.values())) > 1:
            details[name] = ", ".join(f"{source} says {side}" for source, side in said.items())
    return _problem("sides that contradict one another", details)


def _labels(evidence: Evidence) -> list[Problem]:
    """World x grows to the patient's right: a left structure lies at lower x than its right counterpart."""
    details: dict[str, str] = {}
    for left, right in _pairs(evidence.dataset.labels.labels):
        for name, seen in evidence.seen.items():
            if left.value in seen.pieces and right.value in seen.pieces:
                one, other = seen.pieces[left.value].centre, seen.pieces[right.value].centre
                if one and other and one[0] > other[0]:
                    details[name] = f"{left.name} lies to the patient's right of {right.name}"
    return _problem("labels called left and right that lie the other way round", details)


def _pairs(labels: tuple[Label, ...]) -> list[tuple[Label, Label]]:
    """Labels whose names differ in the side only."""
    sides: dict[str, dict[str, Label]] = {}
    for label in labels:
        side = side_in_name(label.name, loose=True)
        words = re.findall(r"[a-z0-9]+", label.name.lower())
        if side:
            sides.setdefault(" ".join(word for word in words if word not in _WORDS), {})[side] = label
    return [(pair["L"], pair["R"]) for pair in sides.values() if len(pair) == 2]


def _shown(evidence: Evidence) -> list[Problem]:
    """What the image looks like against what is told of it, where nothing told disagrees with itself."""
    told: dict[str, str] = {}
    for sides in _told(evidence).values():
        told |= {name: side for name, side in sides.items() if name in evidence.seen and name not in told}
    shapes = {evidence.seen[name].view.ndim for name in told}
    count = min(sum(side == "L" for side in told.values()), sum(side == "R" for side in told.values()))
    if count < _FEWEST or len(shapes) != 1:
        return []
    names = list(told)
    views = np.stack([evidence.seen[name].view for name in names])
    left = np.array([told[name] == "L" for name in names])
    folds = fold_of([evidence.records[name].patient or name for name in names])
    scores = out_of_fold(block_means(views), left, folds, forgiving=True) * np.where(left, 1, -1)
    details = {
        names[
            place
        ]: f"looks like {'right' if told[names[place]] == 'L' else 'left'}, and is called {told[names[place]]}"
        for place in clearly_other(scores)
    }
    return _problem("images that look like the other side", details)


def _problem(what: str, details: Mapping[str, str]) -> list[Problem]:
    if not details:
        return []
    remedy = "find out which side it is: look at the request or at a second image of the patient"
    return [problem_of("laterality", "error", what, details, remedy, details=details)]
