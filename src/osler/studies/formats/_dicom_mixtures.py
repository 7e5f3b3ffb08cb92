"""Parallel slices of two grids that fill each other's places: one volume whose headers contradict each other.

Left apart, the larger part would pass for a complete volume that ends early, or would seem to lack a slice that is
there; so they are put together again, to be refused with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.studies.formats._dicom_geometry import Slice
from osler.studies.geometry import Array

__all__ = ["contradiction", "mixtures"]

_TOLERANCE = 1e-3  # of direction cosines, and of relative differences of spacings, within one grid
_STEP = 0.05  # of the distance of slices: scanners round positions
_SAME_PLACE = 1e-2  # mm
_MOST_NAMED = 3


def mixtures(grids: Sequence[list[Slice]]) -> list[list[list[Slice]]]:
    """The sets of grids that were one volume, the largest grid of each first.

    Args:
        grids: slices of one shape, orientation and pixel spacing each; no scout images.
    """
    left = sorted(grids, key=len, reverse=True)
    found = []
    while left:
        together, rest, whole = [left[0]], [], list(left[0])
        for other in left[1:]:
            if _fills(whole, other):
                together.append(other)
                whole += other
            else:
                rest.append(other)
        left = rest
        if len(together) > 1:
            found.append(together)
    return found


def _fills(grid: Sequence[Slice], other: Sequence[Slice]) -> bool:
    """Whether ``other`` is parallel to ``grid`` and each of its slices lies one step from its neighbour, at a place
    that no slice of ``grid`` has."""
    normal = grid[0].normal
    if len(grid) < 2 or abs(float(other[0].normal @ normal)) < 1 - _TOLERANCE:
        return False
    own, new = _along(grid, normal), _along(other, normal)
    if np.abs(own[:, None] - new[None]).min() <= _SAME_PLACE:
        return False
    places = np.sort(np.concatenate([own, new]))
    gaps = np.diff(places)
    step = float(np.median(gaps))
    if gaps.min() < (1 - _STEP) * step:
        return False
    beside = np.concatenate([[np.inf], gaps, [np.inf]])
    next_to = np.abs(np.stack([beside[:-1], beside[1:]]) - step).min(axis=0) <= _STEP * step
    return bool(next_to[np.isin(places, new)].all())


def _along(slices: Sequence[Slice], normal: Array) -> Array:
    """The places along a normal, each once; times and echoes repeat them."""
    return np.unique(np.round(np.array([one.position for one in slices]) @ normal, 3))


def contradiction(grids: Sequence[Sequence[Slice]]) -> str:
    """What differs between the first grid and the others, and in which files."""
    first = grids[0][0]
    strays = [one for grid in grids[1:] for one in grid]
    differing = {
        "orientations": any(np.abs(one.directions - first.directions).max() > _TOLERANCE for one in strays),
        "pixel spacings": any(
            np.abs(np.log(np.divide(one.spacing, first.spacing))).max() > _TOLERANCE for one in strays
        ),
        "matrices": any(one.shape != first.shape for one in strays),
    }
    files = list(dict.fromkeys(one.path.name for one in strays))
    named = ", ".join(files[:_MOST_NAMED]) + (f" and {len(files) - _MOST_NAMED} more" * (len(files) > _MOST_NAMED))
    total = len(grids[0]) + len(strays)
    return (
        f"mixed {' and '.join(word for word, differs in differing.items() if differs)} in one series: {len(strays)} of "
        f"its {total} slices {'differs' if len(strays) == 1 else 'differ'} from the others ({named})"
    )
