"""Studies without answers that are answers: masks that nothing names as such."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.datasets.checks.evidence import problem_of
from osler.datasets.facts import CaseFacts
from osler.datasets.problem import Problem

__all__ = ["likely_masks"]

_MOST_VALUES = 64
_SAME = 1e-3
"""mm (or pixels) by which spacings may differ."""


def likely_masks(facts: Sequence[CaseFacts]) -> list[Problem]:
    """Studies of a few whole numbers from 0 on, with the spacing and directions of a study that is none.

    Args:
        facts: of studies without answers; only those with a sample of their intensities count.
    """
    masks = [fact for fact in facts if _is_like_a_mask(fact)]
    others = [fact for fact in facts if not _is_like_a_mask(fact)]
    found = {}
    for mask in masks:
        near = {other.name: _grid_of(mask, other) for other in others if _same_steps(mask, other)}
        image = min(near, key=lambda name: len(near[name]), default=None)
        if image is not None:
            found[mask.name] = f"{near[image] or 'on the grid'} of {image}"
    if not found:
        return []
    what = "looks like the mask of another study"
    remedy = (
        "put images into 'images' and masks under the same names into 'masks', name them x and x_mask, or write a "
        "manifest.csv with the columns image and mask"
    )
    return [problem_of("no-answer", "warning", what, found, remedy, details=found)]


def _is_like_a_mask(fact: CaseFacts) -> bool:
    if len(fact.samples) != 1 or fact.colourful:
        return False
    (sample,) = fact.samples.values()
    values = np.unique(sample.everywhere)
    return bool(sample.minimum == 0 and 1 < len(values) <= _MOST_VALUES and (values == np.rint(values)).all())


def _same_steps(one: CaseFacts, other: CaseFacts) -> bool:
    """Whether spacing and directions are the same, and sizes along all axes but one."""
    if len(one.shape) != len(other.shape) or one.codes != other.codes:
        return False
    apart = max(abs(a - b) for a, b in zip(one.spacing, other.spacing, strict=True))
    return apart <= _SAME and sum(a != b for a, b in zip(one.shape, other.shape, strict=True)) <= len(one.shape) - 2


def _grid_of(mask: CaseFacts, image: CaseFacts) -> str:
    """How the sizes differ: "with 30 of the 112 voxels along one axis"; "" when they do not."""
    differing = [(a, b) for a, b in zip(mask.shape, image.shape, strict=True) if a != b]
    return f"with {differing[0][0]} of the {differing[0][1]} voxels along one axis" if differing else ""
