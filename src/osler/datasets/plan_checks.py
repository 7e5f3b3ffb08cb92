"""``check_plan_fields``: whether the fields of a plan fit each other, before data are prepared or a network built."""

from __future__ import annotations

import math
from collections.abc import Iterator

from osler.datasets.plan import Plan
from osler.errors import PlanError

__all__ = ["check_plan_fields"]

_LEVELLED = ("unet", "encoder", "nnunet", "nnunet_resenc", "nnunet_residual")
"""Families whose levels are told one by one by ``features``, ``strides`` and ``blocks``."""


def check_plan_fields(plan: Plan) -> None:
    """Refuse a plan whose fields contradict each other; each sentence names the fields.

    Raises:
        PlanError: with the first contradiction.
    """
    for problem in _contradictions(plan):
        raise PlanError(problem, remedy="set these fields together; osler train --plan-only shows what was planned")


def _contradictions(plan: Plan) -> Iterator[str]:
    yield from _axes(plan)
    yield from _channels(plan)
    yield from _grid(plan)
    if plan.network.family in _LEVELLED:
        yield from _levels(plan)
        yield from _depth(plan)
    yield from _converted(plan)
    if plan.air and not (plan.task == "segment" and plan.dimensions == 3 and plan.tells_air):
        yield (
            f"air is {plan.air}, and air can only be made up for masks of volumes of CT with the normalisation.kind "
            "dataset over all: it must be 0"
        )
    weights = plan.loss.class_weights
    if weights and len(weights) != plan.outputs:
        background = " (background first)" if plan.task == "segment" else ""
        outputs = f"{plan.outputs} outputs{background}"
        yield f"loss.class_weights has {len(weights)} entries, and the task {plan.task} has {outputs}"


def _axes(plan: Plan) -> Iterator[str]:
    """Everything that has one entry per spatial axis."""
    per_axis = {
        "patch": plan.patch,
        "grid.spacing": plan.grid.spacing,
        "grid.shape": plan.grid.shape,
        "augmentation.flips": plan.augmentation.flips,
    }
    for name, values in per_axis.items():
        if values is not None and len(values) != plan.dimensions:
            yield f"{name} has {len(values)} entries, and dimensions is {plan.dimensions}"
        if values is not None and name != "augmentation.flips" and any(value <= 0 for value in values):
            yield f"{name} is {values}, and every entry must be above 0"
    if any(not 0 <= axis < plan.dimensions for axis in plan.mirror_axes):
        yield f"mirror_axes is {plan.mirror_axes}, and dimensions is {plan.dimensions}: axes count from 0"


def _channels(plan: Plan) -> Iterator[str]:
    if len(plan.normalisation) != len(plan.channels):
        yield f"normalisation has {len(plan.normalisation)} entries, and channels has {len(plan.channels)}"
    if any(one.low >= one.high for one in plan.normalisation):
        yield "normalisation has an entry whose low is not below its high"


def _grid(plan: Plan) -> Iterator[str]:
    grid = plan.grid
    needed = "spacing" if grid.resize == "spacing" else "shape"
    if getattr(grid, needed) is None:
        yield f"grid.resize is {grid.resize}, and grid.{needed} is not given"
    if plan.task == "segment":
        return
    if grid.resize == "spacing":
        yield f"grid.resize is spacing, and the task {plan.task} needs studies of one shape: fit or stretch"
    if grid.shape != plan.patch:
        yield f"patch is {plan.patch} and grid.shape {grid.shape}: for the task {plan.task} both must be the same"


def _converted(plan: Plan) -> Iterator[str]:
    """Fields that models of other programs brought along."""
    if plan.regions:
        yield "regions are given, and Osler does not learn structures that overlap"
    if any(axis not in range(plan.dimensions) for axis in plan.grid.kept_axes):
        yield f"grid.kept_axes is {plan.grid.kept_axes}, and dimensions is {plan.dimensions}: axes count from 0"
    network = plan.network
    if not network.family.startswith("nnunet") and (network.kernels or network.decoder_blocks or network.slope != 0.01):
        yield f"network.kernels, decoder_blocks or slope is given, which the family {network.family} does not have"
    for kernel in network.kernels:
        if len(kernel) != plan.dimensions or any(size < 1 or size % 2 == 0 for size in kernel):
            yield f"network.kernels holds {kernel}, and needs an odd size for each of {plan.dimensions} axes"
    if network.kernels and len(network.kernels) != len(network.features):
        yield f"network.kernels has {len(network.kernels)} entries, and network.features {len(network.features)}"


def _levels(plan: Plan) -> Iterator[str]:
    network = plan.network
    lengths = {"features": len(network.features), "strides": len(network.strides), "blocks": len(network.blocks)}
    if len(set(lengths.values())) > 1 or not network.features:
        listed = ", ".join(f"network.{name} has {count}" for name, count in lengths.items())
        yield f"{listed} entries, and each level needs one of each"
    for name, values in (("features", network.features), ("blocks", network.blocks)):
        if any(value < 1 for value in values):
            yield f"network.{name} is {values}, and every entry must be at least 1"
    for stride in network.strides:
        if len(stride) != len(plan.patch) or any(step < 1 for step in stride):
            yield f"network.strides holds {stride}, and patch is {plan.patch}: a stride has a step above 0 per axis"


def _depth(plan: Plan) -> Iterator[str]:
    """Whether the patch is large enough for the strides."""
    network = plan.network
    if network.family != "encoder" and any(step != 1 for step in network.strides[0]):
        first = f"the first level of a {network.family} has no stride: all ones"
        yield f"network.strides begins with {network.strides[0]}, and {first}"
    total = tuple(math.prod(steps) for steps in zip(*network.strides, strict=True))
    if any(size < steps for size, steps in zip(plan.patch, total, strict=True)):
        yield f"patch is {plan.patch}, smaller than the {total} that network.strides divide it by in all"
    lowest = math.prod(-(-size // steps) for size, steps in zip(plan.patch, total, strict=True))
    if lowest == 1 and network.normalisation == "instance":
        yield (
            f"patch is {plan.patch} and network.strides leave one voxel of it, which instance normalisation (see "
            "network.normalisation) cannot scale"
        )
