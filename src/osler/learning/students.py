"""``pruned_student``, ``distilled_student``: smaller networks out of a model folder; the way in for workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from osler.datasets.plan import Plan
from osler.learning.export import load_network
from osler.learning.feed import Cases, Feed
from osler.learning.methods.distilled import Distilled
from osler.learning.narrower import prune
from osler.learning.networks import Network
from osler.learning.tasks import make_task
from osler.learning.trainer import Outcome, Trainer, make_fabric
from osler.models.folder import Model
from osler.progress import CancelToken, Progress

__all__ = ["Lesson", "distilled_student", "pruned_student"]

_MOST_VALIDATED = 40
_GUESSED_STEPS = 1000  # until the clock has been looked at, which a run limited by time does after ten steps
_CHECKPOINT_S = 1e9  # a student that was stopped is not gone on with


@dataclass(frozen=True)
class Lesson:
    """What a student learns from, and for how long.

    Args:
        training: prepared cases that the teachers learnt from too.
        validation: prepared cases that the best weights are chosen by.
        folder: for the best weights so far.
        steps: how many, where ``deadline_s`` is None.
        deadline_s: seconds.
        seed: of order and augmentation.
        device: "auto", "cpu" or "cuda".
        stage: the name that progress is shown under.
    """

    training: Cases
    validation: Cases
    folder: Path
    steps: int
    deadline_s: float | None
    seed: int
    device: str
    stage: str


def pruned_student(
    model: Model, member: int, share: float, lesson: Lesson, *, progress: Progress, cancel: CancelToken
) -> tuple[Outcome, Plan]:
    """One member without its weakest filters, trained on with the whole member as its teacher.

    Raises:
        UsageError, PlanError, MissingExtra: as ``prune``.
    """
    whole = load_network(model, member)
    network, plan = prune(whole, model.plan, share)
    return _trained(plan, [whole], network.state_dict(), lesson, progress, cancel)


def distilled_student(
    model: Model, share: float, lesson: Lesson, *, progress: Progress, cancel: CancelToken
) -> tuple[Outcome, Plan]:
    """One network with so many filters fewer, whose teachers are all members together.

    It begins as the first member without its weakest filters: on hippocampus (16 filters to 8, 2 minutes) one that
    began at random reached a Dice of .42, and one that began so .87; their teacher has .864.

    Raises:
        UsageError, PlanError, MissingExtra: as ``prune``.
    """
    teachers = [load_network(model, number) for number in range(len(model.info.members))]
    network, plan = prune(teachers[0], model.plan, share)
    return _trained(plan.model_copy(update={"members": 1}), teachers, network.state_dict(), lesson, progress, cancel)


def _trained(
    plan: Plan,
    teachers: Sequence[Network],
    weights: Mapping[str, Tensor],
    lesson: Lesson,
    progress: Progress,
    cancel: CancelToken,
) -> tuple[Outcome, Plan]:
    steps = lesson.steps if lesson.deadline_s is None else _GUESSED_STEPS
    changes = {"seed": lesson.seed, "steps": steps, "pace": (), "budget_s": lesson.deadline_s}
    plan = plan.model_copy(update=changes)
    torch.manual_seed(plan.seed)
    task = make_task(plan)
    trainer = Trainer(
        Distilled(plan, task, teachers=teachers, weights=weights),
        Feed(lesson.training, plan, task),
        Feed(lesson.validation, plan, task, most=_MOST_VALIDATED if task.dense else None),
        lesson.folder,
        fabric=make_fabric(plan, device=lesson.device, several=False),
        progress=progress,
        cancel=cancel,
        deadline_s=lesson.deadline_s,
        checkpoint_s=_CHECKPOINT_S,
        stage=lesson.stage,
        record=False,
    )
    outcome = trainer.fit()
    return outcome, plan.model_copy(update={"steps": outcome.steps})
