"""How a network is learnt: one file per method, and the list of them."""

from __future__ import annotations

from osler.datasets.plan import Plan
from osler.errors import Unknown
from osler.learning.methods.base import Batch, Method
from osler.learning.methods.supervised import Supervised
from osler.learning.tasks import Task

__all__ = ["METHODS", "Batch", "Method", "make_method"]

METHODS: dict[str, type[Method]] = {"supervised": Supervised}


def make_method(plan: Plan, task: Task) -> Method:
    """The method of a plan; seed torch first.

    Raises:
        Unknown: when no method has that name.
    """
    if plan.method not in METHODS:
        raise Unknown(f"no method {plan.method!r}", remedy=f"choose one of {', '.join(METHODS)}")
    return METHODS[plan.method](plan, task)
