"""What of a study counts: the box around everything that is not 0, and the voxels in it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.errors import Unsuitable
from osler.studies.geometry import Array

__all__ = ["box_of", "filled"]


def box_of(channels: Sequence[Array]) -> tuple[slice, ...]:
    """The smallest box around all voxels that are not 0 in any channel.

    Args:
        channels: (C, \\*S) each.

    Raises:
        Unsuitable: when there is no such voxel.
    """
    spatial = channels[0].ndim - 1
    box = []
    for axis in range(spatial):
        others = tuple(n for n in range(spatial + 1) if n != axis + 1)
        occupied = np.flatnonzero(np.any([channel.any(axis=others) for channel in channels], axis=0))
        if not len(occupied):
            raise Unsuitable("the study is blank: every value of every channel is 0", remedy="leave out the file")
        box.append(slice(int(occupied[0]), int(occupied[-1]) + 1))
    return tuple(box)


def filled(channels: Sequence[Array]) -> Array:
    """(\\*S) bool: voxels that are not 0 in any channel, and the holes between them."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(np.any([channel.any(axis=0) for channel in channels], axis=0)))
