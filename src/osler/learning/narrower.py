"""Smaller networks out of larger ones: the plan with fewer filters, and a trained network without its weakest ones.

What is left after pruning is again a network of the plan's family, every level with fewer filters, so that it can be
built from its plan like any other.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from osler.datasets.plan import Plan
from osler.errors import PlanError, UsageError
from osler.extras import require
from osler.learning.networks import Network, build_network
from osler.learning.networks.base import InstanceNorm

__all__ = ["FAMILIES", "narrower_plan", "parameters_of", "prune"]

FAMILIES = ("unet", "encoder", "nnunet", "nnunet_resenc", "nnunet_residual")
"""Families whose width is told level by level, and whose layers all follow it."""
_SMALLEST = 4


def narrower_plan(plan: Plan, share: float) -> Plan:
    """The plan with about ``share`` of the filters of each level taken away, as many left as processors like: a
    multiple of 8, or of 4 below 16.

    Raises:
        UsageError: when ``share`` is not between 0 and 1, or takes nothing away.
        PlanError: when the family's width is not told level by level.
    """
    if not 0 < share < 1:
        raise UsageError(f"{share:g} is no share of the filters", remedy="give a number between 0 and 1, as 0.5")
    network = plan.network
    if network.family not in FAMILIES:
        raise PlanError(
            f"networks of the family {network.family} cannot be made narrower", remedy="compress it with --int8 only"
        )
    features = tuple(_kept(width, share) for width in network.features)
    if features == network.features:
        raise UsageError(
            f"taking away {share:g} of {', '.join(map(str, features))} filters leaves them all",
            remedy="give a larger share",
        )
    return plan.model_copy(update={"network": network.model_copy(update={"features": features})})


def parameters_of(network: nn.Module) -> int:
    """How many numbers were learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


def prune(network: Network, plan: Plan, share: float) -> tuple[Network, Plan]:
    """Take the weakest filters away, with everything that depends on them (Fang et al. 2023, DepGraph).

    Filters that must go together are judged together, by the norm of their weights. Accuracy drops; training brings it
    back.

    Args:
        network: trained.
        plan: that it is built from.
        share: of the filters of each level, as ``narrower_plan``.

    Returns:
        A network built from the narrower plan, with the weights that are left, and that plan.

    Raises:
        UsageError, PlanError: as ``narrower_plan``; PlanError too when filters are left that the plan does not have.
        MissingExtra: when torch-pruning is not installed.
    """
    smaller = narrower_plan(plan, share)
    wanted = dict(zip(plan.network.features, smaller.network.features, strict=True))
    pruned = _pruned(network, plan, wanted)
    result = build_network(smaller)
    names = result.state_dict().keys()
    left = {name: value.detach().clone() for name, value in pruned.state_dict().items() if name in names}
    try:
        result.load_state_dict(left)
    except RuntimeError as error:
        raise PlanError(
            f"the network {plan.network.family} cannot be pruned: its layers do not follow the plan",
            remedy="use --distil, which trains a narrower network instead",
        ) from error
    return result.eval(), smaller


def _kept(width: int, share: float) -> int:
    left = width * (1 - share)
    step = 8 if left >= 16 else 4 if left >= 8 else 2
    return min(width, max(_SMALLEST, step * round(left / step)))


def _pruned(network: Network, plan: Plan, wanted: dict[int, int]) -> nn.Module:
    """A copy of the network whose every layer of n filters has ``wanted[n]``; its norms are batch norms."""
    pruning = require("torch_pruning", extra="train", purpose="osler compress --prune")
    copied = _with_batch_norms(network, plan.dimensions)
    heads = [module for name, module in copied.named_modules() if "head" in name.split(".")[0]]
    whole = [math.prod(stride[axis] for stride in plan.network.strides) for axis in range(plan.dimensions)]
    example = torch.zeros(2, plan.inputs, *(2 * size for size in whole))
    graph = pruning.DependencyGraph().build_dependency(copied, example_inputs=example, forward_fn=_all_logits)
    importance = pruning.importance.GroupMagnitudeImportance(p=2)
    roots = [nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d]
    for group in graph.get_all_groups(ignored_layers=heads, root_module_types=roots):
        weight: Tensor = importance(group)
        if len(weight) not in wanted:
            raise PlanError(
                f"the network {plan.network.family} cannot be pruned: it has a layer of {len(weight)} filters, "
                "which its plan does not name",
                remedy="use --distil, which trains a narrower network instead",
            )
        weakest = weight.argsort()[: len(weight) - wanted[len(weight)]].tolist()
        first = group[0].dep
        graph.get_pruning_group(first.target.module, first.handler, weakest).prune()
    return copied


def _all_logits(network: nn.Module, image: Tensor) -> list[Tensor]:
    """Every output that has a layer of its own: deeper heads answer in training, which torch-pruning ends."""
    network.train()
    outputs: dict[str, Tensor] = network({"image": image})
    return [value for name, value in outputs.items() if name != "features"]


def _with_batch_norms(network: Network, dimensions: int) -> nn.Module:
    """A copy in which every normalisation is a batch normalisation of the same weights: torch-pruning knows these, and
    what is weighed and taken away does not depend on which it is. Those that were so before keep their statistics."""
    kind: Any = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
    copied = copy.deepcopy(network).cpu().float()
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, InstanceNorm | nn.GroupNorm):
                norm = kind(len(child.weight))
                norm.weight, norm.bias = child.weight, child.bias
                setattr(module, name, norm)
            elif isinstance(child, kind):
                child.momentum = 0.0  # torch-pruning runs the network on zeros, which nothing is to be learnt from
    return copied
