"""Small plans and cases for tests of learning."""

from __future__ import annotations

from typing import Any

import numpy as np

from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import Target
from osler.datasets.plan import (
    AugmentationPlan,
    GridPlan,
    LossPlan,
    NetworkPlan,
    NormalisationPlan,
    OptimiserPlan,
    Plan,
    TaskName,
)

KINDS = {"classify": "classes", "multilabel": "several", "ordinal": "grades", "regress": "number", "segment": "mask"}
LOSSES = {
    "classify": "cross_entropy",
    "multilabel": "binary_cross_entropy",
    "ordinal": "binary_cross_entropy",
    "regress": "huber",
    "segment": "dice_cross_entropy",
}


def small_plan(task: TaskName = "segment", dimensions: int = 2, **changes: Any) -> Plan:
    """A plan that trains in seconds: 16 voxels per axis, 3 labels."""
    names = () if task == "regress" else tuple(Label(name=f"l{n}", value=n + 1) for n in range(3))
    patch = (16,) * dimensions
    dense = task == "segment"
    fields: dict[str, Any] = {
        "task": task,
        "dimensions": dimensions,
        "channels": ("image",),
        "labels": LabelSet(kind=KINDS[task], labels=names),  # type: ignore[arg-type]
        "grid": GridPlan(resize="spacing", spacing=(1.0,) * dimensions)
        if dense
        else GridPlan(resize="stretch", shape=patch),
        "normalisation": (NormalisationPlan(kind="image", low=0.5, high=99.5),),
        "patch": patch,
        "batch": 2,
        "network": NetworkPlan(
            family="unet" if dense else "encoder",
            features=(4, 8),
            strides=((1,) * dimensions, (2,) * dimensions),
            blocks=(1, 1),
            dropout=0.1,
        ),
        "loss": LossPlan(name=LOSSES[task]),
        "optimiser": OptimiserPlan(learning_rate=1e-2),
        "augmentation": AugmentationPlan(flips=(True,) * dimensions, mixup=0.0 if dense else 0.2, probability=0.5),
        "steps": 12,
    }
    return Plan(**{**fields, **changes})


class MemoryCases:
    """Cases in memory: a bright disc (or ball) whose class is its brightness, on noise."""

    def __init__(self, plan: Plan, count: int = 6, size: int = 20, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.names = [f"case{n}" for n in range(count)]
        self._cases = {}
        for number, name in enumerate(self.names):
            shape = (size,) * plan.dimensions if plan.task == "segment" else plan.patch
            centre = random.uniform(0.3, 0.7, plan.dimensions) * np.array(shape)
            distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True)))
            label = number % 3
            mask = np.where(distance < 4, label + 1, 0).astype(np.uint8)
            image = random.normal(0, 0.2, shape) + mask
            self._cases[name] = (image[None].astype(np.float32), mask, self._target(plan, label))

    @staticmethod
    def _target(plan: Plan, label: int) -> Target | None:
        if plan.task == "multilabel":
            return (int(label == 0), int(label == 1), None)
        return None if plan.task == "segment" else label

    def array(self, name: str) -> np.ndarray:
        return self._cases[name][0]

    def mask(self, name: str) -> np.ndarray:
        return self._cases[name][1]

    def target(self, name: str) -> Target | None:
        return self._cases[name][2]

    def foreground(self, name: str) -> dict[int, np.ndarray]:
        mask = self.mask(name)
        return {int(k): np.argwhere(mask == k) for k in np.unique(mask) if k}
