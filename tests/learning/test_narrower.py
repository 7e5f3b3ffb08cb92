"""Pruning takes whole filters away, the weakest first, and leaves a network that its plan describes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from learning_plans import small_plan
from osler.datasets.plan import NetworkPlan, Plan
from osler.errors import PlanError, UsageError
from osler.learning.narrower import narrower_plan, parameters_of, prune
from osler.learning.networks import Network, build_network
from osler.learning.networks.base import InstanceNorm

CONVOLUTIONS = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d


def _plan(family: str, dimensions: int = 2, **changes: Any) -> Plan:
    levels = 3
    network: dict[str, Any] = {
        "family": family,
        "features": (8, 16, 32),
        "strides": ((1,) * dimensions, *((2,) * dimensions,) * (levels - 1)),
        "blocks": (1, 2, 1),
        **changes,
    }
    task = "classify" if family == "encoder" else "segment"
    return small_plan(task, dimensions, network=NetworkPlan(**network))


def _kill_half(network: Network) -> None:
    """Every second filter of each layer gives zero, so that nothing depends on it; no head listens to it either, as
    weight decay would have it."""
    with torch.no_grad():
        for name, module in network.named_modules():
            if "head" in name:
                if hasattr(module, "weight"):
                    module.weight[:, 1::2] = 0
            elif isinstance(module, CONVOLUTIONS):
                axis = 1 if isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d) else 0
                module.weight.transpose(0, axis)[1::2] = 0
                if module.bias is not None:
                    module.bias[1::2] = 0
            elif isinstance(module, InstanceNorm | nn.BatchNorm2d | nn.BatchNorm3d):
                module.weight[1::2], module.bias[1::2] = 0, 0


@pytest.mark.parametrize(
    ("family", "dimensions", "changes"),
    [
        ("unet", 2, {}),
        ("unet", 3, {}),
        ("unet", 2, {"deep_supervision": True}),
        ("unet", 2, {"normalisation": "batch"}),
        ("encoder", 2, {}),
        ("encoder", 3, {"pooling": "mean_max"}),
        ("nnunet", 3, {}),
        ("nnunet_resenc", 2, {}),
        ("nnunet_residual", 2, {}),
    ],
)
def test_filters_that_do_nothing_go_and_the_answer_stays(family: str, dimensions: int, changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    plan = _plan(family, dimensions, **changes)
    network = build_network(plan).eval()
    _kill_half(network)
    pruned, smaller = prune(network, plan, 0.5)
    assert smaller.network.features == (4, 8, 16)
    assert parameters_of(pruned) < 0.35 * parameters_of(network)
    image = torch.randn(2, 1, *plan.patch)
    with torch.inference_mode():
        expected, found = network({"image": image})["logits"], pruned({"image": image})["logits"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    build_network(smaller).load_state_dict(pruned.state_dict())


def test_group_norms_keep_groups_that_fit() -> None:
    plan = _plan("unet", normalisation="group")
    pruned, smaller = prune(build_network(plan), plan, 0.5)
    assert pruned({"image": torch.randn(1, 1, *plan.patch)})["logits"].shape[1] == smaller.outputs


def test_a_pruned_network_does_less_work() -> None:
    """Half of a convolution's filters before it and after it are a quarter of its products."""
    plan = _plan("unet", 3, features=(32, 64, 128)).model_copy(update={"patch": (24, 24, 24)})
    network = build_network(plan).eval()
    pruned, _ = prune(network, plan, 0.5)
    image = torch.randn(1, 1, *plan.patch)

    def products(one: Network) -> int:
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            one({"image": image})
        return counter.get_total_flops()

    assert 0.2 < products(pruned) / products(network) < 0.3


def test_filters_are_left_in_numbers_that_processors_like() -> None:
    plan = _plan("unet", features=(12, 32, 320))
    assert narrower_plan(plan, 0.5).network.features == (6, 16, 160)
    assert narrower_plan(plan, 0.3).network.features == (8, 24, 224)


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, -0.5, float("nan")])
def test_no_share_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="is no share of the filters"):
        narrower_plan(_plan("unet"), share)


def test_a_share_that_takes_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="leaves them all"):
        narrower_plan(_plan("unet", features=(4, 4, 4)), 0.5)


def test_a_family_whose_width_is_not_told_by_level_is_refused() -> None:
    with pytest.raises(PlanError, match="segresnet cannot be made narrower"):
        narrower_plan(_plan("segresnet"), 0.5)
