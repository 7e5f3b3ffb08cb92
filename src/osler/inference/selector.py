"""``Selector``: what a model knows about where its network has to look, ready to be asked study by study."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from osler.datasets.slabs import SlabSource
from osler.inference.coarse import CoarsePass
from osler.inference.labelling import Head
from osler.inference.selection import Body, Bound, Selection, air_rule, calls_air_background, margin_of
from osler.models.folder import Model
from osler.studies.geometry import Array
from osler.studies.volume import ImageLike

__all__ = ["Selector"]


class Selector:
    """The story: made from a model, loaded, asked for any number of studies, released.

    Args:
        model: the opened folder; its coarse network is used where it has one and its record allows it.
        engine: a name on the list of engines, for the coarse network.
        threads: 0 lets the engine decide.
        every_window: select nothing: every window is run.
    """

    def __init__(self, model: Model, *, engine: str, threads: int = 0, every_window: bool = False) -> None:
        self.plan = model.plan
        self._rule = None if every_window else air_rule(model.plan)
        self._known_background: bool | None = None
        entry = model.info.coarse
        self._entry = None if every_window or entry is None or entry.problem else entry
        coarse = None if self._entry is None else model.coarse()
        self._coarse = None if coarse is None else CoarsePass(coarse, engine=engine, threads=threads)

    def load(self) -> None:
        """Raises:
        ModelError: when the coarse network's graph is missing, changed or cannot be loaded.
        Unknown, MissingExtra: when the engine cannot be had.
        """
        if self._coarse is not None:
            self._coarse.load()

    def release(self) -> None:
        """Free the coarse network's graph."""
        if self._coarse is not None:
            self._coarse.release()

    def select(
        self,
        images: Sequence[ImageLike],
        source: SlabSource,
        run: Callable[[Array], Array],
        head: Head,
        *,
        batch: int = 1,
    ) -> Selection | None:
        """What ``blend`` asks about one study; None where every window is run.

        Args:
            images: one per channel.
            source: of the fine network's input; nothing of it is read.
            run: maps windows to what the fine network gives.
            head: makes logits of that.
            batch: how many windows it will be given at once.

        Raises:
            Unsuitable, PlanError: as ``prepare``.
            StudyError: when an image on disk turns out to be damaged.
        """
        body = self._body(source, run, head, batch)
        bound = None
        if self._coarse is not None and self._entry is not None:
            found = self._coarse(images)
            bound = Bound(found.bound(self._entry.threshold, self._entry.margin), source.shape)
        return None if body is None and bound is None else Selection(body, bound)

    def _body(self, source: SlabSource, run: Callable[[Array], Array], head: Head, batch: int) -> Body | None:
        if self._rule is None:
            return None
        if self._known_background is None:
            self._known_background = calls_air_background(self._rule, self.plan.patch, run, head.logits, windows=batch)
        return Body(self._rule, source.axis, margin_of(source.trace)) if self._known_background else None
