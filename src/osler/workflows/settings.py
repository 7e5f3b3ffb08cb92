"""What is asked of a training run, checked before any data are read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.datasets.plan import Plan, TaskName
from osler.errors import UsageError
from osler.workflows.durations import parse_duration

__all__ = ["Request", "budget_seconds", "check_counts"]


@dataclass(frozen=True)
class Request:
    """Everything that was asked for, checked."""

    output: Path
    task: TaskName | None
    budget_s: float | None
    steps: int | None
    seed: int
    folds: int
    start_from: Path | None
    overrides: dict[str, Any]
    plan: Plan | None
    device: str
    method: str
    threads: int
    checkpoint_s: float
    coarse: bool | None

    def settings(self) -> dict[str, Any]:
        """What decides the result, for the request's digest."""
        plan = None if self.plan is None else self.plan.model_dump_json()
        return {
            "task": self.task,
            "budget_s": self.budget_s,
            "steps": self.steps,
            "seed": self.seed,
            "folds": self.folds,
            "start_from": str(self.start_from),
            "overrides": self.overrides,
            "plan": plan,
            "method": self.method,
            "coarse": self.coarse,
        }


def budget_seconds(budget: str | float) -> float:
    """Seconds of a budget such as ``"15m"``, or the seconds themselves.

    Raises:
        UsageError: when it is no duration or leaves no time.
    """
    seconds = parse_duration(budget) if isinstance(budget, str) else float(budget)
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"a budget of {budget} seconds leaves no time", remedy="give a time such as 15m")
    return seconds


def check_counts(*, steps: int | None, folds: int) -> None:
    """Refuse what cannot be counted.

    Raises:
        UsageError: when ``steps`` or ``folds`` is below 1.
    """
    if steps is not None and steps < 1:
        raise UsageError(f"{steps} steps train nothing", remedy="give at least 1, or a time with --budget")
    if folds < 1:
        raise UsageError(
            f"{folds} folds are not possible", remedy="give 1 for one split, or 2 or more (usually 5) to cross-validate"
        )
