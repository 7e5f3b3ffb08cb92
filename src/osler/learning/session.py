"""``train_network``: one member from prepared cases to a trained network; the way into learning for workflows."""

from __future__ import annotations

from pathlib import Path

import torch

from osler.datasets.plan import Plan
from osler.errors import PlanError, UsageError
from osler.learning.export import start_from as copy_weights
from osler.learning.feed import Cases, Feed
from osler.learning.methods import make_method
from osler.learning.records import draw_curves
from osler.learning.tasks import make_task
from osler.learning.trainer import Outcome, Trainer, make_fabric
from osler.models.folder import Model
from osler.progress import CancelToken, Progress

__all__ = ["check_plan", "train_network"]

_MOST_VALIDATED = {"segment": 40}
"""Cases per validation while training; all of them where a case is cheap."""


def check_plan(plan: Plan, *, device: str) -> None:
    """Build what the plan names, to fail before anything is prepared.

    Raises:
        Unknown: when a network family, loss or method has no such name.
        PlanError: when the network cannot be built.
        UsageError: when a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda was asked for and torch sees no GPU", remedy="use --device auto or cpu")
    try:
        make_method(plan, make_task(plan))
    except (ValueError, RuntimeError, IndexError) as error:
        raise PlanError(f"the network cannot be built: {error}", remedy="see osler train --plan-only") from error


def train_network(
    plan: Plan,
    training: Cases,
    validation: Cases,
    folder: Path,
    *,
    deadline_s: float | None,
    spent_s: float,
    checkpoint_s: float,
    device: str,
    start_from: Path | None,
    stage: str,
    progress: Progress,
    cancel: CancelToken,
) -> Outcome:
    """Train or go on training in ``folder``.

    Args:
        plan: with the member's own seed.
        training: prepared cases to learn from.
        validation: prepared cases to choose the best network by.
        folder: of checkpoints and records.
        deadline_s: seconds in all, None for ``plan.steps``.
        spent_s: seconds already spent of those.
        checkpoint_s: seconds between checkpoints.
        device: "auto", "cpu" or "cuda".
        start_from: a model folder to take weights from.
        stage: the name that progress is shown under.
        progress: told of each step.
        cancel: asked before each step.
    """
    fabric = make_fabric(plan, device=device)
    torch.manual_seed(plan.seed)
    task = make_task(plan)
    method = make_method(plan, task)
    if start_from is not None:
        for name, module in method.modules.items():
            taken = copy_weights(module, Model.open(start_from))
            progress.say(f"{name}: {taken} weights taken from {start_from}")
    trainer = Trainer(
        method,
        Feed(training, plan, task, process=fabric.global_rank, processes=fabric.world_size),
        Feed(validation, plan, task, most=_MOST_VALIDATED.get(plan.task)),
        folder,
        fabric=fabric,
        progress=progress,
        cancel=cancel,
        deadline_s=deadline_s,
        spent_s=spent_s,
        checkpoint_s=checkpoint_s,
        stage=stage,
    )
    outcome = trainer.fit()
    if fabric.is_global_zero:
        history = outcome.history
        draw_curves(
            [(row[0], row[2]) for row in history.losses],
            [(row[0], row[2]) for row in history.scores],
            folder / "curves.png",
            title=f"{plan.task}: {outcome.steps} steps",
            score_name=task.score_name,
        )
        if history.skipped:
            progress.say(f"{history.skipped} of {outcome.steps} steps had infinite gradients and were skipped")
    return outcome
