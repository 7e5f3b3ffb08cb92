"""Numbers of a training run, checked before any data are read."""

from __future__ import annotations

import math

from osler.errors import UsageError
from osler.workflows.durations import parse_duration

__all__ = ["budget_seconds", "check_counts"]


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
