"""``Members``: the networks of a model, run on windows and on whole studies, and on mirrored copies of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial, reduce

import numpy as np

from osler.errors import ModelError
from osler.inference.batches import flips_of, logits_in_flight
from osler.inference.engines import Engine, Output, Precision, make_engine
from osler.inference.heads import narrow_heads
from osler.inference.labelling import Head
from osler.models.folder import INT8_SUFFIX, Model
from osler.studies.geometry import Array

__all__ = ["Members"]


class Members:
    """The story: made from a model, loaded, run any number of times, released.

    Args:
        model: the opened folder.
        numbers: which of its members.
        engine: a name on the list of engines.
        precision: of the graphs.
        threads: 0 lets the engine decide.
        mirror: run mirrored copies too, along the axes that the plan allows.
    """

    def __init__(
        self, model: Model, numbers: Sequence[int], *, engine: str, precision: Precision, threads: int, mirror: bool
    ) -> None:
        self._model, self._numbers, self._plan = model, numbers, model.plan
        self._engine_name, self._precision, self._threads = engine, precision, threads
        self._flips = flips_of(model.plan.mirror_axes) if mirror else [()]
        self._engines: list[Engine] = []
        self._heads: list[tuple[Array, Array]] = []

    def load(self) -> None:
        """Raises:
        ModelError: when a graph is missing, changed or cannot be loaded.
        Unknown, MissingExtra: when the engine cannot be had.
        """
        with ExitStack() as undo:
            undo.callback(self.release)
            self._heads = narrow_heads(self._model, self._numbers)
            output: Output = "features" if self._heads else "logits"
            for number in self._numbers:
                engine = make_engine(self._engine_name)
                graph = self._model.graph(number, INT8_SUFFIX if self._precision == "int8" else engine.suffix)
                whole = self._plan.task != "segment"
                narrow = output == "features"  # logits are what is compared: rounded, near ones become equal
                engine.load(
                    graph,
                    precision=self._precision,
                    threads=self._threads,
                    output=output,
                    many=whole,
                    narrow=narrow,
                )
                self._engines.append(engine)
            undo.pop_all()

    def release(self) -> None:
        """Free the graphs."""
        while self._engines:
            self._engines.pop().release()

    def check_loaded(self) -> None:
        """Raises ModelError when nothing is."""
        if not self._engines:
            raise ModelError("the predictor is not loaded", remedy="use it in a with statement")

    @property
    def copies(self) -> int:
        """Of what each network is given, itself included."""
        return len(self._flips)

    @property
    def at_once(self) -> int:
        """Windows that the engines run at the same time."""
        return max(engine.at_once for engine in self._engines)

    @property
    def blended(self) -> int:
        """Channels of what ``run_windows`` gives: what goes into narrow heads, or the outputs."""
        return sum(weight.shape[1] for weight, _ in self._heads) or self._plan.outputs

    def head(self, temperature: float) -> Head:
        """What makes the mean logits of the members out of what ``run_windows`` gives."""
        if not self._heads:
            return Head(None, None, temperature)
        share = np.float32(1 / len(self._heads))
        weights = np.concatenate([weight for weight, _ in self._heads], axis=1) * share
        biases = np.stack([bias for _, bias in self._heads])
        return Head(weights, biases.mean(axis=0), temperature)

    def run_windows(self, windows: Array) -> Array:
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

    def each(self) -> Iterator[Callable[[Array], Array]]:
        """One after the other: (B, C, \\*S) to logits (B, O, \\*S), or (B, O) of tasks without masks; the mean over
        mirrored copies."""
        for number in range(len(self._engines)):
            yield partial(self._mirrored, number)

    def in_flight(self, stacks: Iterable[Array]) -> Iterator[Array | MemoryError]:
        """Mean logits (B, O) of stacks of whole studies (B, C, \\*S), several under way at once; not for masks."""
        return logits_in_flight(self._engines, self._flips, stacks)

    def _mirrored(self, number: int, stack: Array) -> Array:
        """Mean logits of what is run and of its mirrored copies, mirrored back."""
        found = []
        for flips in self._flips:
            axes = tuple(axis + 2 for axis in flips)
            logits = self._logits(number, np.flip(stack, axes) if axes else stack)
            found.append(np.flip(logits, axes) if axes and logits.ndim > 2 else logits)
        return found[0] if len(found) == 1 else reduce(np.add, found) / np.float32(len(found))

    def _logits(self, number: int, stack: Array) -> Array:
        engine = self._engines[number]
        if not self._heads:
            return engine.run({"image": stack})["logits"]
        weight, bias = self._heads[number]
        features = engine.run({"image": stack})["features"].astype(np.float32, copy=False)
        logits = weight @ features.reshape(*features.shape[:2], -1) + bias[:, None]
        return logits.reshape(len(logits), len(weight), *features.shape[2:])
