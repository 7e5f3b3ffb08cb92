"""Studies through a predictor: some are read while others are in the network, small ones go through it together.

What cannot be used is told and passed by. Answers come in the order of the studies, and are the same however many
threads read and however many batches are under way.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np

from osler.datasets.modality import modality_note
from osler.datasets.plan import Plan
from osler.datasets.preparation import Prepared, Trace, prepare
from osler.errors import DatasetError, StudyError, UsageError
from osler.inference.labelled import Into, Labelled
from osler.inference.meter import Meter
from osler.inference.predictor import Predictor
from osler.progress import CancelToken
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.notes import notes_of
from osler.studies.volume import ImageLike, as_image

__all__ = ["Answer", "Loader", "Source", "stream"]

Key = TypeVar("Key")
Loader = Callable[[], Sequence[ImageLike]]
Source = tuple[Key, Loader]

_TOGETHER = 32  # small studies that go through the network at once
_TOGETHER_BYTES = 1 << 26  # of their images and prepared arrays
_AHEAD = 96  # studies that may wait to be predicted
_AHEAD_BYTES = 1 << 27  # of these
_MOST_READERS = 8
_TOO_LARGE = "the study does not fit into memory"
# A usage or dataset error while one study is read is about that study: an archive of many images, a grid that differs.
_ABOUT_ONE_STUDY = (StudyError, DatasetError, UsageError)


@dataclass(frozen=True)
class Answer(Generic[Key]):
    """What became of one study: its image, trace and output, or the problem.

    Args:
        key: what the caller knows the study by.
        problem: why there is no output; "" when there is one.
        seconds: wall clock of reading, preparing and predicting; of the last, its share of a common call. Studies
            overlap, so that all together take less than the sum.
        peak_mb: highest resident memory of the process meanwhile, in 10^6 bytes; also of what it did for other studies.
        image: the first channel, on the source grid.
        trace: what preparation did to the grid.
        output: probabilities (O,) or (O, \\*trace.padded_shape); logits where those were asked for; ``Labelled`` of a
            study that went through slab by slab.
        notes: what the user should check about it, and what the reader says of how it was read.
    """

    key: Key
    problem: str
    seconds: float
    peak_mb: float
    image: ImageLike | None = None
    trace: Trace | None = None
    output: Array | Labelled | None = None
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[ImageLike, Trace, Any]:
        """Image, which may be on disk, trace and output of a study without a problem.

        Raises:
            StudyError: when there was a problem.
        """
        if self.image is None or self.trace is None or self.output is None:
            raise StudyError(self.problem)
        return self.image, self.trace, self.output

    @property
    def usable(self) -> tuple[Image, Trace, Any]:
        """Image, whole in memory, trace and output of a study without a problem.

        Raises:
            StudyError: when there was a problem.
        """
        image, trace, output = self.parts
        return as_image(image), trace, output


@dataclass(frozen=True)
class _Ready(Generic[Key]):
    """A study that was read; ``prepared`` is None where it will be prepared slab by slab."""

    key: Key
    images: Sequence[ImageLike]
    prepared: Prepared | None
    seconds: float
    peak_mb: float
    notes: tuple[str, ...]

    @property
    def bytes(self) -> int:
        images = sum(image.array.nbytes for image in self.images if isinstance(image, Image))
        return int(images + (self.prepared.array.nbytes if self.prepared else 0))


def stream(
    predictor: Predictor,
    sources: Iterable[Source[Key]],
    *,
    logits: bool = False,
    threads: int = 0,
    cancel: CancelToken | None = None,
    into: Callable[[Key], Into] | None = None,
) -> Iterator[Answer[Key]]:
    """Answer studies in the order given; holds a hundred small studies, or one or two large ones, in memory.

    Args:
        predictor: entered.
        sources: a key and a function that reads the study's images in the order of the plan's channels; it is called
            in a thread.
        logits: give ``Predictor.logits`` instead of probabilities.
        threads: how many read and prepare; 0 takes one per processor, at most eight.
        cancel: once set, no further study is begun; those in the network are finished.
        into: by key, where the mask of a study that goes slab by slab goes; None keeps it in memory.
    """
    loaded = _read_ahead(sources, partial(_load, predictor=predictor, whole=logits), threads, cancel)
    if predictor.plan.task == "segment":
        for one in loaded:
            yield from _answer(predictor, [one], logits, into)
    else:
        yield from _together(predictor, _groups(loaded), logits)


def _read_ahead(
    sources: Iterable[Source[Key]],
    load: Callable[[Key, Loader], _Ready[Key] | Answer[Key]],
    threads: int,
    cancel: CancelToken | None,
) -> Iterator[_Ready[Key] | Answer[Key]]:
    """Load studies in threads, in order. How many are ahead depends on the largest so far: the first one is alone."""
    pool = ThreadPoolExecutor(threads or min(_MOST_READERS, os.cpu_count() or 1), thread_name_prefix="osler-read")
    waiting: deque[Future[_Ready[Key] | Answer[Key]]] = deque()
    ahead, largest = 0, 1
    try:
        for key, loader in sources:
            if cancel is not None and cancel.cancelled:
                return
            waiting.append(pool.submit(load, key, loader))
            while len(waiting) > ahead:
                one = waiting.popleft().result()
                if isinstance(one, _Ready):
                    largest = max(largest, one.bytes)
                    ahead = min(_AHEAD, _AHEAD_BYTES // largest)
                yield one
        while waiting and not (cancel is not None and cancel.cancelled):
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _load(key: Key, load: Loader, predictor: Predictor, *, whole: bool) -> _Ready[Key] | Answer[Key]:
    problem = ""
    with Meter() as meter:
        try:
            images = load()
            prepared = None
            if whole or not predictor.takes_slabs(images):
                images = read = [as_image(image) for image in images]
                prepared = prepare(read, predictor.plan)
        except _ABOUT_ONE_STUDY as error:
            problem = str(error)
        except MemoryError:
            problem = _TOO_LARGE
    if problem:
        return Answer(key, problem, meter.seconds, meter.peak_mb)
    doubts = (modality_note(images, predictor.plan), _thinness(images, predictor.plan))
    notes = (*(doubt for doubt in doubts if doubt), *notes_of(images))
    return _Ready(key, images, prepared, meter.seconds, meter.peak_mb, notes)


def _thinness(images: Sequence[ImageLike], plan: Plan) -> str:
    """What to say of a single plane that goes through a network for volumes; "" of anything else."""
    if plan.dimensions == 3 and any(1 in image.shape for image in images):
        return "the study is a single slice, and the model is for volumes: do not rely on what it says"
    return ""


_Held = list[_Ready[Key] | Answer[Key]]


def _groups(loaded: Iterable[_Ready[Key] | Answer[Key]]) -> Iterator[_Held[Key]]:
    """Studies that follow each other and have one prepared shape, with those between them that could not be read."""
    held: _Held[Key] = []
    first: _Ready[Key] | None = None
    count = size = 0
    for one in loaded:
        if isinstance(one, _Ready):
            if first is not None and (count >= _TOGETHER or size >= _TOGETHER_BYTES or not _alike(first, one)):
                yield held
                held, first, count, size = [], None, 0, 0
            first, count, size = first or one, count + 1, size + one.bytes
        held.append(one)
    if held:
        yield held


def _alike(one: _Ready[Key], other: _Ready[Key]) -> bool:
    return _array(one).shape == _array(other).shape


def _array(one: _Ready[Key]) -> Array:
    if one.prepared is None:
        raise UsageError("only masks are predicted in slabs")
    return one.prepared.array


class _Waiting:
    """Counts the seconds that are spent on waiting for the next of something."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, groups: Iterable[_Held[Key]]) -> Iterator[_Held[Key]]:
        """The same groups."""
        source = iter(groups)
        while True:
            begun = time.perf_counter()
            group = next(source, None)
            self.seconds += time.perf_counter() - begun
            if group is None:
                return
            yield group


def _together(predictor: Predictor, groups: Iterable[_Held[Key]], logits: bool) -> Iterator[Answer[Key]]:
    """Answer groups, several of which are under way at once; one that is large goes alone."""
    source = iter(groups)
    while True:
        large: list[_Held[Key]] = []
        yield from _under_way(predictor, _small(source, large), logits)
        if not large:
            return
        yield from _answer(predictor, large.pop(), logits)


def _small(source: Iterator[_Held[Key]], large: list[_Held[Key]]) -> Iterator[_Held[Key]]:
    """Groups up to the first large one, which goes to ``large``."""
    for group in source:
        if sum(one.bytes for one in group if isinstance(one, _Ready)) >= _TOGETHER_BYTES:
            large.append(group)
            return
        yield group


def _under_way(predictor: Predictor, groups: Iterator[_Held[Key]], logits: bool) -> Iterator[Answer[Key]]:
    under_way: deque[_Held[Key]] = deque()
    waited = _Waiting()

    def stacks() -> Iterator[Array]:
        for group in waited.of(groups):
            under_way.append(group)
            ready = [_array(one) for one in group if isinstance(one, _Ready)]
            if ready:
                yield np.stack(ready)

    answers = predictor.in_flight(stacks(), logits=logits)
    while True:
        before = waited.seconds
        with Meter() as meter:
            found = next(answers, None)
            if found is None:
                break
            group = under_way.popleft()
            ready = [one for one in group if isinstance(one, _Ready)]
            outputs = _outputs_of(predictor, ready, found, logits)
        share = max(0.0, meter.seconds - (waited.seconds - before)) / len(ready)
        yield from _in_order(group, outputs, share, meter.peak_mb)
    for group in under_way:  # the last one, when none in it could be read
        yield from _in_order(group, [], 0.0, 0.0)


def _outputs_of(
    predictor: Predictor, ready: Sequence[_Ready[Key]], found: list[Array] | MemoryError, logits: bool
) -> Sequence[tuple[Trace, Array | Labelled] | str]:
    """What came back of a stack; where that is nothing useful, its studies are run once more, apart."""
    if isinstance(found, MemoryError) or not all(np.isfinite(one).all() for one in found):
        return _outputs(predictor, ready, logits)
    traces = [one.prepared.trace for one in ready if one.prepared is not None]
    return list(zip(traces, found, strict=True))


def _answer(
    predictor: Predictor, held: _Held[Key], logits: bool, into: Callable[[Key], Into] | None = None
) -> Iterator[Answer[Key]]:
    ready = [one for one in held if isinstance(one, _Ready)]
    with Meter() as meter:
        outputs = _outputs(predictor, ready, logits, into) if ready else []
    yield from _in_order(held, outputs, meter.seconds / max(1, len(ready)), meter.peak_mb)


def _in_order(
    held: _Held[Key], outputs: Sequence[tuple[Trace, Array | Labelled] | str], share: float, peak_mb: float
) -> Iterator[Answer[Key]]:
    found = iter(outputs)
    for one in held:
        if isinstance(one, Answer):
            yield one
            continue
        output, seconds, peak = next(found), one.seconds + share, max(one.peak_mb, peak_mb)
        if isinstance(output, str):
            yield Answer(one.key, output, seconds, peak)
        else:
            yield Answer(one.key, "", seconds, peak, one.images[0], *output, one.notes)


def _outputs(
    predictor: Predictor,
    studies: Sequence[_Ready[Key]],
    logits: bool,
    into: Callable[[Key], Into] | None = None,
) -> list[tuple[Trace, Array | Labelled] | str]:
    """Trace and output of each study, or why there is none; one that spoils a common call does not spoil the others."""
    try:
        whole = [study.prepared for study in studies if study.prepared is not None]
        arrays = iter(predictor.logits_many(whole) if logits else predictor.predict_many(whole))
        return [
            predictor.label(study.images, into=None if into is None else into(study.key))
            if study.prepared is None
            else (study.prepared.trace, next(arrays))
            for study in studies
        ]
    except StudyError as error:
        problem = str(error)
    except MemoryError:
        problem = _TOO_LARGE
    if len(studies) == 1:
        return [problem]
    return [output for study in studies for output in _outputs(predictor, [study], logits, into)]
