"""What training asks of a study: one file per task, and the list of them."""

from __future__ import annotations

from osler.datasets.plan import Plan
from osler.learning.tasks.base import Scorer, Task
from osler.learning.tasks.classify import Classify
from osler.learning.tasks.multilabel import Multilabel
from osler.learning.tasks.ordinal import Ordinal
from osler.learning.tasks.regress import Regress
from osler.learning.tasks.segment import Segment

__all__ = ["TASKS", "Scorer", "Task", "make_task"]

TASKS: dict[str, type[Task]] = {
    "classify": Classify,
    "multilabel": Multilabel,
    "ordinal": Ordinal,
    "regress": Regress,
    "segment": Segment,
}


def make_task(plan: Plan) -> Task:
    """The task of a plan (its name is checked by the plan's type)."""
    return TASKS[plan.task](plan)
