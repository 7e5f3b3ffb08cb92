"""Studies through a predictor, one after another, small ones together; what cannot be used is told and passed by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from osler.datasets.modality import modality_note
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
_TOO_LARGE = "the study does not fit into memory"
# A usage or dataset error while one study is read is about that study: an archive of many images, a grid that differs.
_ABOUT_ONE_STUDY = (StudyError, DatasetError, UsageError)


@dataclass(frozen=True)
class Answer(Generic[Key]):
    """What became of one study: its image, trace and output, or the problem.

    Args:
        key: what the caller knows the study by.
        problem: why there is no output; "" when there is one.
        seconds: wall clock of reading, preparing and predicting; of the last, its share of a common call.
        peak_mb: highest resident memory of the process meanwhile, in 10^6 bytes.
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
    def usable(self) -> tuple[Image, Trace, Any]:
        """Image, whole in memory, trace and output of a study without a problem.

        Raises:
            StudyError: when there was a problem.
        """
        if self.image is None or self.trace is None or self.output is None:
            raise StudyError(self.problem)
        return as_image(self.image), self.trace, self.output


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
        voxels = self.images[0].array.nbytes if isinstance(self.images[0], Image) else 0
        return int(voxels + (self.prepared.array.nbytes if self.prepared else 0))


def stream(
    predictor: Predictor,
    sources: Iterable[Source[Key]],
    *,
    logits: bool = False,
    cancel: CancelToken | None = None,
    into: Callable[[Key], Into] | None = None,
) -> Iterator[Answer[Key]]:
    """Answer studies in the order given; holds at most a few dozen small studies, or one large one, in memory.

    Args:
        predictor: entered.
        sources: a key and a function that reads the study's images in the order of the plan's channels.
        logits: give ``Predictor.logits`` instead of probabilities.
        cancel: once set, no further study is begun; those in hand are finished.
        into: by key, where the mask of a study that goes slab by slab goes; None keeps it in memory.
    """
    together = 1 if predictor.plan.task == "segment" else _TOGETHER
    held: list[_Ready[Key] | Answer[Key]] = []
    for key, load in sources:
        if cancel is not None and cancel.cancelled:
            break
        held.append(_load(key, load, predictor, whole=logits))
        if len(held) >= together or sum(o.bytes for o in held if isinstance(o, _Ready)) >= _TOGETHER_BYTES:
            yield from _answer(predictor, held, logits, into)
            held = []
    yield from _answer(predictor, held, logits, into)


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
    doubt = modality_note(images, predictor.plan)
    notes = (*((doubt,) if doubt else ()), *notes_of(images))
    return _Ready(key, images, prepared, meter.seconds, meter.peak_mb, notes)


def _answer(
    predictor: Predictor,
    held: Sequence[_Ready[Key] | Answer[Key]],
    logits: bool,
    into: Callable[[Key], Into] | None,
) -> Iterator[Answer[Key]]:
    ready = [one for one in held if isinstance(one, _Ready)]
    with Meter() as meter:
        outputs = iter(_outputs(predictor, ready, logits, into))
    share = meter.seconds / max(1, len(ready))
    for one in held:
        if isinstance(one, Answer):
            yield one
            continue
        output, seconds, peak = next(outputs), one.seconds + share, max(one.peak_mb, meter.peak_mb)
        if isinstance(output, str):
            yield Answer(one.key, output, seconds, peak)
        else:
            yield Answer(one.key, "", seconds, peak, one.images[0], *output, one.notes)


def _outputs(
    predictor: Predictor, studies: Sequence[_Ready[Key]], logits: bool, into: Callable[[Key], Into] | None
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
