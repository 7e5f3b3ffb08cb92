"""Batches through engines: several under way at once, and smaller ones where memory runs out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain, combinations, tee

import numpy as np

from osler.datasets.preparation import Prepared
from osler.inference.engines import Engine
from osler.studies.geometry import Array

__all__ = ["Halving", "Most", "OncePerValue", "Timed", "flips_of", "logits_in_flight", "stacks_of"]


_ONE_VALUE = 1e-5  # deviations apart, what resampling makes of equal values


@dataclass
class Most:
    """How many items go into one batch at most; None as long as memory has sufficed."""

    items: int | None = None


class Halving:
    """Runs batches, and where memory runs out in halves, down to one item.

    Whoever asks for a batch gets its whole answer, so that nothing that was done before is done again. Once memory has
    run out, later batches are small from the beginning.

    Args:
        run: maps (B, ...) to (B, ...), each item by itself.
        most: shared by those that run on the same engine.
    """

    def __init__(self, run: Callable[[Array], Array], most: Most) -> None:
        self._run = run
        self._most = most

    def __call__(self, batch: Array) -> Array:
        """The answer to (B, ...).

        Raises:
            MemoryError: when there is none left for a single item.
        """
        most = self._most.items
        if most is None or len(batch) <= most:
            try:
                return self._run(batch)
            except MemoryError:
                if len(batch) == 1:
                    raise
                most = self._most.items = len(batch) // 2
        parts = [self(batch[first : first + most]) for first in range(0, len(batch), most)]
        return np.concatenate(parts)


class Timed:
    """Runs batches and remembers how many windows that were, and their seconds.

    The first batch does not count: the graph is compiled or fetched for it.
    """

    def __init__(self, run: Callable[[Array], Array]) -> None:
        self._run = run
        self._begun = False
        self.windows = 0
        self.seconds = 0.0

    def __call__(self, windows: Array) -> Array:
        """(B, C, \\*patch) to what the network says."""
        before = time.perf_counter()
        answers = self._run(windows)
        if self._begun:
            self.seconds += time.perf_counter() - before
            self.windows += len(windows)
        self._begun = True
        return answers


class OncePerValue:
    """Runs windows, but those that hold one value per channel only when it is not that of the last such window.

    One answer is kept, because it is as large as a window times the channels of the answer.
    """

    def __init__(self, run: Callable[[Array], Array]) -> None:
        self._run = run
        self._value: tuple[float, ...] | None = None
        self._answer: Array | None = None

    def __call__(self, windows: Array) -> Array:
        """(B, C, \\*patch) to (B, F, \\*patch)."""
        values = [_value_of(window) for window in windows]
        known = [value is not None and value == self._value for value in values]
        before = self._answer
        if before is None or not any(known):  # all together: batches of one size are what engines are compiled for
            found = self._run(windows)
            self._remember(values, found)
            return found
        answers = np.empty((len(windows), *before.shape), before.dtype)
        answers[known] = before
        rest = [n for n, one in enumerate(known) if not one]
        if rest:
            found = self._run(windows[rest])
            answers[rest] = found
            self._remember([values[n] for n in rest], found)
        return answers

    def _remember(self, values: Sequence[tuple[float, ...] | None], found: Array) -> None:
        for value, answer in zip(values, found, strict=True):
            if value is not None and value != self._value:
                self._value, self._answer = value, answer.copy()  # not a view, which would keep all of the batch


def logits_in_flight(
    engines: Sequence[Engine], flips: Sequence[tuple[int, ...]], stacks: Iterable[Array]
) -> Iterator[Array | MemoryError]:
    """Mean logits over engines and mirrored copies of whole studies, with as many stacks under way as engines like.

    Args:
        engines: loaded; each answers with one output, (B, O).
        flips: the spatial axes along which each copy is mirrored.
        stacks: (B, C, \\*S) each; taken a few ahead of the answers.

    Yields:
        (B, O) of each stack, in their order; the MemoryError in its place where there was not enough memory.
    """
    copies = tee(stacks, len(engines))
    running = [engine.run_many(_mirrored(own, flips)) for engine, own in zip(engines, copies, strict=True)]
    for first in running[0]:
        answers = [[first, *(next(running[0]) for _ in flips[1:])]]
        answers += [[next(each) for _ in flips] for each in running[1:]]
        failure = next((one for several in answers for one in several if isinstance(one, MemoryError)), None)
        yield failure or _mean([_mean([_only(one) for one in several]) for several in answers])


def flips_of(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """All combinations of the axes, the empty one first."""
    return list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))


def stacks_of(studies: Sequence[Prepared], *, most: int) -> list[list[int]]:
    """Numbers of studies of one shape, at most so many together."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for n, study in enumerate(studies):
        by_shape.setdefault(study.array.shape, []).append(n)
    return [group[i : i + most] for group in by_shape.values() for i in range(0, len(group), most)]


def _mirrored(stacks: Iterable[Array], flips: Sequence[tuple[int, ...]]) -> Iterator[dict[str, Array]]:
    for stack in stacks:
        for axes in flips:
            yield {"image": np.flip(stack, tuple(axis + 2 for axis in axes)) if axes else stack}


def _only(answer: dict[str, Array] | MemoryError) -> Array:
    if isinstance(answer, MemoryError):
        raise answer
    (values,) = answer.values()
    return values


def _mean(found: Sequence[Array]) -> Array:
    return found[0] if len(found) == 1 else reduce(np.add, found) / np.float32(len(found))


def _value_of(window: Array) -> tuple[float, ...] | None:
    """The one value of each channel of (C, \\*patch); None where it holds more than one."""
    lowest = window.reshape(len(window), -1).min(axis=1)
    highest = window.reshape(len(window), -1).max(axis=1)
    return tuple(round(float(v), 4) for v in lowest) if float((highest - lowest).max()) <= _ONE_VALUE else None
