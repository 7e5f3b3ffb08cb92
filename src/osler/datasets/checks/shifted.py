"""Masks that lie beside what they outline: exported with another origin, or drawn on another image.

A mask is moved over its image (see ``outline``), and the contrast of its outline, pooled over the images of a patient,
must be near its highest where the mask lies. What is near is learned from the set, which has to show its outlines at
all: where inside and outside of a label look alike, nothing is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.checks.robust import FEWEST, outliers
from osler.datasets.outline import REACH, OutlineContrast
from osler.datasets.problem import Problem
from osler.studies.geometry import Array

__all__ = ["check"]

_SEEN = 0.8
"""Contrast where the masks lie, as a share of the highest, that is reached in a set that shows its outlines.

Measured as the median: 0.98 in heart MR, 0.33 in hippocampi, whose border is dark on one side and bright on the other.
"""
_NEAR = 2
"""Steps (sixteenths of a mask) within which its place counts as where it lies: outlines are drawn a bit in or out."""
_LESS = 0.35
"""Share of the highest contrast that may be missing there. Measured: 0.77 at a heart whose masks lie 14 pixels aside,
at most 0.05 at 29 others."""
_AWAY = 3.0
"""Steps by which a mask must fit better elsewhere."""
_TOP = 0.9
"""Share of the highest contrast from which a place counts for where the mask fits best."""


@dataclass(frozen=True)
class _Pooled:
    """Of the images of one patient: contrast (17, 17) over moves by ``step`` voxels, its mean square being 1."""

    step: float
    contrast: Array


def check(evidence: Evidence) -> list[Problem]:
    """The cases of patients (of single cases where patients are not known) whose masks fit better elsewhere."""
    if evidence.dataset.labels.kind != "mask":
        return []
    members = _members(evidence)
    moves: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    scores: dict[str, float] = {}
    for axes in ((0, 1), (1, 2)):
        pooled = {who: found for who, names in members.items() if (found := _pooled(evidence, names, axes))}
        for who, (fit, move) in _beside(pooled).items():
            for axis, voxels in zip(axes, move, strict=True):
                moves[who][axis].append(voxels)
            scores |= {name: max(1 - fit, scores.get(name, 0.0)) for name in members[who]}
    if not moves:
        return []
    details = {
        name: _said(found, evidence.seen[name].view.ndim) for who, found in moves.items() for name in members[who]
    }
    known = evidence.dataset.manifest.patients != "unknown"
    whose = f" ({len(moves)} patient{'s' if len(moves) > 1 else ''})" if known else ""
    what = f"masks that lie beside what they outline{whose}: their outline has more contrast elsewhere"
    remedy = (
        "look at image and mask together, and move the masks or export them again from the image they were drawn on"
    )
    groups = [members[who] for who in moves] if known else []
    return [problem_of("mask-shifted", "warning", what, details, remedy, details=details, groups=groups, scores=scores)]


def _members(evidence: Evidence) -> dict[str, tuple[str, ...]]:
    """Cases with an outline by patient; a case without one is for itself."""
    members: dict[str, list[str]] = defaultdict(list)
    for name, seen in evidence.seen.items():
        if seen.outlines:
            members[evidence.records[name].patient or f"\0{name}"].append(name)
    return {who: tuple(names) for who, names in members.items()}


def _pooled(evidence: Evidence, names: Iterable[str], axes: tuple[int, int]) -> _Pooled | None:
    from scipy.ndimage import map_coordinates

    found = [one for name in names for one in evidence.seen[name].outlines if one.axes == axes]
    found = [one for one in found if one.contrast.any()]
    if not found:
        return None
    step = float(np.median([one.step for one in found]))
    total = np.zeros_like(found[0].contrast)
    for one in found:
        places = np.meshgrid(*2 * [_moves() * step / one.step + REACH], indexing="ij")
        total += map_coordinates(one.contrast / _size(one), places, order=1, mode="nearest")
    return _Pooled(step, total / len(found))


def _moves() -> Array:
    return np.arange(-REACH, REACH + 1)


def _size(one: OutlineContrast) -> float:
    return float(np.sqrt((one.contrast**2).mean()))


def _beside(pooled: Mapping[str, _Pooled]) -> dict[str, tuple[float, tuple[float, float]]]:
    """Whose masks fit better elsewhere: the contrast where they lie as a share of the highest, and the move in voxels.

    A label may be brighter or darker than what is round it; which of the two is learned from the set.
    """
    if len(pooled) < FEWEST:
        return {}
    sign = np.sign(np.median([one.contrast[REACH, REACH] for one in pooled.values()]))
    shown = {who: sign * one.contrast for who, one in pooled.items() if (sign * one.contrast).max() > 0}
    if len(shown) < FEWEST or np.median([c[REACH, REACH] / c.max() for c in shown.values()]) < _SEEN:
        return {}
    near = np.hypot(*np.meshgrid(_moves(), _moves())) <= _NEAR
    fits = {who: float(contrast[near].max() / contrast.max()) for who, contrast in shown.items()}
    _, odd = outliers(fits, _LESS, side="low")
    best = {who: _best(shown[who]) for who in odd}
    return {
        who: (fits[who], (rows * pooled[who].step, columns * pooled[who].step))
        for who, (rows, columns) in best.items()
        if np.hypot(rows, columns) >= _AWAY
    }


def _best(contrast: Array) -> tuple[float, float]:
    """The move of the highest contrast in steps: the middle of the places that come near it."""
    weight = np.where(contrast >= _TOP * contrast.max(), contrast, 0)
    return float(weight.sum(axis=1) @ _moves() / weight.sum()), float(weight.sum(axis=0) @ _moves() / weight.sum())


def _said(moves: Mapping[int, Sequence[float]], dimensions: int) -> str:
    """``"fits best when moved 13 pixels to the right and 5 down"``; ``"4 voxels along I and -2 along J"`` in a volume.

    An axis that two planes share has the mean of both.
    """
    means = {axis: round(sum(found) / len(found)) for axis, found in moves.items()}
    told = [_way(axis, voxels, dimensions) for axis, voxels in sorted(means.items()) if voxels]
    if not told:  # two planes contradict each other about the axis that they share
        return "fits better elsewhere"
    (first, way), *rest = told
    parts = [f"{first} {'pixels' if dimensions == 2 else 'voxels'} {way}", *(f"{n} {other}" for n, other in rest)]
    return f"fits best when moved {' and '.join(parts)}"


def _way(axis: int, voxels: int, dimensions: int) -> tuple[int, str]:
    if dimensions == 3:
        return voxels, f"along {'IJK'[axis]}"
    return abs(voxels), (("to the right", "to the left"), ("down", "up"))[axis][voxels < 0]
