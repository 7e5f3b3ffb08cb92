"""``PredictionRun``: studies through a predictor to files; reading, the network, and writing overlap."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from osler.datasets.dataset import channel_of
from osler.datasets.plan import Plan
from osler.errors import Unsuitable
from osler.findings.finding import Findings
from osler.inference.decoders import DECODERS
from osler.inference.labelled import Into, Labelled
from osler.inference.meter import Meter
from osler.inference.predictor import Predictor
from osler.inference.stream import Answer, stream
from osler.progress import CancelToken
from osler.report.files import write_study
from osler.report.mask_file import MaskFile
from osler.report.pictures import picture_of, picture_of_planes
from osler.studies.discovery import Found
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.volume import ImageLike, alike, as_image
from osler.workflows.finished import Journal, SourceDigests
from osler.workflows.predictions import PredictedStudy

__all__ = ["PredictionRun", "open_channels", "read_channels"]

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
        self._masks: dict[str, MaskFile] = {}

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
            into = None if self._place is None else self._into
            answers = stream(self._predictor, sources, threads=self._threads, cancel=cancel, into=into)
            for answer in answers:
                self._tell_of_memory()
                waiting.append((_size_of(answer), pool.submit(self._finish, answer)))
                while waiting and (_is_full(waiting, writers) or waiting[0][1].done()):
                    yield waiting.popleft()[1].result()
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            for mask in self._masks.values():  # of studies that were not finished any more
                mask.abandon()
            self._masks.clear()

    def _into(self, study: Found) -> Into:
        """Where the mask of a study is written while it is made."""

        def begin(image: ImageLike, dtype: np.dtype[Any]) -> MaskFile:
            folder = (self._place or Path()) / study.name
            self._masks[study.name] = MaskFile(folder, image, dtype)
            return self._masks[study.name]

        return begin

    def _read(self, study: Found) -> list[ImageLike]:
        if self._check is not None:
            self._check(study)
        self._sources[study.name] = self._digests.of(study)
        return open_channels(study, self._predictor.plan)

    def _finish(self, answer: Answer[Found]) -> PredictedStudy:
        """Decode, draw and write one study; the journal is told last."""
        name, predictor = answer.key.name, self._predictor
        source = self._sources.pop(name, "")
        if answer.problem:
            return PredictedStudy(name, f"failed: {answer.problem}", answer.seconds, answer.peak_mb, {})
        image, trace, output = answer.parts
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
                files = self._write(self._place / name, findings, image, decoded.mask, output)
        kept = None
        if self._place is None and decoded.mask is not None:
            kept = alike(image, decoded.mask[None], units="", window=None)
        seconds, peak = answer.seconds + meter.seconds, max(answer.peak_mb, meter.peak_mb)
        done = PredictedStudy(
            name, "ok", seconds, peak, decoded.row, findings, kept, files, answer.notes, source=source
        )
        if self._journal is not None:
            self._journal.add(done)
        return done

    def _write(
        self, folder: Path, findings: Findings, image: ImageLike, mask: Array | None, output: Any
    ) -> tuple[Path, ...]:
        """Picture, mask and findings; a mask that was written while it was made gets its name."""
        labels, file = self._predictor.plan.labels, self._masks.get(findings.study)
        if file is not None and isinstance(output, Labelled) and output.sink is file:
            counts = output.profiles()
            picture = (
                picture_of_planes(image, findings, labels, mask=file.volume(), counts=counts)
                if self._pictures
                else None
            )
            written = write_study(folder, findings, image=image, mask=file, overlay=picture)
            del self._masks[findings.study]
            return written
        whole = as_image(image)
        picture = picture_of(whole, findings, labels, mask=mask) if self._pictures else None
        return write_study(folder, findings, image=whole, mask=mask, overlay=picture)

    def _tell_of_memory(self) -> None:
        most = self._predictor.most_at_once
        if most != self._most and self._say is not None:
            self._say(f"memory ran out: from here on at most {most} at once go through the network")
        self._most = most


def read_channels(found: Found, plan: Plan) -> list[Image]:
    """A study's images in the order of the plan's channels, whole in memory; as ``open_channels`` otherwise."""
    return [as_image(image) for image in open_channels(found, plan)]


def open_channels(found: Found, plan: Plan) -> list[ImageLike]:
    """A study's images in the order of the plan's channels, to be read plane by plane where they can be.

    Channels are matched by name; where the names differ (files numbered ``_0000``, ``_0001``), by order.

    Raises:
        Unsuitable: when there are not as many images as channels.
        StudyError: when one cannot be read.
    """
    if set(found.paths) == set(plan.channels):
        return [found.open(name) for name in plan.channels]
    if len(found.paths) == 1 and len(plan.channels) > 1:  # one file that holds all channels
        image = found.open(next(iter(found.paths)))
        if isinstance(image, Image) and image.channels == len(plan.channels):
            return [channel_of(image, n) for n in range(len(plan.channels))]
    if len(found.paths) != len(plan.channels):
        raise Unsuitable(
            f"the study has the images {', '.join(found.paths)}, and the model needs {', '.join(plan.channels)}",
            remedy="give one image per channel, named <study>_0000, <study>_0001 and so on",
        )
    return [found.open(name) for name in found.paths]


def _is_full(waiting: _Waiting, writers: int) -> bool:
    return len(waiting) > _WAITING * writers or sum(size for size, _ in waiting) > _WAITING_BYTES


def _size_of(answer: Answer[Found]) -> int:
    """Bytes that are held until it is written."""
    image = answer.image.array.nbytes if isinstance(answer.image, Image) else 0
    output = answer.output.mask if isinstance(answer.output, Labelled) else answer.output
    return image + (0 if output is None else output.nbytes)
