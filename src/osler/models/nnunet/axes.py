"""How the axes of an nnU-Net network lie in Osler's grid.

nnU-Net reads arrays as SimpleITK gives them, (z, y, x), and reorders them by ``transpose_forward``; Osler's are
(I, J, K), the same voxels the other way round. A convolution, a stride or an instance normalisation does not care what
an axis is called, so the weights are permuted once at conversion and a study never has to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from osler.errors import ModelError
from osler.studies.geometry import Array

__all__ = ["Axes", "axes_of"]

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Axes:
    """Osler's axis n is the network's axis ``order[n]``.

    ``sliced``: a 2D network that goes through a volume slice by slice. It becomes a 3D one whose kernels, strides and
    patch have size 1 along the first axis, which is the same arithmetic.
    """

    order: tuple[int, ...]
    sliced: bool = False

    @property
    def dimensions(self) -> Literal[2, 3]:
        """Of Osler's grid."""
        return 3 if len(self.order) == 3 else 2

    @property
    def slice_axis(self) -> int | None:
        """Osler's axis along which a 2D network goes from slice to slice."""
        return self.order.index(0) if self.sliced else None

    def arrange(self, values: Sequence[_Item], along_slices: _Item) -> tuple[_Item, ...]:
        """One value per axis of the network, in Osler's order; ``along_slices`` is that of the axis it lacks."""
        whole = (along_slices, *values) if self.sliced else tuple(values)
        return tuple(whole[axis] for axis in self.order)

    def arrange_kernel(self, kernel: Array) -> Array:
        """A convolution's weights (a, b, *network axes) as (a, b, *Osler's axes); others as they are."""
        if kernel.ndim < 4:
            return kernel
        whole = kernel[:, :, None] if self.sliced else kernel
        return np.ascontiguousarray(np.transpose(whole, (0, 1, *(2 + axis for axis in self.order))))


def axes_of(transpose_forward: Sequence[int], *, patch_dimensions: int, flat: bool) -> Axes:
    """Args:
        transpose_forward: nnU-Net's axis n is axis ``transpose_forward[n]`` of (z, y, x).
        patch_dimensions: of the network.
        flat: whether the studies are pictures (2D), not volumes.

    Raises:
        ModelError: when these do not fit each other.
    """
    forward = tuple(transpose_forward)
    if sorted(forward) != [0, 1, 2] or patch_dimensions not in (2, 3) or (flat and patch_dimensions == 3):
        raise ModelError(
            f"transpose_forward {forward} does not fit a {patch_dimensions}D network", remedy="copy plans.json again"
        )
    order = tuple(forward.index(2 - axis) for axis in range(3))  # I is x, the last of (z, y, x)
    if not flat:
        return Axes(order, sliced=patch_dimensions == 2)
    if forward[0] != 0:
        raise ModelError("pictures are laid with another axis than z first", remedy="convert another model")
    return Axes(tuple(axis - 1 for axis in order[:2]))
