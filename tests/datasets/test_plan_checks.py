"""Fields of a plan that contradict each other are refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from learning_plans import small_plan
from osler.datasets.plan import Plan, TaskName
from osler.datasets.plan_checks import check_plan_fields
from osler.datasets.planner import override
from osler.errors import PlanError

FOUR = {
    "network.features": [4, 4, 4, 4],
    "network.strides": [[1, 1], [2, 2], [2, 2], [2, 2]],
    "network.blocks": [1] * 4,
}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("task", ["segment", "classify", "regress"])
def test_a_plan_whose_fields_fit_passes(task: TaskName, dimensions: int) -> None:
    check_plan_fields(small_plan(task, dimensions))


@pytest.mark.parametrize(
    ("task", "changes", "told"),
    [
        ("segment", {"network.features": [4, 8, 16]}, "network.features has 3, network.strides has 2, network.blocks"),
        ("segment", {"network.strides": [[1, 1], [2, 2, 2]]}, r"network.strides holds \(2, 2, 2\), and patch is"),
        ("segment", {"network.strides": [[2, 2], [2, 2]]}, "network.strides begins with .*all ones"),
        ("segment", {**FOUR, "patch": [7, 16]}, r"patch is \(7, 16\), smaller than the \(8, 8\)"),
        ("segment", {**FOUR, "patch": [8, 8]}, "patch is .* leave one voxel .*instance normalisation"),
        ("segment", {"patch": [16, 16, 16]}, "patch has 3 entries, and dimensions is 2"),
        ("segment", {"patch": [0, 16]}, "every entry must be above 0"),
        ("segment", {"loss.class_weights": [1, 2, 3]}, "loss.class_weights has 3 entries.*4 outputs .background first"),
        ("classify", {"loss.class_weights": [1, 2]}, "loss.class_weights has 2 entries.*3 outputs"),
        ("classify", {"patch": [32, 32]}, r"patch is \(32, 32\) and grid.shape \(16, 16\)"),
        ("classify", {"grid.shape": [8, 8]}, r"patch is \(16, 16\) and grid.shape \(8, 8\)"),
        ("classify", {"grid.resize": "spacing"}, "grid.resize is spacing, and grid.spacing is not given"),
        ("segment", {"grid.resize": "fit"}, "grid.resize is fit, and grid.shape is not given"),
        ("segment", {"network.blocks": [1, 0]}, "network.blocks is .*at least 1"),
        ("segment", {"augmentation.flips": [True]}, "augmentation.flips has 1 entries"),
        ("segment", {"mirror_axes": [2]}, "mirror_axes"),
        ("segment", {"channels": ["a", "b"]}, "normalisation has 1 entries, and channels has 2"),
        ("segment", {"air": 0.1}, "air is 0.1, and air can only be made up for masks of volumes of CT"),
    ],
)
def test_fields_that_contradict_each_other_are_named(task: TaskName, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PlanError, match=told):
        override(small_plan(task), changes)


def test_fields_that_are_changed_together_pass() -> None:
    assert override(small_plan("classify"), {"patch": [32, 32], "grid.shape": [32, 32]}).patch == (32, 32)
    assert len(override(small_plan(), FOUR).network.strides) == 4


def test_a_family_that_tells_its_levels_otherwise_is_left_alone() -> None:
    plan: Plan = override(small_plan(), {"network.family": "segresnet", "network.blocks": [1, 2, 2]})
    assert plan.network.blocks == (1, 2, 2)
