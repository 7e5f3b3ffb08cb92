"""Sliding windows over a study that comes slab by slab; what no later window touches is given away at once.

What is blended is what the network gives before its last layer, or after it: that layer is linear in each voxel, so
blending and applying it can change places, and one blends whichever has fewer channels. Memory depends on the patch and
the in-plane size and not on the number of planes (``bands``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from osler.inference.bands import Bands, Block
from osler.inference.layout import Layer, Layout, Slabs
from osler.inference.stages import ahead
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

    While one batch of windows is blended, and what is final of it used, the network is at the next one, in a thread of
    its own, which also asks ``source``, ``inputs`` and ``select``.

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
    layers = layout.inputs(source)
    answers = _answers(layout, layers if inputs is None else inputs(layers), run, batch, select)
    begun = -1
    with closing(ahead(answers)) as coming:
        for answer in coming:
            if bands is None:
                bands = Bands(answer.channels, layout, executor)
            if answer.start != begun:
                begun = answer.start
                bands.begin(begun, answer.following, answer.left_out)
            for corner, values in answer.windows:
                bands.add(corner, values)
            yield from bands.finish(answer.row)


@dataclass(frozen=True)
class _Answer:
    """What the network says of some ``windows`` of the layer at ``start``, by corner; there may be none.

    ``following`` is where the next layer starts, ``left_out`` are the layer's windows that are not run, and ``row`` is
    the first row that later windows of the layer touch.
    """

    start: int
    following: int
    left_out: Sequence[tuple[int, ...]]
    windows: Sequence[tuple[tuple[int, ...], Array]]
    row: int

    @property
    def channels(self) -> int:
        return len(self.windows[0][1])


def _answers(
    layout: Layout, layers: Iterable[Array], run: Callable[[Array], Array], batch: int, select: Select | None
) -> Generator[_Answer, None, None]:
    """All windows of a study, in the order in which they are blended; each layer has one answer at least."""
    end = layout.padded[layout.row_axis]
    for number, planes in enumerate(layers):
        start = layout.layers[number]
        following = layout.layers[number + 1] if number + 1 < len(layout.layers) else layout.padded[layout.axis]
        keep = [True] * len(layout.corners) if select is None else list(select(layout.layer(planes, start)))
        chosen = [corner for corner, kept in zip(layout.corners, keep, strict=True) if kept]
        left_out = [corner for corner, kept in zip(layout.corners, keep, strict=True) if not kept]
        if not chosen:
            yield _Answer(start, following, left_out, (), end)
        for first in range(0, len(chosen), batch):
            corners = chosen[first : first + batch]
            found = run(np.stack([layout.window(planes, corner) for corner in corners]))
            row = chosen[first + batch][layout.row_axis] if first + batch < len(chosen) else end
            yield _Answer(start, following, left_out, list(zip(corners, found, strict=True)), row)
