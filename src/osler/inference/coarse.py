"""The coarse pass: a small network on a low-resolution grid says where the fine one has to look.

What it finds is a bound: all voxels of its grid whose probability of being anything but background reaches a threshold,
and a margin around them. ``inference.bounding`` chooses both, and counts what lies outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.preparation import Trace
from osler.datasets.slabs import SlabSource
from osler.errors import Unsuitable
from osler.inference.engines import DEFAULT_ENGINE, Engine, make_engine
from osler.inference.probabilities import softmax
from osler.inference.selection import dilated, working_spacing
from osler.inference.slabs import blend
from osler.models.folder import Model
from osler.studies.geometry import Array
from osler.studies.volume import ImageLike

__all__ = ["CoarseMap", "CoarsePass", "reach_of"]

_WINDOWS_AT_ONCE = 2


@dataclass(frozen=True)
class CoarseMap:
    """What the coarse pass says of one study: ``foreground`` (\\*trace.working_shape) float16, one less the probability
    of background; oriented as the working grid, but planes as the source counts them."""

    trace: Trace
    foreground: Array

    def bound(self, threshold: float, margin: float) -> Array:
        """Bool on the coarse grid.

        Args:
            threshold: from which probability on a voxel counts.
            margin: around it, in mm; in coarse voxels where the spacing is unknown.
        """
        return dilated(self.foreground >= np.float16(threshold), reach_of(self.trace, margin))


def reach_of(trace: Trace, margin: float) -> tuple[int, ...]:
    """A margin (mm; coarse voxels where the spacing is unknown) in voxels of the working grid, per axis."""
    if not trace.spacing_known:
        return (math.ceil(margin),) * len(trace.working_shape)
    return tuple(math.ceil(margin / spacing - 1e-6) for spacing in working_spacing(trace))


class CoarsePass:
    """The story: made from the coarse network's model, loaded, asked for any number of studies, released.

    Args:
        model: with one member and a plan of its own.
        engine: a name on the list of engines.
        threads: 0 lets the engine decide.
    """

    def __init__(self, model: Model, *, engine: str = DEFAULT_ENGINE, threads: int = 0) -> None:
        self.model, self.plan = model, model.plan
        self._name, self._threads = engine, threads
        self._engine: Engine | None = None

    def load(self) -> None:
        """Raises:
        ModelError: when the graph is missing, changed or cannot be loaded.
        Unknown, MissingExtra: when the engine cannot be had.
        """
        engine = make_engine(self._name)
        engine.load(self.model.graph(0, engine.suffix), threads=self._threads)
        self._engine = engine

    def release(self) -> None:
        """Free the graph; loading again is allowed."""
        if self._engine is not None:
            self._engine.release()
            self._engine = None

    def __call__(self, images: Sequence[ImageLike]) -> CoarseMap:
        """Look at one study, slab by slab; only the map is held.

        Raises:
            Unsuitable, PlanError: as ``prepare``.
            Unsuitable: when the network's answer is not finite.
            StudyError: when an image on disk turns out to be damaged.
        """
        source = SlabSource(images, self.plan)
        foreground = np.zeros(source.shape, np.float16)
        settings = {"overlap": self.plan.overlap, "weights": self.plan.window_weights, "batch": _WINDOWS_AT_ONCE}
        with source:
            for block in blend(source, self.plan.patch, self._run, **settings):  # type: ignore[arg-type]
                if not np.isfinite(block.values).all():
                    raise Unsuitable("the coarse network's answer is not finite", remedy="use --every-window")
                foreground[block.place] = 1 - softmax(block.values)[0]
        return CoarseMap(source.trace, foreground)

    def _run(self, windows: Array) -> Array:
        if self._engine is None:
            self.load()
        assert self._engine is not None
        return self._engine.run({"image": windows})["logits"]
