"""Coarse-to-fine: when a low-resolution pass is worth having, and the plan of its network. Pure functions.

A fine network of a study with many windows spends nearly all of them where a small target is not. A network on a grid
of a fraction of the voxels can say where to look, if targets are still large enough on that grid to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from osler.datasets.candidates import Candidate, low_resolution, steps_needed, working_shape
from osler.datasets.fingerprint import Fingerprint
from osler.datasets.hardware import Hardware
from osler.datasets.plan import CoarsePlan, GridPlan, Plan
from osler.errors import PlanError

__all__ = ["Worth", "coarse_for", "coarse_plan", "with_coarse", "worth_of"]

_FEWEST_WINDOWS = 12  # of the median study; a coarse pass over fewer saves nothing that anybody notices
_MOST_TOUCHED = 0.5  # share of the windows that targets and margin may be expected to touch
_FEWER_VOXELS = 6.0  # how many times fewer voxels the coarse grid must have
_MARGIN_MM = 20.0  # around a target, when its windows are counted
_VOXELS_ACROSS = 2.5  # of a coarse grid, across a cube as large as the smallest target
_LIMIT = 64**3  # voxels of a coarse patch: a study that fits into it needs no coarser grid


@dataclass(frozen=True)
class Worth:
    """What a coarse pass could save for the median study.

    Args:
        windows: of the fine network.
        touched: the share of them that targets, with a margin, are expected to touch at most.
        spacing: of the coarse grid, per axis.
        fewer: how many times fewer voxels it has.
    """

    windows: int
    touched: float
    spacing: tuple[float, ...]
    fewer: float

    @property
    def problem(self) -> str:
        """Why a coarse pass is not worth having; "" when it is."""
        if self.windows < _FEWEST_WINDOWS:
            return f"the median study has {self.windows} windows, too few to save any"
        if self.fewer < _FEWER_VOXELS:
            return f"the coarsest grid that is of use has only {self.fewer:.1f} times fewer voxels"
        if self.touched > _MOST_TOUCHED:
            return f"targets are expected to touch {self.touched:.0%} of the {self.windows} windows"
        return ""


def worth_of(fingerprint: Fingerprint, plan: Plan) -> Worth | None:
    """What it could save; None where there is nothing to say: no volumes, no spacing to resample to, or no target."""
    statistics = [one for one in fingerprint.label_statistics if one.median_voxels and one.median_extent]
    spacing = plan.grid.spacing
    if plan.task != "segment" or plan.dimensions != 3 or plan.regions or not statistics or spacing is None:
        return None
    shape = working_shape(fingerprint, plan.grid)
    windows = [_windows(n, p, plan.overlap) for n, p in zip(shape, plan.patch, strict=True)]
    margin = _MARGIN_MM if fingerprint.spacing_known else 8.0
    touched = 0.0
    for one in statistics:
        extent = [
            n * source / own
            for n, source, own in zip(one.median_extent, fingerprint.median_spacing, spacing, strict=True)
        ]
        shares = [
            (e + 2 * margin / own + p) / max(1, int(p * (1 - plan.overlap))) / count
            for e, own, p, count in zip(extent, spacing, plan.patch, windows, strict=True)
        ]
        touched += math.prod(min(1.0, share) for share in shares)
    coarse = _coarse_spacing(fingerprint, spacing)
    fewer = math.prod(c / s for c, s in zip(coarse, spacing, strict=True))
    return Worth(math.prod(windows), min(1.0, touched), coarse, fewer)


def _windows(size: int, length: int, overlap: float) -> int:
    """Windows along one axis, as ``inference.windows.window_starts`` lays them."""
    step = max(1, int(length * (1 - overlap)))
    return -(-max(0, size - length) // step) + 1


def _coarse_spacing(fingerprint: Fingerprint, fine: Sequence[float]) -> tuple[float, ...]:
    """As coarse as the smallest target allows, but no coarser than what brings the median study into one patch."""
    source = fingerprint.median_spacing
    voxel = math.prod(source)
    edges = [
        min((one.median_voxels * voxel) ** (1 / 3), *(n * s for n, s in zip(one.median_extent, source, strict=True)))
        for one in fingerprint.label_statistics
        if one.median_voxels and one.median_extent
    ]
    volume = math.prod(n * s for n, s in zip(fingerprint.median_shape, source, strict=True))
    target = min(min(edges) / _VOXELS_ACROSS, (volume / _LIMIT) ** (1 / 3))
    return tuple(round(max(s, target), 4) for s in fine)


def coarse_for(
    fingerprint: Fingerprint, plan: Plan, hardware: Hardware, *, wanted: bool | None = None
) -> tuple[CoarsePlan | None, str]:
    """Decide whether a plan gets a coarse network, and which.

    Args:
        fingerprint: of the training cases.
        plan: of the fine network, with everything decided.
        hardware: for the size of a batch.
        wanted: True wants one wherever it is possible, False none; None where it is worth having.

    Returns:
        The coarse plan or None, and the reason.
    """
    if wanted is False:
        return None, "not wanted"
    worth = worth_of(fingerprint, plan)
    if worth is None:
        return None, "the network looks everywhere: a coarse pass is for volumes with masks"
    if worth.fewer <= 1 or (worth.problem and not wanted):
        return None, f"the network looks everywhere: {worth.problem or 'no coarser grid shows the targets'}"
    grid = GridPlan(
        resize="spacing",
        spacing=worth.spacing,
        orientation=plan.grid.orientation,
        order=1,
        spacing_known=plan.grid.spacing_known,
        crop=plan.grid.crop,
    )
    chosen = low_resolution(fingerprint, hardware, grid, plan.inputs, plan.outputs)
    made = CoarsePlan(
        grid=grid,
        patch=chosen.patch,
        batch=chosen.batch,
        network=chosen.network,
        steps=_steps(plan, chosen, fingerprint),
    )
    reason = (
        f"targets are expected to touch at most {worth.touched:.0%} of {worth.windows} windows; a network on a grid "
        f"with {worth.fewer:.0f} times fewer voxels says which"
    )
    return made, reason


def with_coarse(
    plan: Plan, fingerprint: Fingerprint, hardware: Hardware, *, wanted: bool | None = None, folds: int = 1
) -> Plan:
    """The plan with or without a coarse network, and the reason; arguments as ``coarse_for``.

    Args:
        folds: with more than 1 there is none: a coarse network has seen the cases that the other folds measure on.

    Raises:
        PlanError: when one is wanted and cannot be had.
    """
    if folds > 1:
        made, reason = None, "the network looks everywhere: a coarse network would have seen the other folds' cases"
    else:
        made, reason = coarse_for(fingerprint, plan, hardware, wanted=wanted)
    if made is None and wanted:
        raise PlanError(f"coarse-to-fine is not possible here ({reason})", remedy="leave --coarse-to-fine out")
    if made is None and worth_of(fingerprint, plan) is None:
        return plan
    left = 1 - made.share if made is not None and plan.budget_s is not None else 1.0
    update = {"coarse": made, "steps": int(plan.steps * left), "reasons": {**plan.reasons, "coarse": reason}}
    return plan.model_copy(update=update)


def _steps(plan: Plan, candidate: Candidate, fingerprint: Fingerprint) -> int:
    """Of a run whose steps are counted: what the coarse network needs, and no more than the fine one has."""
    return min(plan.steps, steps_needed(candidate, plan.task, fingerprint.cases))


def coarse_plan(plan: Plan) -> Plan | None:
    """The whole plan of the coarse network; None where there is none."""
    if plan.coarse is None:
        return None
    coarse = plan.coarse
    return plan.model_copy(
        update={
            "grid": coarse.grid,
            "patch": coarse.patch,
            "batch": coarse.batch,
            "network": coarse.network,
            "steps": coarse.steps,
            "coarse": None,
            "members": 1,
            "pace": (),
            "reasons": {},
        }
    )
