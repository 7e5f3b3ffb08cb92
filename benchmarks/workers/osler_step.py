"""PLAN BATCH: seconds of one training step of a plan (a file, or a model's) on random patches, and where they go."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import torch

from osler.datasets.plan import Plan
from osler.learning import augmentation
from osler.learning.methods import Batch, make_method
from osler.learning.tasks import make_task
from osler.learning.trainer import make_fabric
from osler.models.folder import Model

STEPS = 2 if "--quick" in sys.argv else 7


def timed(work: object) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - begun


if __name__ == "__main__":
    torch.set_num_threads(2)
    given = Path(sys.argv[1])
    plan = Plan.model_validate_json(given.read_text()) if given.is_file() else Model.open(given).plan
    plan = plan.model_copy(update={"batch": int(sys.argv[2]), "precision": "bf16", "channels_last": True})
    if plan.network.family.startswith("nnunet"):  # as nnU-Net trains it
        network = plan.network.model_copy(update={"deep_supervision": True})
        plan = plan.model_copy(update={"network": network})
    torch.manual_seed(0)
    method = make_method(plan, make_task(plan))
    method.setup(make_fabric(plan, device="cpu", several=False))
    generator = torch.Generator().manual_seed(0)
    shape = augmentation.source_shape(plan.patch, plan.augmentation)
    batch = Batch(
        torch.randn(plan.batch, plan.inputs, *shape, generator=generator),
        torch.randint(0, plan.outputs, (plan.batch, *shape), generator=generator, dtype=torch.uint8),
    )

    def step() -> None:
        """As the trainer does it."""
        method.step(batch, progress=0.5, generator=generator)

    def augment() -> None:
        """The part of a step that is not the network."""
        with torch.no_grad():
            drawn = augmentation.draw(plan.augmentation, plan.patch, plan.batch, generator)
            augmentation.apply(drawn, batch.image, batch.answer, plan.patch)

    for _ in range(2):
        step()
    seconds = statistics.median(timed(step) for _ in range(STEPS))
    spent = statistics.median(timed(augment) for _ in range(STEPS))
    print(json.dumps({"seconds": seconds, "share of augmentation": spent / seconds}))
