"""Which windows of a study are run: not those that lie in the air around a patient, nor those that a coarse pass has
found to be far from every target.

A voxel that lies in a window which is not run is background. All windows that touch the body (or the bound of the
coarse pass) are run, so the answer within it is, to the last bit, the one that running every window gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from osler.datasets.plan import NormalisationPlan, Plan
from osler.datasets.preparation import Trace
from osler.inference.layout import Layer
from osler.studies.geometry import Array, spacing_of

__all__ = [
    "AirRule",
    "Body",
    "Bound",
    "Selection",
    "Windows",
    "air_rule",
    "calls_air_background",
    "dilated",
    "margin_of",
    "working_spacing",
]

_NOT_AIR = -900.0
"""HU of a mean over 3 × 3 voxels in the plane above which something is there: a tenth of tissue in air, more than the
noise of a scanner in air (below 40 HU, and a third of that in the mean), and less than any lung."""
_SURELY_NOT_AIR = -700.0
"""HU of a single voxel: what is thinner than three voxels is not lost in the mean."""
_AIR = -1000.0
_TISSUE = -200.0
"""HU of a voxel above which it is fat, muscle or bone. Numbers that are off by a
thousand (an intercept applied twice) show none, nor does a crop that is all lung."""
_SHOWN = 0.05
"""Share of a plane that must be tissue before a layer is believed to show a patient in air; bone and contrast of a
study whose numbers are off do not reach it."""
_BACKGROUND = 0.99
"""Share of a window of air that a network must call background. To one that labels air it is all label; what one that
does not says in stray voxels, at its border mostly, is wrong whether the window is run or not."""
_MARGIN_MM = 10.0
_MARGIN_VOXELS = 8  # where the spacing is unknown
_PLANES = 16  # looked at together: a cache line of float32


@dataclass(frozen=True)
class Windows:
    """How many windows a study has, how many were run, and how many were not because they hold nothing but air outside
    the body, or else lie beyond the bound of the coarse pass; ``unbounded`` where that pass found nothing at all and
    therefore ruled nothing out."""

    total: int = 0
    run: int = 0
    air: int = 0
    beyond: int = 0
    unbounded: bool = False

    def notes(self) -> tuple[str, ...]:
        """Sentences for the findings; nothing when all windows were run as a matter of course."""
        said = []
        if self.unbounded:
            said.append("the low-resolution pass found nothing in this study, so it bounded nothing")
        if self.run == self.total:
            return tuple(said)
        why = [f"{self.air} hold only air outside the body"] if self.air else []
        why += [f"{self.beyond} lie away from everything that the low-resolution pass found"] if self.beyond else []
        return (
            f"the network looked at {self.run} of {self.total} windows: {' and '.join(why)}; what lies in those is "
            "background (--every-window looks at all)",
            *said,
        )


@dataclass(frozen=True)
class AirRule:
    """Where a prepared CT study is not air: above ``mean`` in the mean over 3 × 3 voxels of a plane, or above
    ``single`` in one voxel; and where a voxel is tissue: above ``tissue``. Per channel, in the network's units.
    ``air`` is what air becomes."""

    mean: tuple[float, ...]
    single: tuple[float, ...]
    tissue: tuple[float, ...]
    air: tuple[float, ...]


def air_rule(plan: Plan) -> AirRule | None:
    """The rule for a plan's studies, None where there is none that is safe.

    Only CT numbers say what is air: elsewhere the signal of a body part far from the coil, of bone or of lung is no
    larger than noise, and an image's own percentiles say nothing about where its noise ends.
    """
    if not plan.tells_air:
        return None
    levels = (_NOT_AIR, _SURELY_NOT_AIR, _TISSUE, _AIR)
    return AirRule(*(tuple(_scaled(hu, one) for one in plan.normalisation) for hu in levels))


def _scaled(hu: float, normalisation: NormalisationPlan) -> float:
    """What ``hu`` becomes; at the lower limit, where all below it lies too, a little above what that becomes."""
    least = normalisation.low + (1.0 if hu > _AIR else 0.0)
    return (max(hu, least) - normalisation.mean) / normalisation.std


class Body:
    """Asked of each layer: which windows touch the patient or what lies on them.

    All planes of a layer are laid over each other; what lies between two things along a row or along a column counts
    as inside, and so does a corner that a body reaches from both sides, so that lungs, bowel gas and what a border cuts
    open are the body's; and a margin is left around it. A layer that does not show a patient is run whole: either there
    is none, or what the numbers mean is not what they mean in CT.

    Args:
        rule: what is air.
        axis: along which slabs follow each other.
        margin: voxels around the body, per axis.
    """

    def __init__(self, rule: AirRule, axis: int, margin: Sequence[int]) -> None:
        self._rule, self._axis, self._margin = rule, axis, tuple(margin)

    def __call__(self, layer: Layer) -> list[bool]:
        occupied, shown = self._occupied(layer.planes)
        if not shown:
            return [True] * len(layer.corners)
        occupied = _between(occupied)
        return [bool(occupied[self._around(corner, layer.patch)].any()) for corner in layer.corners]

    def _around(self, corner: tuple[int, ...], patch: tuple[int, ...]) -> tuple[slice, ...]:
        boxes = zip(corner, patch, self._margin, strict=True)
        return tuple(slice(max(c - m, 0), c + p + m) for n, (c, p, m) in enumerate(boxes) if n != self._axis)

    def _occupied(self, planes: Array) -> tuple[Array, bool]:
        """(C, \\*padded) to the two axes other than the slabs', whether any plane holds something there (what is not a
        number is something), and whether any plane shows a patient."""
        found = np.zeros([size for n, size in enumerate(planes.shape[1:]) if n != self._axis], np.bool_)
        shown, rule = False, self._rule
        for channel, mean, single, tissue in zip(planes, rule.mean, rule.single, rule.tissue, strict=True):
            stack = np.moveaxis(channel, self._axis, 0)
            for first in range(0, len(stack), _PLANES):
                part = np.ascontiguousarray(stack[first : first + _PLANES])
                means = _mean_of_nine(part)
                found |= ~((part <= single) & (means <= mean)).all(axis=0)
                shown = shown or bool(((part > tissue).mean(axis=(1, 2)) >= _SHOWN).any())
        return found, shown


def _mean_of_nine(planes: Array) -> Array:
    """(N, A, B) to the mean over 3 × 3 voxels of each plane, those of the edge repeated."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / np.float32(9))


def _between(occupied: Array) -> Array:
    """(A, B) bool: also what has something on both sides of it along a row or along a column, holes among it, where
    a corner of the image between two borders that something reaches counts as something."""
    closed = occupied.copy()
    for rows, columns in product((slice(None), slice(None, None, -1)), repeat=2):
        corner = closed[rows, columns]
        along, down = corner[0], corner[:, 0]
        if along.any() and down.any():
            along[: along.argmax()] = True
            down[: down.argmax()] = True
    either = closed.copy()
    for axis in (0, 1):
        before = np.logical_or.accumulate(closed, axis=axis)
        after = np.flip(np.logical_or.accumulate(np.flip(closed, axis), axis=axis), axis)
        either |= before & after
    return either


class Bound:
    """Asked of each layer: which windows touch the bound of a coarse pass.

    Args:
        mask: bool on the coarse working grid, planes as the source counts them; margin included.
        shape: of the fine working grid of the same study.
    """

    def __init__(self, mask: Array, shape: Sequence[int]) -> None:
        self._mask, self._shape = mask, tuple(shape)

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self._mask.any()

    def __call__(self, layer: Layer) -> list[bool]:
        return [self.touches(layer.box(corner)) for corner in layer.corners]

    def touches(self, box: Sequence[tuple[int, int]]) -> bool:
        """Whether a box of fine voxels (start and stop per axis) holds a voxel of the bound, wholly or in part."""
        sizes = zip(box, self._mask.shape, self._shape, strict=True)
        return bool(self._mask[tuple(slice(a * n // full, -(-b * n // full)) for (a, b), n, full in sizes)].any())


class Selection:
    """What ``blend`` asks, for one study; afterwards ``windows`` says how many were run and why not.

    Args:
        body: None where there is no safe rule for what is air, or the network does not call air background.
        bound: None without a coarse pass. One that holds nothing rules nothing out: a pass that finds no target is as
            likely blind to this study as right about it.
    """

    def __init__(self, body: Body | None, bound: Bound | None) -> None:
        self._body, self._bound = body, None if bound is None or bound.empty else bound
        self._unbounded = bound is not None and bound.empty
        self._total = self._run = self._beyond = 0

    @property
    def windows(self) -> Windows:
        """Of the layers asked about so far."""
        air = self._total - self._run - self._beyond
        return Windows(self._total, self._run, air, self._beyond, self._unbounded)

    def __call__(self, layer: Layer) -> list[bool]:
        count = len(layer.corners)
        inside = [True] * count if self._body is None else self._body(layer)
        near = [True] * count if self._bound is None else self._bound(layer)
        run = [one and other for one, other in zip(inside, near, strict=True)]
        self._total += count
        self._run += sum(run)
        self._beyond += sum(one and not other for one, other in zip(inside, near, strict=True))
        return run


def margin_of(trace: Trace) -> tuple[int, ...]:
    """Voxels of the working grid around the body that still count as it."""
    if not trace.spacing_known:
        return (_MARGIN_VOXELS,) * len(trace.working_shape)
    return tuple(math.ceil(_MARGIN_MM / spacing) for spacing in working_spacing(trace))


def working_spacing(trace: Trace) -> tuple[float, ...]:
    """Of the working grid, in mm; in voxels of the source where its spacing is unknown."""
    spacing = [spacing_of(trace.source_affine)[axis] if trace.spacing_known else 1.0 for axis in trace.order]
    return tuple(
        s * before / after for s, before, after in zip(spacing, trace.kept_shape, trace.working_shape, strict=True)
    )


def calls_air_background(
    rule: AirRule,
    patch: Sequence[int],
    run: Callable[[Array], Array],
    logits: Callable[[Array], Array],
    *,
    windows: int = 1,
) -> bool:
    """Whether a network calls a window of pure air background, but for stray voxels.

    Args:
        rule: says what air is.
        patch: shape of a window.
        run: maps windows (B, C, \\*patch) to (B, F, \\*patch).
        logits: maps (F, n) to (O, n), background first.
        windows: how many, all alike, go into a batch: as many as later ones have, for which the graph is compiled.
    """
    channels = np.asarray(rule.air, np.float32).reshape(1, -1, *(1,) * len(patch))
    answer = run(np.broadcast_to(channels, (windows, len(rule.air), *patch)).copy())[0]
    winner = logits(np.ascontiguousarray(answer).reshape(len(answer), -1)).argmax(axis=0)
    return bool((winner == 0).mean() >= _BACKGROUND)


def dilated(mask: Array, reach: Sequence[int]) -> Array:
    """``mask`` (bool) and all voxels within ``reach`` of it, per axis: a box around each."""
    for axis, steps in enumerate(reach):
        if steps <= 0:
            continue
        size = mask.shape[axis]
        counts = np.concatenate(
            [np.zeros_like(mask.take([0], axis), np.int32), mask.cumsum(axis, dtype=np.int32)], axis
        )
        index = np.arange(size)
        after = counts.take(np.minimum(index + steps + 1, size), axis)
        mask = after > counts.take(np.maximum(index - steps, 0), axis)
    return mask
