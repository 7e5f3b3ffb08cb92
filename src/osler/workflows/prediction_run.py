"""``PredictionRun``: studies through a predictor to files; reading, the network, and writing overlap."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from osler.datasets.dataset import channel_of
from osler.datasets.plan import Plan
from osler.errors import Unsuitable
from osler.findings.finding import Findings
from osler.inference.decoders import DECODERS
from osler.inference.labelled import Labelled
from osler.inference.meter import Meter
from osler.inference.predictor import Predictor
from osler.inference.stream import Answer, stream
from osler.progress import CancelToken
from osler.report.files import write_study
from osler.report.pictures import picture_of
from osler.studies.discovery import Found
from osler.studies.image import Image
from osler.workflows.finished import Journal, SourceDigests
from osler.workflows.predictions import PredictedStudy

__all__ = ["PredictionRun", "read_channels"]

_MOST_WRITERS = 4
_WAITING = 8  # studies per thread that may wait to be written
_WAITING_BYTES = 1 << 27  # of their images and answers


_Waiting = deque[tuple[int, Future[PredictedStudy]]]


class PredictionRun:
    """The story: made with an entered predictor, ``over`` any number of times.

    Args:
        predictor: entered.
        place: where results go, a folder per study; None writes nothing.
        pictures: draw ``overlay.png`` of each.
        journal: gets each study whose files are all there.
        check: called with each study before it is read; raises a ``StudyError`` where it is better left out.
        threads: as many read, and as many write; 0 takes one of each per processor, within limits.
        say: gets one line when memory ran out and batches became smaller.
    """

    def __init__(
        self,
        predictor: Predictor,
        place: Path | None,
        *,
        pictures: bool = True,
        journal: Journal | None = None,
        check: Callable[[Found], None] | None = None,
        threads: int = 0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._predictor = predictor
        self._place = place
        self._pictures = pictures
        self._journal = journal
        self._check = check
        self._threads = threads
        self._say = say
        self._most: int | None = None
        self._digests = SourceDigests()
        self._sources: dict[str, str] = {}

    def over(
        self, found: Sequence[Found], *, cancel: CancelToken | None = None
    ) -> Generator[PredictedStudy, None, None]:
        """What becomes of each study, in order; one that cannot be used is among them, and the others go on.

        Args:
            found: studies of different names.
            cancel: once set, no further study is begun; those in hand are finished.

        Raises:
            StorageError: when results cannot be written.
        """
        writers = self._threads or min(_MOST_WRITERS, os.cpu_count() or 1)
        pool = ThreadPoolExecutor(writers, thread_name_prefix="osler-write")
        sources = ((study, partial(self._read, study)) for study in found)
        waiting: _Waiting = deque()
        try:
            for answer in stream(self._predictor, sources, threads=self._threads, cancel=cancel):
                self._tell_of_memory()
                waiting.append((_size_of(answer), pool.submit(self._finish, answer)))
                while waiting and (_is_full(waiting, writers) or waiting[0][1].done()):
                    yield waiting.popleft()[1].result()
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, study: Found) -> list[Image]:
        if self._check is not None:
            self._check(study)
        self._sources[study.name] = self._digests.of(study)
        return read_channels(study, self._predictor.plan)

    def _finish(self, answer: Answer[Found]) -> PredictedStudy:
        """Decode, draw and write one study; the journal is told last."""
        name, predictor = answer.key.name, self._predictor
        source = self._sources.pop(name, "")
        if answer.problem:
            return PredictedStudy(name, f"failed: {answer.problem}", answer.seconds, answer.peak_mb, {})
        image, trace, output = answer.usable
        plan = predictor.plan
        files: tuple[Path, ...] = ()
        with Meter() as meter:
            decoded = DECODERS[plan.task].decode(output, trace, plan, predictor.calibration)
            findings = Findings(
                study=name,
                model=predictor.model.info.name,
                task=plan.task,
                answer=decoded.answer,
                findings=decoded.findings,
                notes=(*answer.notes, *decoded.notes),
            )
            if self._place is not None:
                picture = picture_of(image, findings, plan.labels, mask=decoded.mask) if self._pictures else None
                files = write_study(self._place / name, findings, image=image, mask=decoded.mask, overlay=picture)
        kept = None
        if self._place is None and decoded.mask is not None:
            kept = replace(image, array=decoded.mask[None], units="", window=None)
        seconds, peak = answer.seconds + meter.seconds, max(answer.peak_mb, meter.peak_mb)
        done = PredictedStudy(
            name, "ok", seconds, peak, decoded.row, findings, kept, files, answer.notes, source=source
        )
        if self._journal is not None:
            self._journal.add(done)
        return done

    def _tell_of_memory(self) -> None:
        most = self._predictor.most_at_once
        if most != self._most and self._say is not None:
            self._say(f"memory ran out: from here on at most {most} at once go through the network")
        self._most = most


def read_channels(found: Found, plan: Plan) -> list[Image]:
    """Read a study's images in the order of the plan's channels.

    Channels are matched by name; where the names differ (files numbered ``_0000``, ``_0001``), by order.

    Raises:
        Unsuitable: when there are not as many images as channels.
        StudyError: when one cannot be read.
    """
    if set(found.paths) == set(plan.channels):
        return [found.read(name) for name in plan.channels]
    if len(found.paths) == 1 and len(plan.channels) > 1:  # one file that holds all channels
        image = found.read(next(iter(found.paths)))
        if len(image.array) == len(plan.channels):
            return [channel_of(image, n) for n in range(len(plan.channels))]
    if len(found.paths) != len(plan.channels):
        raise Unsuitable(
            f"the study has the images {', '.join(found.paths)}, and the model needs {', '.join(plan.channels)}",
            remedy="give one image per channel, named <study>_0000, <study>_0001 and so on",
        )
    return [found.read(name) for name in found.paths]


def _is_full(waiting: _Waiting, writers: int) -> bool:
    return len(waiting) > _WAITING * writers or sum(size for size, _ in waiting) > _WAITING_BYTES


def _size_of(answer: Answer[Found]) -> int:
    """Bytes that are held until it is written."""
    image = 0 if answer.image is None else answer.image.array.nbytes
    output = answer.output.mask if isinstance(answer.output, Labelled) else answer.output
    return image + (0 if output is None else output.nbytes)
