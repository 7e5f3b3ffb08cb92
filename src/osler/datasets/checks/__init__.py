"""The checks of a dataset, one file each; every one takes the ``Evidence`` and gives a list of ``Problem``.

Adding one: its file here, its line in ``CHECKS``, its codes in ``osler.datasets.problem``, its test in
``tests/datasets/test_checks_*.py`` and its faults in ``benchmarks/planted_faults.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from osler.datasets.checks import (
    acquisition,
    appearance,
    burned_in,
    copies,
    laterality,
    masks,
    mixtures,
    outliers,
    quality,
    reading,
    shifted,
)
from osler.datasets.checks.evidence import Evidence
from osler.datasets.problem import Problem

__all__ = ["CHECKS"]

CHECKS: tuple[Callable[[Evidence], list[Problem]], ...] = (
    reading.check,
    mixtures.check,
    copies.check,
    masks.check,
    shifted.check,
    outliers.check,
    appearance.check,
    laterality.check,
    burned_in.check,
    acquisition.check,
    quality.check,
)
