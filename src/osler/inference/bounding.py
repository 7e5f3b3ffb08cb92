"""How far a coarse pass can be trusted: its threshold and margin chosen on validation cases, and what its bound loses
counted on cases that no network has seen.

A voxel of a target is lost where it lies outside the bound. That is counted on the coarse grid and so does not depend
on where windows lie; a window that touches the bound looks beyond it, and where the bound holds nothing all windows are
run, so prediction loses no more than is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from osler.datasets.labels import LabelSet
from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace, cropped_trace
from osler.inference.coarse import CoarseMap, CoarsePass
from osler.inference.selection import Bound, working_spacing
from osler.inference.windows import window_starts
from osler.metrics.bootstrap import bootstrap, exact_bound
from osler.models.folder import Lost
from osler.studies.geometry import Array
from osler.studies.image import Image

__all__ = ["ALLOWANCE_MM", "THRESHOLDS", "Choice", "Seen", "Target", "choose", "look", "lost_of", "target_of"]

ALLOWANCE_MM = 10.0
"""Added to the margin that validation cases needed; two coarse voxels where those are more, or where the spacing is
unknown."""
THRESHOLDS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
"""Probabilities of anything but background that are tried."""
_STEPS = 8  # margins that are tried: 0 to so many coarse voxels
_HARDLY_MORE = 0.02  # of the windows: of thresholds that cost about the same, the lowest is the safest


@dataclass(frozen=True)
class Target:
    """One label of a study on the coarse grid.

    Args:
        places: (N, 3) coarse voxels that hold voxels of it, planes as the source counts them.
        voxels: (N,) how many of the source's each holds.
        lesions: (M, 2) pairs of a connected part of the label, from 0 on, and a row of ``places`` that holds some of
            it.
    """

    places: Array
    voxels: Array
    lesions: Array


@dataclass(frozen=True)
class Seen:
    """A labelled study as the coarse pass saw it: the map, the shape of the fine working grid, the targets that it has
    by label name, and what stands for its patient."""

    map: CoarseMap
    shape: tuple[int, ...]
    targets: dict[str, Target]
    patient: str


def look(
    images: Sequence[Image], truth: Array, labels: LabelSet, coarse: CoarsePass, plan: Plan, *, patient: str
) -> Seen:
    """Run the coarse pass over a labelled study.

    Args:
        images: one per channel.
        truth: (I, J, K) on the source grid, the data set's values.
        labels: says which value is which label.
        coarse: the pass.
        plan: of the fine network.
        patient: what stands for the patient.

    Raises:
        Unsuitable, PlanError: as ``prepare``.
    """
    found = coarse(images)
    targets = {label.name: target_of(truth == label.value, found.trace) for label in labels.labels}
    present = {name: target for name, target in targets.items() if len(target.places)}
    return Seen(found, cropped_trace(images, plan).working_shape, present, patient)


def target_of(here: Array, trace: Trace) -> Target:
    """Where a structure lies on the coarse grid.

    Args:
        here: (I, J, K) bool on the source grid.
        trace: of the coarse pass.
    """
    from scipy.ndimage import label as connected

    index = np.nonzero(here)
    if not len(index[0]):
        return Target(np.zeros((0, 3), np.int64), np.zeros(0, np.int64), np.zeros((0, 2), np.int64))
    flat = np.ravel_multi_index(_coarse_of(index, trace), trace.working_shape)
    unique, rows, counts = np.unique(flat, return_inverse=True, return_counts=True)
    parts, _ = connected(here, np.ones((3, 3, 3)))
    lesions = np.unique(np.stack([parts[index].astype(np.int64) - 1, rows.reshape(-1)], axis=1), axis=0)
    return Target(np.stack(np.unravel_index(unique, trace.working_shape), axis=1), counts, lesions)


def _coarse_of(index: Sequence[Array], trace: Trace) -> tuple[Array, ...]:
    """Source indices per axis to those of the coarse voxels that hold their centres; what was cropped away lies at the
    edge."""
    slabs = trace.order.index(len(trace.order) - 1)
    starts = [0] * 3 if trace.cropped is None else [part.start for part in trace.cropped]
    places = []
    for n, (axis, flip) in enumerate(zip(trace.order, trace.flips, strict=True)):
        oriented = trace.oriented_shape[n] - 1 - index[axis] if flip else index[axis]
        kept, size = trace.kept_shape[n], trace.working_shape[n]
        place = np.clip((2 * (oriented - starts[n]) + 1) * size // (2 * kept), 0, size - 1)
        places.append(size - 1 - place if flip and n == slabs else place)
    return tuple(places)


@dataclass(frozen=True)
class Choice:
    """A threshold, a margin (mm; coarse voxels where the spacing is unknown), allowance included, and the mean share of
    the fine windows of the validation cases that touch the bound."""

    threshold: float
    margin: float
    windows: float


def choose(cases: Sequence[Seen], plan: Plan) -> Choice | None:
    """Choose on validation cases: no voxel of any label outside, then (nearly) the fewest windows of the fine network,
    then the lowest threshold.

    Args:
        cases: at least one.
        plan: of the fine network.

    Returns:
        None where no threshold and margin keep everything.
    """
    trace = cases[0].map.trace
    unit = min(working_spacing(trace)) if trace.spacing_known else 1.0
    allowance = max(ALLOWANCE_MM, 2 * unit) if trace.spacing_known else 2.0
    found = []
    for threshold in THRESHOLDS:
        needed = next((step for step in range(_STEPS + 1) if _keeps_all(cases, threshold, step * unit)), None)
        if needed is not None:
            margin = round(needed * unit + allowance, 3)
            share = float(np.mean([_windows_within(case, threshold, margin, plan) for case in cases]))
            found.append(Choice(threshold, margin, share))
    fewest = min((choice.windows for choice in found), default=0.0)
    alike = [choice for choice in found if choice.windows <= fewest + _HARDLY_MORE]
    return min(alike, key=lambda choice: choice.threshold, default=None)


def _keeps_all(cases: Sequence[Seen], threshold: float, margin: float) -> bool:
    for case in cases:
        bound = case.map.bound(threshold, margin)
        if not all(bound[tuple(target.places.T)].all() for target in case.targets.values()):
            return False
    return True


def _windows_within(case: Seen, threshold: float, margin: float, plan: Plan) -> float:
    """The share of the fine network's windows that touch the bound of a study; all where it holds nothing."""
    bound = Bound(case.map.bound(threshold, margin), case.shape)
    if bound.empty:
        return 1.0
    padded = tuple(max(s, p) for s, p in zip(case.shape, plan.patch, strict=True))
    starts = window_starts(padded, plan.patch, plan.overlap)
    touched = [
        bound.touches([_within(s, p, n) for s, p, n in zip(corner, plan.patch, case.shape, strict=True)])
        for corner in product(*starts)
    ]
    return sum(touched) / len(touched)


def _within(start: int, length: int, size: int) -> tuple[int, int]:
    """Start and stop of a window on an axis of ``size`` voxels, which is padded evenly to at least ``length``."""
    begin = start - max(0, length - size) // 2
    return max(begin, 0), min(begin + length, size)


def lost_of(cases: Sequence[Seen], threshold: float, margin: float) -> dict[str, Lost]:
    """What lies outside the bound, by label; labels that no case has are left out."""
    rows: dict[str, list[tuple[str, Array]]] = {}
    for case in cases:
        bound = case.map.bound(threshold, margin)
        for name, target in case.targets.items():
            rows.setdefault(name, []).append((case.patient, _lost_counts(target, ~bound[tuple(target.places.T)])))
    return {name: _lost([p for p, _ in found], np.stack([c for _, c in found])) for name, found in rows.items()}


def _lost_counts(target: Target, outside: Array) -> Array:
    """(5,): voxels and how many are outside; lesions and how many are wholly and partly outside."""
    lesion, row = target.lesions.T
    places, lost = np.bincount(lesion), np.bincount(lesion, weights=outside[row])
    whole = int((lost == places).sum())
    voxels = (target.voxels.sum(), target.voxels[outside].sum())
    return np.array([*voxels, len(places), whole, (lost > 0).sum() - whole], np.int64)


def _lost(patients: Sequence[str], counts: Array) -> Lost:
    """(N, 5) of the cases of one label, as one."""
    voxels, voxels_lost, lesions, whole, part = (int(n) for n in counts.sum(axis=0))
    return Lost(
        cases=len(counts),
        patients=len(set(patients)),
        voxels=voxels,
        voxels_lost=voxels_lost,
        voxel_interval=_interval(patients, counts[:, 1], counts[:, 0]),
        lesions=lesions,
        lesions_lost=whole,
        lesions_cut=part,
        lesion_interval=_interval(patients, counts[:, 3], counts[:, 2]),
    )


def _interval(patients: Sequence[str], lost: Array, all_of: Array) -> tuple[float, float] | None:
    """95 % over patients; of a share of 0 or 1, which resampling cannot vary, the exact one that so many patients
    allow."""
    share = lost.sum() / all_of.sum()
    if share in (0, 1):
        return exact_bound(float(share), len(set(patients)))
    found = bootstrap(lambda counts: ((counts @ lost) / (counts @ all_of))[:, None], patients)[0]
    return None if found.low is None or found.high is None else (found.low, found.high)
