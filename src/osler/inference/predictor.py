"""``Predictor``: a model folder made ready to answer, from prepared arrays to calibrated probabilities. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain, combinations
from types import TracebackType
from typing import Any

import numpy as np

from osler.datasets.preparation import Prepared
from osler.errors import ModelError, Unsuitable, UsageError
from osler.inference.engines import DEFAULT_ENGINE, Engine, Precision, make_engine
from osler.inference.probabilities import probabilities
from osler.inference.windows import sliding
from osler.models.folder import Calibration, Model
from osler.studies.geometry import Array

__all__ = ["Predictor", "default_precision"]

_STACK = 32  # whole studies per call of the network
_WINDOW_VOXELS = 1 << 17  # small windows go together up to this many voxels, large ones alone
_MOST_WINDOWS = 16
_SLAB = 16  # planes whose probabilities are computed at once


def default_precision(model: Model) -> Precision:
    """float32, unless training checked on the validation split that bf16 answers the same and recorded it."""
    return "bf16" if model.info.lineage.get("precision") == "bf16" else "float32"


class Predictor:
    """The story: made from a model, entered (graphs are checked and compiled), asked any number of times, left.

    Every member and, with ``mirror``, every mirrored copy of the study (for masks: of each window) gives logits; the
    probabilities of their mean are the answer.

    Args:
        model: the opened folder.
        engine: a name on the list of engines.
        precision: None takes ``default_precision``.
        mirror: average over mirrored copies too, along the axes that the plan allows.
        threads: 0 lets the engine decide.
        members: which members to use; None for all.
        calibration: None takes the model's own.

    Raises:
        UsageError: for mirroring where the plan forbids it, or a member that does not exist.
    """

    def __init__(
        self,
        model: Model,
        *,
        engine: str = DEFAULT_ENGINE,
        precision: Precision | None = None,
        mirror: bool = False,
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
        self._flips = _subsets(self.plan.mirror_axes) if mirror else [()]
        self._engine_name = engine
        self._precision: Precision = precision or default_precision(model)
        self._threads = threads
        self._engines: list[Engine] = []

    def __enter__(self) -> Predictor:
        """Raises:
        ModelError: when a graph is missing, changed or cannot be loaded.
        Unknown, MissingExtra: when the engine cannot be had.
        """
        with ExitStack() as undo:
            undo.callback(self.close)
            for member in self.members:
                engine = make_engine(self._engine_name)
                graph = self.model.graph(member, engine.suffix)
                engine.load(graph, precision=self._precision, threads=self._threads)
                self._engines.append(engine)
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

    def predict(self, prepared: Prepared) -> Array:
        """Calibrated probabilities of one study.

        Returns:
            (O,) or, for masks, (O, \\*S) on the prepared grid, float32; what O means says ``probabilities``.

        Raises:
            Unsuitable: when the network's answer is not finite.
            ModelError: when the graph cannot take the study's shape.
        """
        return self.predict_many([prepared])[0]

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

    def _mean(self, studies: Sequence[Prepared]) -> list[Array]:
        if not self._engines:
            raise ModelError("the predictor is not loaded", remedy="use it in a with statement")
        answers: list[Array | None] = [None] * len(studies)
        groups = _singles(studies) if self.plan.task == "segment" else _stacks(studies)
        for numbers in groups:
            stack = np.stack([studies[n].array for n in numbers])  # (B, C, *S)
            for n, answer in zip(numbers, self._mean_of_stack(stack), strict=True):
                answers[n] = answer
        return [answer for answer in answers if answer is not None]

    def _mean_of_stack(self, stack: Array) -> Array:
        """(B, C, \\*S) to logits (B, O) or (B, O, \\*S)."""
        total: Array | None = None
        for logits in self._passes(stack):
            if not (np.isfinite(logits.min()) and np.isfinite(logits.max())):  # either is NaN when any value is
                raise Unsuitable(
                    "the network's answer to this study is not finite",
                    remedy="check the study's intensities against those of the training data",
                )
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
            run = partial(self._mirrored, engine)
            yield self._windowed(run, stack) if self.plan.task == "segment" else run(stack)

    def _mirrored(self, engine: Engine, stack: Array) -> Array:
        """Mean logits of what is run and of its mirrored copies, mirrored back."""
        total: Array | None = None
        for flips in self._flips:
            axes = tuple(axis + 2 for axis in flips)
            logits = engine.run({"image": np.flip(stack, axes) if axes else stack})["logits"]
            back = np.flip(logits, axes) if axes and logits.ndim > 2 else logits
            total = back if total is None else total + back
        if total is None:
            raise ModelError("there is no copy to run", remedy="leave mirror out")
        return total if len(self._flips) == 1 else total / np.float32(len(self._flips))

    def _windowed(self, run: Callable[[Array], Array], stack: Array) -> Array:
        """(B, C, \\*S) to logits (B, O, \\*S), window by window."""
        patch = self.plan.patch
        batch = max(1, min(_MOST_WINDOWS, _WINDOW_VOXELS // int(np.prod(patch))))
        settings: dict[str, Any] = {"overlap": self.plan.overlap, "weights": self.plan.window_weights}
        volumes = [sliding(one, patch, run, batch=batch, **settings) for one in stack]
        return np.stack(volumes) if len(volumes) > 1 else volumes[0][None]


def _subsets(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """All combinations of the axes, the empty one first."""
    return list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))


def _singles(studies: Sequence[Prepared]) -> list[list[int]]:
    return [[n] for n in range(len(studies))]


def _stacks(studies: Sequence[Prepared]) -> list[list[int]]:
    """Numbers of studies of one shape, at most ``_STACK`` together."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for n, study in enumerate(studies):
        by_shape.setdefault(study.array.shape, []).append(n)
    return [group[i : i + _STACK] for group in by_shape.values() for i in range(0, len(group), _STACK)]
