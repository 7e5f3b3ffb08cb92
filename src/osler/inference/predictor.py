"""``Predictor``: a model folder made ready to answer, from prepared arrays to calibrated probabilities. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Any

import numpy as np

from osler.datasets.preparation import Prepared, Trace, trace_of
from osler.datasets.slabs import SlabSource, fits
from osler.errors import UsageError
from osler.inference.batches import Halving, Most, OncePerValue, Timed, stacks_of
from osler.inference.engines import DEFAULT_ENGINE, Precision
from osler.inference.labelled import Into, LabelCount, Labelled, value_table
from osler.inference.labelling import Labeller
from osler.inference.mask_planes import MaskInMemory, fill, on_source, whole_planes
from osler.inference.members import Members
from osler.inference.precision import choose_precision
from osler.inference.probabilities import check_finite, probabilities
from osler.inference.selection import Selection
from osler.inference.selector import Selector
from osler.inference.slabs import blend
from osler.inference.stages import ahead
from osler.inference.windows import sliding
from osler.models.folder import Calibration, Model
from osler.studies.geometry import Array
from osler.studies.volume import ImageLike

__all__ = ["Predictor"]

_STACK = 32  # whole studies per call of the network
_WINDOW_VOXELS = 1 << 17  # small windows go together up to this many voxels, large ones alone
_MOST_WINDOWS = 16
_SLAB = 16  # planes whose probabilities are computed at once


class Predictor:
    """The story: made from a model, entered (graphs are checked and compiled), asked any number of times, left.

    Every member and, with ``mirror``, every mirrored copy of the study (for masks: of each window) gives logits; the
    probabilities of their mean are the answer.

    Args:
        model: the opened folder.
        engine: a name on the list of engines.
        precision: None and "auto" take what is fastest here of what the model's parity record allows
            (``choose_precision``).
        mirror: average over mirrored copies too, along the axes that the plan allows.
        every_window: run every window of a mask's study. Otherwise those that hold one value and nothing else are run
            once per value, those that hold only air outside the body are not run, and of a model with a coarse network
            only those that touch its bound are (``inference.selection``).
        threads: 0 lets the engine decide.
        members: which members to use; None for all.
        calibration: None takes the model's own.

    ``timed`` tells how many windows of masks went through the network since it was made, and their seconds.

    Raises:
        UsageError: for mirroring where the plan forbids it, a member that does not exist, or a precision that cannot be
            run or that the parity record forbids.
    """

    def __init__(
        self,
        model: Model,
        *,
        engine: str = DEFAULT_ENGINE,
        precision: Precision | None = None,
        mirror: bool = False,
        every_window: bool = False,
        threads: int = 0,
        members: Sequence[int] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        self.model = model
        self.plan = model.plan
        self.calibration = calibration or model.info.calibration
        self.members = tuple(range(len(model.info.members)) if members is None else members)
        if not self.members or not set(self.members) <= set(range(len(model.info.members))):
            raise UsageError(
                f"members {self.members} are not all of 0 to {len(model.info.members) - 1}", remedy="leave members out"
            )
        if mirror and not self.plan.mirror_axes:
            raise UsageError(
                "this model was not trained on mirrored studies, so averaging over mirrored copies would harm it",
                remedy="leave --mirror out",
            )
        self._every_window = every_window
        self._selector = Selector(model, engine=engine, threads=threads, every_window=every_window)
        self._engine_name, self._threads = engine, threads
        self.choice = choose_precision(model, precision, engine)
        self._networks = Members(
            model, self.members, engine=engine, precision=self.choice.precision, threads=threads, mirror=mirror
        )
        self._most = Most()
        self.timed = Timed(self._networks.run_windows)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Predictor:
        """Raises:
        ModelError: when a graph is missing, changed or cannot be loaded.
        Unknown, MissingExtra: when the engine cannot be had.
        """
        with ExitStack() as undo:
            undo.callback(self.close)
            self._networks.load()
            self._selector.load()
            self._pool = ThreadPoolExecutor(self._threads or os.cpu_count() or 1)
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the graphs; entering again loads them again."""
        self._networks.release()
        self._selector.release()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def reload(self) -> None:
        """Free the graphs and read them again: those for sizes of batches that were only tried out take memory."""
        self.close()
        self.__enter__()

    def predict(self, prepared: Prepared) -> Array:
        """Calibrated probabilities of one study.

        Returns:
            (O,) or, for masks, (O, \\*S) on the prepared grid, float32; what O means says ``probabilities``.

        Raises:
            Unsuitable: when the network's answer is not finite.
            ModelError: when the graph cannot take the study's shape.
        """
        return self.predict_many([prepared])[0]

    def takes_slabs(self, images: Sequence[ImageLike]) -> bool:
        """Whether ``label`` takes a study of these images."""
        plan = self.plan
        if (
            plan.task != "segment"
            or plan.regions
            or plan.dimensions != 3
            or any(image.dimensions != 3 for image in images)
        ):
            return False
        return fits(trace_of(images[0], plan.grid), plan)

    def label(self, images: Sequence[ImageLike], *, into: Into | None = None) -> tuple[Trace, Labelled]:
        """Labels of one study, slab by slab: nothing of the study's size is held but what the caller holds.

        The same labels as those of the highest probability that ``predict`` gives, restored to the source grid. While
        the network is at one layer of windows, the planes of the next are read and prepared, and those that became
        final are written.

        Args:
            images: one per channel, in memory or on disk; ``takes_slabs`` says whether they can go this way.
            into: where the mask goes; None keeps it in memory.

        Raises:
            Unsuitable, PlanError: as ``prepare``.
            Unsuitable: when the network's answer is not finite.
            StudyError: when an image on disk turns out to be damaged.
            StorageError: when the mask cannot be kept.
        """
        table = value_table(self.plan.labels)
        source = SlabSource(images, self.plan)
        head = self._networks.head(self.calibration.temperature)
        labeller = Labeller(source.trace, head, self.plan.outputs, self._pool)
        one = all(size <= length for size, length in zip(source.shape, self.plan.patch, strict=True))
        batch = 1 if one else min(self.usual_batch, self._most.items or self.usual_batch)
        selection = self._selector.select(images, source, self.timed, head, batch=batch)
        sink = (into or MaskInMemory)(images[0], table.dtype)
        with closing(self._labels(source, labeller, selection)) as kept:
            fill(sink, whole_planes(kept, source.trace, table))
        counts = tuple(
            LabelCount(on_source(labeller.source_profiles(n), source.trace), labeller.tally.probability(n))
            for n in range(1, self.plan.outputs)
        )
        mask = sink.array if isinstance(sink, MaskInMemory) else None
        windows = None if selection is None else selection.windows
        return source.trace, Labelled(mask, counts, sink if mask is None else None, windows)

    def _labels(
        self, source: SlabSource, labeller: Labeller, selection: Selection | None
    ) -> Generator[Array, None, None]:
        """Class indices (I, J, planes) of the part of the source that is kept, from its first plane to its last."""
        each = Halving(self.timed, self._most)
        run = each if self._every_window else OncePerValue(each)
        patch, weights = self.plan.patch, self.plan.window_weights
        batch = self._windows_at_once
        settings: dict[str, Any] = {"overlap": self.plan.overlap, "batch": batch, "weights": weights}
        settings |= {"select": selection, "channels": self.blended}
        with ExitStack() as opened:
            opened.enter_context(source)

            def reading(layers: Generator[Array, None, None]) -> Iterator[Array]:
                return opened.enter_context(closing(ahead(_checked(layers, source))))

            for block in blend(source, patch, run, inputs=reading, executor=self._pool, **settings):
                check_finite(block.values)
                for _, classes in labeller.add(block):
                    yield classes

    def predict_many(self, studies: Sequence[Prepared]) -> list[Array]:
        """``predict`` for several studies; those of one shape go through the network together."""
        return [self._probabilities(logits) for logits in self._mean(studies)]

    def logits(self, prepared: Prepared) -> Array:
        """Uncalibrated logits of one study, averaged over members and mirrored copies; for fitting a calibration.

        ``probabilities(logits, plan, temperature)`` is what ``predict`` gives.
        """
        return self.logits_many([prepared])[0]

    def logits_many(self, studies: Sequence[Prepared]) -> list[Array]:
        """``logits`` for several studies."""
        return self._mean(studies)

    def in_flight(self, stacks: Iterable[Array], *, logits: bool = False) -> Iterator[list[Array] | MemoryError]:
        """Answers about whole studies that come in stacks, with several stacks under way at once; not for masks.

        Args:
            stacks: (B, C, \\*S) each, prepared studies of one shape; taken a few ahead of the answers.
            logits: as ``logits_many`` instead of ``predict_many``.

        Yields:
            B answers (O,), which nobody has looked at yet whether they are finite; the MemoryError in their place where
            there was not enough memory for so many at once.

        Raises:
            ModelError: when nothing is loaded, or the graph cannot take the studies' shape.
        """
        self._networks.check_loaded()
        for mean in self._networks.in_flight(stacks):
            if isinstance(mean, MemoryError):
                yield mean
            else:
                yield [one if logits else self._probabilities(one) for one in mean]

    @property
    def blended(self) -> int:
        """Channels of what is blended of windows: what goes into narrow heads, or the outputs."""
        return self._networks.blended

    @property
    def facts(self) -> dict[str, Any]:
        """On what its speed and its memory depend, beside the machine."""
        return {
            "digest": self.model.info.digest,
            "engine": self._engine_name,
            "precision": self.choice.precision,
            "threads": self._threads,
            "members": list(self.members),
            "copies": self._networks.copies,
        }

    @property
    def usual_batch(self) -> int:
        """How many windows, or small studies, go through the network at once while memory suffices."""
        return self._windows_at_once if self.plan.task == "segment" else _STACK

    def at_most(self, items: int) -> None:
        """From now on, no more windows or small studies than this at once."""
        self._most.items = items

    def try_out(self, items: int) -> None:
        """Run the network on a batch of noise, for what that takes.

        Raises:
            ModelError: when nothing is loaded.
            MemoryError: when there is not enough memory.
        """
        self._networks.check_loaded()
        noise = np.random.default_rng(0).normal(size=(items, self.plan.inputs, *self.plan.patch))
        self._networks.run_windows(noise.astype(np.float32))

    @property
    def precision(self) -> Precision:
        """What the engines were asked for."""
        return self.choice.precision

    @property
    def most_at_once(self) -> int | None:
        """The most windows or small studies in one batch; None unless memory was found to be scarce."""
        return self._most.items

    @property
    def _windows_at_once(self) -> int:
        """As many as the engines run at the same time, small windows more."""
        small = min(_MOST_WINDOWS, _WINDOW_VOXELS // int(np.prod(self.plan.patch)))
        return max(small, self._networks.at_once)

    def _mean(self, studies: Sequence[Prepared]) -> list[Array]:
        self._networks.check_loaded()
        answers: list[Array | None] = [None] * len(studies)
        groups = stacks_of(studies, most=1 if self.plan.task == "segment" else _STACK)
        for numbers in groups:
            stack = np.stack([studies[n].array for n in numbers])  # (B, C, *S)
            for n, answer in zip(numbers, Halving(self._mean_of_stack, self._most)(stack), strict=True):
                answers[n] = answer
        return [answer for answer in answers if answer is not None]

    def _mean_of_stack(self, stack: Array) -> Array:
        """(B, C, \\*S) to logits (B, O) or (B, O, \\*S)."""
        total: Array | None = None
        for network in self._networks.each():
            run = Halving(network, self._most)
            logits = self._windowed(run, stack) if self.plan.task == "segment" else run(stack)
            check_finite(logits)
            total = logits if total is None else np.add(total, logits, out=total)
        assert total is not None  # a model has a member, and it is loaded
        total /= np.float32(len(self.members))
        return total

    def _probabilities(self, logits: Array) -> Array:
        """(O[, \\*S]) to the same; of masks in place and slab by slab, because a study's logits can be large."""
        temperature = self.calibration.temperature
        if self.plan.task != "segment":
            return probabilities(logits, self.plan, temperature, axis=0)
        for first in range(0, logits.shape[1], _SLAB):
            slab = logits[:, first : first + _SLAB]
            slab[...] = probabilities(slab, self.plan, temperature, axis=0)
        return logits

    def _windowed(self, run: Callable[[Array], Array], stack: Array) -> Array:
        """(B, C, \\*S) to logits (B, O, \\*S), window by window."""
        patch, weights = self.plan.patch, self.plan.window_weights
        batch = self._windows_at_once
        settings: dict[str, Any] = {"overlap": self.plan.overlap, "batch": batch, "weights": weights}
        volumes = [sliding(one, patch, run, **settings) for one in stack]
        return np.stack(volumes) if len(volumes) > 1 else volumes[0][None]


def _checked(layers: Generator[Array, None, None], source: SlabSource) -> Generator[Array, None, None]:
    """The same; after the last the rest of the study is looked at, while the network is still at that."""
    yield from layers
    source.check()
