"""What is usual among many numbers, learned from them without minding a tenth of wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.studies.geometry import Array

__all__ = ["FEWEST", "Usual", "outliers", "usual"]

FEWEST = 12
"""Cases below which nothing is called usual."""
_SIGMAS = 6.0
_TAIL = 3.0
_NORMAL = 1.4826
"""Standard deviation of a normal distribution whose median absolute deviation is 1."""
_MOST = 0.1
"""What more than this share of the cases has in common is a group of its own and no outlier."""
Side = Literal["both", "high", "low"]


@dataclass(frozen=True)
class Usual:
    """``low`` and ``high`` bound what is usual, ``middle`` is the median. In the numbers' own unit."""

    low: float
    middle: float
    high: float

    def excess(self, value: float) -> float:
        """How far outside a value lies: 1 at the limit, above outside, in distances from the middle."""
        reach = self.high - self.middle if value > self.middle else self.middle - self.low
        return abs(value - self.middle) / max(reach, 1e-12)


def usual(values: Array, floor: float) -> Usual:
    """Limits about the median, each side by itself (distributions lean).

    The further of six robust standard deviations, three times the way to the 10th or 90th percentile (heavy tails), and
    ``floor``.

    Args:
        values: (N,) finite.
        floor: differences up to this are never unusual.
    """
    middle = float(np.median(values))
    low, high = np.percentile(values, (10, 90)).tolist()
    below, above = middle - values[values <= middle], values[values >= middle] - middle
    return Usual(
        middle - max(_SIGMAS * _NORMAL * float(np.median(below)), _TAIL * (middle - low), floor),
        middle,
        middle + max(_SIGMAS * _NORMAL * float(np.median(above)), _TAIL * (high - middle), floor),
    )


def outliers(
    values: Mapping[str, float], floor: float, *, side: Side = "both"
) -> tuple[Usual | None, dict[str, float]]:
    """Which cases are unlike the others in one number, and by how much (see ``Usual.excess``), the furthest first.

    Nothing is found among fewer than ``FEWEST`` cases, and what more than a tenth of them has in common is no outlier.

    Args:
        values: by name.
        floor: differences up to this are never unusual.
        side: which side is bad.
    """
    if len(values) < FEWEST:
        return None, {}
    limits = usual(np.array(list(values.values()), float), floor)
    found = {name: limits.excess(value) for name, value in values.items() if _outside(value, limits, side)}
    if len(found) > max(1, _MOST * len(values)):
        return limits, {}
    return limits, dict(sorted(found.items(), key=lambda item: -item[1]))


def _outside(value: float, limits: Usual, side: Side) -> bool:
    return (side != "low" and value > limits.high) or (side != "high" and value < limits.low)
