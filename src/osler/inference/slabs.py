"""Sliding windows over a study that comes slab by slab; what no later window touches is given away at once.

What is blended is what the network gives before its last layer, or after it: that layer is linear in each voxel, so
blending and applying it can change places, and one blends whichever has fewer channels. Memory depends on the patch and
the in-plane size and not on the number of planes (``bands``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor

import numpy as np

from osler.inference.bands import Bands, Block
from osler.inference.layout import Layer, Layout, Slabs
from osler.inference.windows import Weights
from osler.studies.geometry import Array

__all__ = ["Inputs", "Select", "blend"]

Inputs = Callable[[Generator[Array, None, None]], Iterator[Array]]
Select = Callable[[Layer], Sequence[bool]]
"""Which windows of a layer are run, in the order of its corners; asked once per layer, from the first to the last."""


def blend(
    source: Slabs,
    patch: Sequence[int],
    run: Callable[[Array], Array],
    *,
    overlap: float = 0.5,
    batch: int = 1,
    weights: Weights = "floored",
    select: Select | None = None,
    channels: int = 0,
    inputs: Inputs | None = None,
    executor: Executor | None = None,
) -> Iterator[Block]:
    """Run a network over a study, window by window and layer by layer, and blend what it gives.

    Args:
        source: the study; it is read once from its first plane to its last.
        patch: shape of a window.
        run: maps a batch (B, C, \\*patch) to (B, F, \\*patch), float32 or bfloat16, that it does not use again.
        overlap: least fraction of a window that its neighbour covers too.
        batch: windows per call; the result does not depend on it.
        weights: how windows that overlap share a voxel.
        select: which windows to run; None runs all.
        channels: F, needed where ``select`` is given, because it may leave out all windows.
        inputs: what takes the planes of one layer after the other and hands them on, perhaps ahead of time.
        executor: where channels are added up; None adds them one by one.

    Yields:
        Blocks that together are the whole study: layer after layer, and in each layer row after row.

    Raises:
        PlanError: when patch or overlap are out of range.
    """
    layout = Layout.of(source, patch, overlap, weights)
    bands = None if select is None else Bands(channels, layout, executor, marking=True)
    end = layout.padded[layout.row_axis]
    layers = layout.inputs(source)
    for number, planes in enumerate(layers if inputs is None else inputs(layers)):
        start = layout.layers[number]
        following = layout.layers[number + 1] if number + 1 < len(layout.layers) else layout.padded[layout.axis]
        keep = [True] * len(layout.corners) if select is None else list(select(layout.layer(planes, start)))
        chosen = [corner for corner, kept in zip(layout.corners, keep, strict=True) if kept]
        left_out = [corner for corner, kept in zip(layout.corners, keep, strict=True) if not kept]
        if bands is not None:
            bands.begin(start, following, left_out)
        for first in range(0, len(chosen), batch):
            corners = chosen[first : first + batch]
            found = run(np.stack([layout.window(planes, corner) for corner in corners]))
            if bands is None:
                bands = Bands(found.shape[1], layout, executor)
                bands.begin(start, following)
            for corner, values in zip(corners, found, strict=True):
                bands.add(corner, values)
            del found, values  # before the next answers, which are as large
            if first + batch < len(chosen):
                yield from bands.finish(chosen[first + batch][layout.row_axis])
        if bands is not None:
            yield from bands.finish(end)
