"""Every network family goes through this."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learning_plans import small_plan
from osler.datasets.plan import NetworkPlan, Plan
from osler.errors import PlanError, Unknown
from osler.learning.networks import NETWORKS, build_network
from osler.learning.networks.base import InstanceNorm

DENSE = set(NETWORKS) - {"encoder"}


def plan_of(family: str, dimensions: int) -> Plan:
    base = small_plan("segment" if family in DENSE else "classify", dimensions)
    width = (8, 16) if family == "segresnet" else (4, 8)
    dropout = 0.0 if family.startswith("nnunet") else base.network.dropout
    network = base.network.model_copy(update={"family": family, "features": width, "dropout": dropout})
    return base.model_copy(update={"network": network})


@pytest.fixture(params=[(f, d) for f in NETWORKS for d in (2, 3)], ids=lambda p: f"{p[0]}-{p[1]}d")
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_of(*request.param)


def image_of(plan: Plan, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, plan.inputs, *plan.patch, generator=torch.Generator().manual_seed(0))


def test_logits_have_the_shape_that_the_task_needs(plan: Plan) -> None:
    logits = build_network(plan).eval()({"image": image_of(plan)})["logits"]
    expected = (2, plan.outputs, *plan.patch) if plan.task == "segment" else (2, plan.outputs)
    assert tuple(logits.shape) == expected


def test_the_same_seed_builds_the_same_network(plan: Plan) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_network(plan).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_every_parameter_gets_a_gradient(plan: Plan) -> None:
    network = build_network(plan).train()
    network({"image": image_of(plan)})["logits"].square().mean().backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == []


def test_a_case_does_not_change_with_its_neighbours_in_the_batch(plan: Plan) -> None:
    network, image = build_network(plan).eval(), image_of(plan)
    with torch.no_grad():
        together = network({"image": image})["logits"][:1]
        alone = network({"image": image[:1]})["logits"]
    np.testing.assert_allclose(together.numpy(), alone.numpy(), atol=1e-5)


def test_an_absent_channel_counts_as_zero(plan: Plan) -> None:
    network, image = build_network(plan).eval(), image_of(plan)
    with torch.no_grad():
        masked = network({"image": image, "presence": torch.zeros(2, plan.inputs)})["logits"]
        zeroed = network({"image": torch.zeros_like(image)})["logits"]
    assert torch.equal(masked, zeroed)


def test_a_3d_unet_on_one_slice_equals_the_2d_unet_with_its_middle_kernels() -> None:
    flat = plan_of("unet", 2)
    deep = flat.model_copy(
        update={
            "dimensions": 3,
            "patch": (*flat.patch, 1),
            "network": flat.network.model_copy(update={"strides": ((1, 1, 1), (2, 2, 1))}),
        }
    )
    two, three = build_network(flat).eval(), build_network(deep).eval()
    weights = three.state_dict()
    for name, value in two.state_dict().items():
        if value.ndim == 4:
            weights[name].zero_()
            weights[name][..., weights[name].shape[-1] // 2] = value
        else:
            weights[name] = value
    three.load_state_dict(weights)
    image = image_of(flat)
    with torch.no_grad():
        expected = two({"image": image})["logits"]
        got = three({"image": image[..., None]})["logits"][..., 0]
    np.testing.assert_allclose(got.numpy(), expected.numpy(), atol=1e-4)


def test_a_unet_takes_odd_shapes() -> None:
    plan = plan_of("unet", 3)
    logits = build_network(plan).eval()({"image": torch.zeros(1, 1, 13, 9, 11)})["logits"]
    assert tuple(logits.shape) == (1, plan.outputs, 13, 9, 11)


def test_kernels_and_block_counts_of_a_level_are_the_plans() -> None:
    base = plan_of("nnunet_resenc", 3)
    network = base.network.model_copy(
        update={"kernels": ((3, 3, 1), (3, 3, 3)), "blocks": (1, 3), "decoder_blocks": (2,), "slope": 0.0}
    )
    built = build_network(base.model_copy(update={"network": network}))
    shapes = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    assert shapes["stages.0.0.0.weight"] == (4, 1, 3, 3, 1)
    assert shapes["stages.1.2.second.0.weight"] == (8, 8, 3, 3, 3)
    assert shapes["merges.0.1.0.weight"] == (4, 4, 3, 3, 1)
    assert {m.negative_slope for m in built.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.0}


@pytest.mark.parametrize(
    ("change", "match"), [({"dropout": 0.2}, "no dropout"), ({"decoder_blocks": (1, 1)}, "the decoder 1 levels")]
)
def test_an_nnunet_refuses_what_it_does_not_have(change: dict[str, object], match: str) -> None:
    base = plan_of("nnunet", 2)
    with pytest.raises(PlanError, match=match):
        build_network(base.model_copy(update={"network": base.network.model_copy(update=change)}))


def test_deep_supervision_adds_coarser_outputs_only_while_training() -> None:
    base = plan_of("unet", 2)
    network = NetworkPlan(
        family="unet", features=(4, 8, 8), strides=((1, 1), (2, 2), (2, 2)), blocks=(1, 1, 1), deep_supervision=True
    )
    built = build_network(base.model_copy(update={"network": network}))
    image = image_of(base)
    assert built.train()({"image": image})["deep_1"].shape[2:] == (8, 8)
    assert not any(name.startswith("deep_") for name in built.eval()({"image": image}))


def test_an_unknown_family_is_answered_with_the_list() -> None:
    base = small_plan()
    odd = base.model_copy(update={"network": base.network.model_copy(update={"family": "resnet9000"})})
    with pytest.raises(Unknown, match="choose one of unet"):
        build_network(odd)


def test_segresnet_refuses_a_patch_that_it_cannot_halve() -> None:
    plan = plan_of("segresnet", 2).model_copy(update={"patch": (15, 16)})
    with pytest.raises(PlanError, match="divisible by 2"):
        build_network(plan)


@pytest.mark.parametrize("shape", [(3, 4, 6, 7), (2, 4, 5, 6, 7)])
def test_instance_normalisation_is_torchs_in_both_modes(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours = InstanceNorm(4)
    theirs = (torch.nn.InstanceNorm2d if len(shape) == 4 else torch.nn.InstanceNorm3d)(4, affine=True)
    expected = theirs(x).detach().numpy()
    np.testing.assert_allclose(ours.train()(x).detach().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(ours.eval()(x).detach().numpy(), expected, atol=1e-5)


def test_the_head_makes_the_logits_of_the_features(plan: Plan) -> None:
    network = build_network(plan).eval()
    if not network.head_name:
        assert "features" not in network({"image": image_of(plan)})
        return
    with torch.no_grad():
        outputs = network({"image": image_of(plan)})
        again = network.get_submodule(network.head_name)(outputs["features"])
    np.testing.assert_allclose(again.numpy(), outputs["logits"].numpy(), atol=1e-5)
