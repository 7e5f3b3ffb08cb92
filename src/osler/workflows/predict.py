"""From a model folder and studies to findings, masks and pictures. Starts in about a second; no torch.

Reading, the network, and writing overlap; each has its own threads and holds a few studies at most.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.datasets.free_memory import resident_memory
from osler.errors import UsageError
from osler.inference.constants import constants_of, known_constants
from osler.inference.decoders import DECODERS
from osler.inference.engines import DEFAULT_ENGINE, Precision
from osler.inference.predictor import Predictor
from osler.models.folder import Model
from osler.progress import CancelToken, Progress, Silent
from osler.report.files import ensure_free, output_folder, write_summary
from osler.studies.discovery import Found, find_studies
from osler.studies.files import JOURNAL
from osler.workflows.estimate import Estimates, Gauge
from osler.workflows.finished import Journal, Origin
from osler.workflows.prediction_run import PredictionRun, read_channels
from osler.workflows.predictions import PredictedStudy, Predictions

__all__ = ["Estimates", "PredictedStudy", "Predictions", "estimate", "predict", "read_channels"]

_STAGE = "predicting"
_SAMPLE = 64  # studies whose headers are looked at before a run begins
_WORTH_MEASURING = 128  # windows from which on a run is long enough to measure the network first


def predict(
    model: Model | str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    output: str | Path | None = None,
    force: bool = False,
    resume: bool = False,
    engine: str = DEFAULT_ENGINE,
    precision: Precision | None = None,
    mirror: bool = False,
    every_window: bool = False,
    pictures: bool = True,
    threads: int = 0,
    memory: int | None = None,
    workers: str = "",
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Predictions:
    """Predict studies. One that cannot be used is reported and the others go on; a stop keeps what is finished.

    Args:
        model: a model folder.
        paths: files, DICOM folders, or folders of them.
        output: where ``<study>/findings.json``, the mask, ``overlay.png`` and ``summary.csv`` go; None writes nothing.
        force: overwrite results of the same names.
        resume: go on with the run that was stopped: what it finished is kept, if it was finished with this model, these
            settings and from files that have not changed since. Studies that failed are tried again.
        engine: a name on the list of engines.
        precision: None takes the fastest that the processor offers and the model's parity record allows.
        mirror: average over mirrored copies too.
        every_window: run the network on every window of a volume, also those of air and those that a coarse pass rules
            out.
        pictures: draw ``overlay.png`` of each study.
        threads: of the network, and as many that read and that write; 0 lets the engine decide. Answers are the same.
        memory: bytes that the process may have; None takes what is free. A study that needs more goes through the
            network in smaller batches, or is refused with the figure.
        workers: ``ray://HOST:PORT`` has the workers of a Ray cluster predict, which must see model, studies and output
            under the same paths; ``ray`` starts one on this machine for as long as the run takes.
        progress: where to tell; None is silent.
        cancel: asked between studies.

    Raises:
        PathNotFound, UsageError: when a path does not exist or holds no study.
        OutputExists: before any work, when a result would be overwritten, or ``resume`` finds another run's.
        Unknown, MissingExtra: when the engine cannot be had; nothing was written then.
        ModelError: when the model folder is damaged.
        StorageError: when the disk is full or ``output`` cannot be written.
    """
    if force and resume:
        raise UsageError("force and resume exclude each other", remedy="leave one of them out")
    sink = progress or Silent()
    predictor, found = _opened(model, paths, engine, precision, mirror, every_window, threads)
    if predictor.choice.note:
        sink.say(predictor.choice.note)
    place = None if output is None else Path(output)
    if place is not None and not (resume and (place / JOURNAL).exists()):
        ensure_free(place, [study.name for study in found], force=force)
    settings = {"engine": engine, "precision": predictor.precision, "mirror": mirror, "every_window": every_window}
    asked = _Asked(predictor, found, place, settings, resume, pictures, threads, memory, sink, cancel)
    done = asked.over_cluster(workers) if workers else asked.here()
    unreached = [study.name for study in found if study.name not in done]
    return Predictions([done[s.name] for s in found if s.name in done], unreached=unreached, output=place)


def estimate(
    model: Model | str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    engine: str = DEFAULT_ENGINE,
    precision: Precision | None = None,
    mirror: bool = False,
    every_window: bool = False,
    threads: int = 0,
    memory: int | None = None,
) -> Estimates:
    """What ``predict`` would take, without predicting; arguments and errors as there.

    Where this model was never measured on this machine, its network runs four times now.
    """
    predictor, found = _opened(model, paths, engine, precision, mirror, every_window, threads)
    with predictor:
        base = resident_memory()
        return Gauge(predictor, constants_of(predictor), memory=memory, base=base, count=len(found)).estimates(found)


def _opened(
    model: Model | str | Path,
    paths: str | Path | Sequence[str | Path],
    engine: str,
    precision: Precision | None,
    mirror: bool,
    every_window: bool,
    threads: int,
) -> tuple[Predictor, list[Found]]:
    model = model if isinstance(model, Model) else Model.open(model)
    found = find_studies([paths] if isinstance(paths, str | os.PathLike) else list(paths))
    predictor = Predictor(
        model, engine=engine, precision=precision, mirror=mirror, every_window=every_window, threads=threads
    )
    return predictor, found


def _gauge(predictor: Predictor, found: Sequence[Found], memory: int | None, sink: Progress) -> Gauge:
    """Says what the run will take, where that is known or the run is long enough for measuring it."""
    base = resident_memory()
    known = known_constants(predictor)
    rough = Gauge(predictor, known, memory=memory, base=base, count=len(found), say=sink.say)
    estimates = rough.estimates(found, most=_SAMPLE)
    if known is None and estimates.windows >= _WORTH_MEASURING:
        known = constants_of(predictor)
        rough = Gauge(predictor, known, memory=memory, base=base, count=len(found), say=sink.say)
        estimates = rough.estimates(found, most=_SAMPLE)
    if known is not None and found:
        sink.say(estimates.headline())
    return rough


@dataclass(frozen=True)
class _Asked:
    """What was asked for, and how it is done: on this machine or over a cluster."""

    predictor: Predictor
    found: Sequence[Found]
    place: Path | None
    settings: dict[str, Any]
    resume: bool
    pictures: bool
    threads: int
    memory: int | None
    sink: Progress
    cancel: CancelToken | None

    def here(self) -> dict[str, PredictedStudy]:
        """What became of the studies that were reached, by name."""
        with self.predictor, output_folder(self.place):
            journal = None if self.place is None else self._journal(self.place)
            done = self._finished(journal)
            left = [study for study in self.found if study.name not in done]
            gauge = _gauge(self.predictor, left, self.memory, self.sink)
            check = gauge.check if self._masks else None
            run = PredictionRun(
                self.predictor,
                self.place,
                pictures=self.pictures,
                journal=journal,
                check=check,
                threads=self.threads,
                say=self.sink.say,
            )
            with closing(run.over(left, cancel=self.cancel)) as new:
                self._fill(done, new)
            gauge.learn(done[study.name] for study in left if study.name in done)
        return done

    def over_cluster(self, workers: str) -> dict[str, PredictedStudy]:
        """The same, by workers of a Ray cluster."""
        from osler.workflows.cluster import ClusterRun, WorkerSetup

        if self.place is None:
            raise UsageError("workers write their results themselves", remedy="say with output where to")
        setup = WorkerSetup(
            model=self.predictor.model.path.absolute(),
            digest=self.predictor.model.info.digest,
            place=self.place.absolute(),
            pictures=self.pictures,
            threads=self.threads,
            memory=self.memory,
            **self.settings,
        )
        with output_folder(self.place):
            journal = self._journal(self.place)
            done = self._finished(journal)
            left = [study for study in self.found if study.name not in done]
            cluster = ClusterRun(workers, setup, journal=journal, together=not self._masks, say=self.sink.say)
            with cluster, closing(cluster.over(left, cancel=self.cancel)) as new:
                self._fill(done, new)
        return done

    @property
    def _masks(self) -> bool:
        return self.predictor.plan.task == "segment"

    def _journal(self, place: Path) -> Journal:
        info = self.predictor.model.info
        origin = Origin(model=info.name, digest=info.digest, settings=self.settings)
        return Journal.go_on(place, origin) if self.resume else Journal.begin(place, origin)

    def _finished(self, journal: Journal | None) -> dict[str, PredictedStudy]:
        """By an earlier run, by name."""
        done = {} if journal is None else journal.finished(self.found)
        if done:
            self.sink.say(f"{len(done)} of {len(self.found)} studies were finished by an earlier run")
        return done

    def _fill(self, done: dict[str, PredictedStudy], new: Iterable[PredictedStudy]) -> None:
        """Add what is new to ``done``; the table is written also when something stops the work in between."""
        self.sink.start(_STAGE, len(self.found) - len(done), "studies")
        try:
            for one in new:
                done[one.name] = one
                self.sink.advance(_STAGE, 1, one.name)
                if one.findings is None:
                    self.sink.say(f"{one.name} {one.status}")
        finally:
            if self.place is not None and done:
                plan = self.predictor.plan
                rows = [done[study.name].row for study in self.found if study.name in done]
                write_summary(self.place / "summary.csv", rows, columns=DECODERS[plan.task].columns(plan))
            self.sink.finish(_STAGE)
