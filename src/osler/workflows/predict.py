"""From a model folder and studies to findings, masks and pictures. Starts in about a second; no torch.

Reading, the network, and writing overlap; each has its own threads and holds a few studies at most.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from osler.errors import UsageError
from osler.inference.decoders import DECODERS
from osler.inference.engines import DEFAULT_ENGINE, Precision
from osler.inference.predictor import Predictor
from osler.models.folder import Model
from osler.progress import CancelToken, Progress, Silent
from osler.report.files import ensure_free, output_folder, write_summary
from osler.studies.discovery import Found, find_studies
from osler.workflows.finished import JOURNAL, Journal, Origin
from osler.workflows.prediction_run import PredictionRun, read_channels
from osler.workflows.predictions import PredictedStudy, Predictions

__all__ = ["PredictedStudy", "Predictions", "predict", "read_channels"]

_STAGE = "predicting"


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
        precision: None takes float32, or bf16 where training checked that it answers the same.
        mirror: average over mirrored copies too.
        every_window: run the network also on windows that hold one value only, as the air around a patient does.
        pictures: draw ``overlay.png`` of each study.
        threads: of the network, and as many that read and that write; 0 lets the engine decide. Answers are the same.
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
    model = model if isinstance(model, Model) else Model.open(model)
    found = find_studies([paths] if isinstance(paths, str | os.PathLike) else list(paths))
    place = None if output is None else Path(output)
    if place is not None and not (resume and (place / JOURNAL).exists()):
        ensure_free(place, [study.name for study in found], force=force)
    predictor = Predictor(
        model, engine=engine, precision=precision, mirror=mirror, every_window=every_window, threads=threads
    )
    settings = {"engine": engine, "precision": predictor.precision, "mirror": mirror, "every_window": every_window}
    origin = Origin(model=model.info.name, digest=model.info.digest, settings=settings)
    with predictor, output_folder(place):
        journal = None if place is None else (Journal.go_on if resume else Journal.begin)(place, origin)
        done = {} if journal is None else journal.finished(found)
        left = [study for study in found if study.name not in done]
        run = PredictionRun(predictor, place, pictures=pictures, journal=journal, threads=threads, say=sink.say)
        table = _Table(place, DECODERS[model.plan.task].columns(model.plan), sink)
        with closing(run.over(left, cancel=cancel)) as new:
            done = table.fill(found, done, new)
    unreached = [study.name for study in found if study.name not in done]
    return Predictions([done[s.name] for s in found if s.name in done], unreached=unreached, output=place)


@dataclass(frozen=True)
class _Table:
    """Tells what became of each study, and writes the table at the end."""

    place: Path | None
    columns: Sequence[str]
    sink: Progress

    def fill(
        self, found: Sequence[Found], done: dict[str, PredictedStudy], new: Iterable[PredictedStudy]
    ) -> dict[str, PredictedStudy]:
        """``done`` with what is new; the table is written also when something stops the work in between."""
        if done:
            self.sink.say(f"{len(done)} of {len(found)} studies were finished by an earlier run")
        self.sink.start(_STAGE, len(found) - len(done), "studies")
        try:
            for one in new:
                done[one.name] = one
                self.sink.advance(_STAGE, 1, one.name)
                if one.findings is None:
                    self.sink.say(f"{one.name} {one.status}")
        finally:
            if self.place is not None and done:
                rows = [done[study.name].row for study in found if study.name in done]
                write_summary(self.place / "summary.csv", rows, columns=self.columns)
            self.sink.finish(_STAGE)
        return done
