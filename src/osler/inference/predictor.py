"""``Predictor``: a model folder made ready to answer, from prepared arrays to calibrated probabilities. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial, reduce
from types import TracebackType
from typing import Any

import numpy as np

from osler.datasets.preparation import Prepared, Trace, trace_of
from osler.datasets.slabs import SlabSource, fits
from osler.errors import ModelError, UsageError
from osler.inference.batches import Halving, Most, OncePerValue, Timed, flips_of, logits_in_flight, stacks_of
from osler.inference.engines import DEFAULT_ENGINE, Engine, Output, Precision, make_engine
from osler.inference.heads import narrow_heads
from osler.inference.labelled import Into, LabelCount, Labelled, value_table
from osler.inference.labelling import Head, Labeller
from osler.inference.mask_planes import MaskInMemory, fill, on_source, whole_planes
from osler.inference.precision import choose_precision
from osler.inference.probabilities import check_finite, probabilities
from osler.inference.selection import Selection
from osler.inference.selector import Selector
from osler.inference.slabs import blend
from osler.inference.stages import ahead
from osler.inference.windows import sliding
from osler.models.folder import INT8_SUFFIX, Calibration, Model
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
        self._flips = flips_of(self.plan.mirror_axes) if mirror else [()]
        self._engine_name = engine
        self.choice = choose_precision(model, precision, engine)
        self._threads = threads
        self._most = Most()
        self.timed = Timed(self._run_windows)
        self._engines: list[Engine] = []
        self._heads: list[tuple[Array, Array]] = []
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Predictor:
        """Raises:
        ModelError: when a graph is missing, changed or cannot be loaded.
        Unknown, MissingExtra: when the engine cannot be had.
        """
        with ExitStack() as undo:
            undo.callback(self.close)
            self._heads = narrow_heads(self.model, self.members)
            output: Output = "features" if self._heads else "logits"
            for member in self.members:
                engine = make_engine(self._engine_name)
                precision = self.choice.precision
                graph = self.model.graph(member, INT8_SUFFIX if precision == "int8" else engine.suffix)
                whole = self.plan.task != "segment"
                narrow = output == "features"  # logits are what is compared: rounded, near ones become equal
                engine.load(graph, precision=precision, threads=self._threads, output=output, many=whole, narrow=narrow)
                self._engines.append(engine)
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
        while self._engines:
            self._engines.pop().release()
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
        head = self._head()
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
        batch = _windows_at_once(patch, self._engines)
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
        self._check_loaded()
        for mean in logits_in_flight(self._engines, self._flips, stacks):
            if isinstance(mean, MemoryError):
                yield mean
            else:
                yield [one if logits else self._probabilities(one) for one in mean]

    @property
    def blended(self) -> int:
        """Channels of what is blended of windows: what goes into narrow heads, or the outputs."""
        return sum(weight.shape[1] for weight, _ in self._heads) or self.plan.outputs

    @property
    def facts(self) -> dict[str, Any]:
        """On what its speed and its memory depend, beside the machine."""
        return {
            "digest": self.model.info.digest,
            "engine": self._engine_name,
            "precision": self.choice.precision,
            "threads": self._threads,
            "members": list(self.members),
            "copies": len(self._flips),
        }

    @property
    def usual_batch(self) -> int:
        """How many windows, or small studies, go through the network at once while memory suffices."""
        return _windows_at_once(self.plan.patch, self._engines) if self.plan.task == "segment" else _STACK

    def at_most(self, items: int) -> None:
        """From now on, no more windows or small studies than this at once."""
        self._most.items = items

    def try_out(self, items: int) -> None:
        """Run the network on a batch of noise, for what that takes.

        Raises:
            ModelError: when nothing is loaded.
            MemoryError: when there is not enough memory.
        """
        self._check_loaded()
        noise = np.random.default_rng(0).normal(size=(items, self.plan.inputs, *self.plan.patch))
        self._run_windows(noise.astype(np.float32))

    @property
    def precision(self) -> Precision:
        """What the engines were asked for."""
        return self.choice.precision

    @property
    def most_at_once(self) -> int | None:
        """The most windows or small studies in one batch; None unless memory was found to be scarce."""
        return self._most.items

    def _check_loaded(self) -> None:
        if not self._engines:
            raise ModelError("the predictor is not loaded", remedy="use it in a with statement")

    def _mean(self, studies: Sequence[Prepared]) -> list[Array]:
        self._check_loaded()
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
        for logits in self._passes(stack):
            check_finite(logits)
            total = logits if total is None else np.add(total, logits, out=total)
        if total is None:
            raise ModelError("the model has no members", remedy="train it again")
        total /= np.float32(len(self._engines))
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

    def _passes(self, stack: Array) -> Iterator[Array]:
        """Logits of each member, averaged over mirrored copies."""
        for engine in self._engines:
            run = Halving(partial(self._mirrored, engine), self._most)
            yield self._windowed(run, stack) if self.plan.task == "segment" else run(stack)

    def _mirrored(self, engine: Engine, stack: Array) -> Array:
        """Mean logits of what is run and of its mirrored copies, mirrored back."""
        found = []
        for flips in self._flips:
            axes = tuple(axis + 2 for axis in flips)
            logits = self._logits_of(engine, np.flip(stack, axes) if axes else stack)
            found.append(np.flip(logits, axes) if axes and logits.ndim > 2 else logits)
        return found[0] if len(found) == 1 else reduce(np.add, found) / np.float32(len(found))

    def _windowed(self, run: Callable[[Array], Array], stack: Array) -> Array:
        """(B, C, \\*S) to logits (B, O, \\*S), window by window."""
        patch, weights = self.plan.patch, self.plan.window_weights
        batch = _windows_at_once(patch, self._engines)
        settings: dict[str, Any] = {"overlap": self.plan.overlap, "batch": batch, "weights": weights}
        volumes = [sliding(one, patch, run, **settings) for one in stack]
        return np.stack(volumes) if len(volumes) > 1 else volumes[0][None]

    def _logits_of(self, engine: Engine, windows: Array) -> Array:
        """(B, C, \\*patch) to (B, O, \\*patch); of tasks without masks (B, C, \\*S) to (B, O)."""
        if not self._heads:
            return engine.run({"image": windows})["logits"]
        weight, bias = self._heads[self._engines.index(engine)]
        features = engine.run({"image": windows})["features"].astype(np.float32, copy=False)
        logits = weight @ features.reshape(*features.shape[:2], -1) + bias[:, None]
        return logits.reshape(len(logits), len(weight), *features.shape[2:])

    def _run_windows(self, windows: Array) -> Array:
        """(B, C, \\*patch) to the mean logits of members and mirrored copies, or to the features of each member one
        after the other; the mean over mirrored copies of either. float32, or bfloat16 where nothing was added up."""
        found: list[Array] = []
        one = len(self._engines) * len(self._flips) == 1
        for engine in self._engines:
            total: Array | None = None
            for flips in self._flips:
                axes = tuple(axis + 2 for axis in flips)
                (values,) = engine.run({"image": np.flip(windows, axes) if axes else windows}).values()
                values = np.flip(values, axes) if axes else values
                values = values if one else values.astype(np.float32, copy=False)
                total = values if total is None else np.add(total, values, out=total)
            if total is not None:
                found.append(total)
        if self._heads:
            stacked = np.concatenate(found, axis=1) if len(found) > 1 else found[0]
            return stacked if len(self._flips) == 1 else stacked / np.float32(len(self._flips))
        passes = len(found) * len(self._flips)
        total = reduce(lambda one, other: np.add(one, other, out=one), found)
        return total if passes == 1 else np.divide(total, np.float32(passes), out=total)

    def _head(self) -> Head:
        """What makes the mean logits of the members out of what ``_run_windows`` gives."""
        temperature = self.calibration.temperature
        if not self._heads:
            return Head(None, None, temperature)
        share = np.float32(1 / len(self._heads))
        weights = np.concatenate([weight for weight, _ in self._heads], axis=1) * share
        biases = np.stack([bias for _, bias in self._heads])
        return Head(weights, biases.mean(axis=0), temperature)


def _windows_at_once(patch: Sequence[int], engines: Sequence[Engine]) -> int:
    """As many as the engines run at the same time, small windows more."""
    small = min(_MOST_WINDOWS, _WINDOW_VOXELS // int(np.prod(patch)))
    return max(small, *(engine.at_once for engine in engines))


def _checked(layers: Generator[Array, None, None], source: SlabSource) -> Generator[Array, None, None]:
    """The same; after the last the rest of the study is looked at, while the network is still at that."""
    yield from layers
    source.check()
