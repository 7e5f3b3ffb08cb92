"""95 % intervals by resampling patients: whole patients are drawn with replacement, as often as there are patients.

A resample in which a figure is undefined (no positive case was drawn, say) is left out for that figure and counted.
The interval runs from the 2.5th to the 97.5th percentile of the others, and is widened to hold the figure itself where
it would not (a calibration error is larger in most resamples than in the data). It is None with one patient, and when
the figure is undefined in half of the resamples or more.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from osler.errors import UsageError
from osler.studies.geometry import Array

__all__ = ["Interval", "bootstrap", "bootstrap_cases", "exact_bound", "resample", "summarise"]

_CELLS = 4_000_000  # of one block of counts: 32 MB


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval; ``value`` is NaN where undefined, ``low`` and ``high`` None where there is none.

    ``n_undefined`` is in how many resamples the figure was undefined.
    """

    value: float
    low: float | None
    high: float | None
    n_undefined: int = 0


def resample(patients: Sequence[Hashable], *, resamples: int = 1000, seed: int = 0) -> Iterator[Array]:
    """Draw patients, block by block.

    Args:
        patients: (N,) the patient of each case.
        resamples: how many in all.
        seed: the same seed draws the same patients.

    Yields:
        (b, N): how often each case was drawn in each of b resamples.

    Raises:
        UsageError: without cases.
    """
    if not len(patients):
        raise UsageError("there is no case to resample", remedy="give at least one case")
    order = {patient: i for i, patient in enumerate(dict.fromkeys(patients))}
    member = np.array([order[p] for p in patients])
    generator = np.random.default_rng(seed)
    block = max(1, _CELLS // max(len(member), 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(len(order), size=(rows, len(order)))
        drawn += np.arange(rows)[:, None] * len(order)
        counts = np.bincount(drawn.ravel(), minlength=rows * len(order)).reshape(rows, len(order))
        yield counts[:, member].astype(float)


def bootstrap(
    statistic: Callable[[Array], Array], patients: Sequence[Hashable], *, resamples: int = 1000, seed: int = 0
) -> list[Interval]:
    """Intervals of several figures at once.

    Args:
        statistic: from counts (b, N) to figures (b, F), NaN where undefined.
        patients: (N,) the patient of each case.
        resamples: how many.
        seed: of the draws.

    Returns:
        F intervals.

    Raises:
        UsageError: without cases.
    """
    values = statistic(np.ones((1, len(patients))))[0]
    if len(set(patients)) < 2:
        return [Interval(float(v), None, None) for v in values]
    drawn = np.concatenate([statistic(c) for c in resample(patients, resamples=resamples, seed=seed)])  # (B, F)
    return [summarise(float(v), column) for v, column in zip(values, drawn.T, strict=True)]


def bootstrap_cases(
    statistic: Callable[[Array], float], patients: Sequence[Hashable], *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """The interval of any figure that is computed from a list of cases; slower than ``bootstrap``, same draws.

    Args:
        statistic: from case indices (M,), with repetitions, to a figure, NaN where undefined.
        patients: (N,) the patient of each case.
        resamples: how many.
        seed: of the draws.

    Raises:
        UsageError: without cases.
    """

    def of_counts(counts: Array) -> Array:
        everyone = np.arange(counts.shape[1])
        return np.array([[statistic(np.repeat(everyone, row.astype(np.int64)))] for row in counts])

    return bootstrap(of_counts, patients, resamples=resamples, seed=seed)[0]


def summarise(value: float, drawn: Array) -> Interval:
    """The percentile interval of one figure from its resamples (B,)."""
    defined = drawn[~np.isnan(drawn)]
    undefined = len(drawn) - len(defined)
    if np.isnan(value) or 2 * len(defined) <= len(drawn):
        return Interval(value, None, None, undefined)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(value, min(float(low), value), max(float(high), value), undefined)


def exact_bound(value: float, patients: int) -> tuple[float, float]:
    """The Clopper–Pearson interval of a share of 0 or 1 among n patients, where resampling can only repeat 0 or 1.

    Args:
        value: 0 or 1.
        patients: n, at least 1.

    Returns:
        (low, high): with 10 of 10 right, (0.69, 1).
    """
    bound = 0.025 ** (1 / patients)
    return (bound, 1.0) if value >= 1 else (0.0, 1.0 - bound)
