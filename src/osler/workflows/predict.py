"""From a model folder and studies to findings, masks and pictures. Starts in about a second; no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, overload

from osler.datasets.dataset import channel_of
from osler.datasets.plan import Plan
from osler.errors import Unsuitable
from osler.findings.finding import Findings
from osler.inference.decoders import DECODERS, Cell
from osler.inference.engines import DEFAULT_ENGINE, Precision
from osler.inference.meter import Meter
from osler.inference.predictor import Predictor
from osler.inference.stream import Answer, stream
from osler.models.folder import Model
from osler.progress import CancelToken, Progress, Silent
from osler.report.files import SummaryRow, ensure_free, output_folder, write_study, write_summary
from osler.report.pictures import picture_of
from osler.studies.discovery import Found, find_studies
from osler.studies.image import Image
from osler.studies.notes import grouped_notes

__all__ = ["PredictedStudy", "Predictions", "predict", "read_channels"]

_STAGE = "predicting"
_MOST_FAILED = 20  # named in the summary; the table has them all
_MOST_NAMED = 3  # in a note about several studies
_NOT_REACHED = "not reached: the run was stopped"


@dataclass(frozen=True)
class PredictedStudy:
    """What became of one study.

    Args:
        name: of the study, and of its folder in the output.
        status: ``ok`` or ``failed: <reason>``.
        seconds: wall clock; for small studies predicted together, its share.
        peak_mb: highest resident memory of the process meanwhile, in 10^6 bytes.
        cells: its columns of ``summary.csv``.
        findings: None when it failed.
        mask: on the study's source grid, the data set's values; only when nothing was written to disk.
        files: what was written.
        notes: what the user should check about it.
    """

    name: str
    status: str
    seconds: float
    peak_mb: float
    cells: dict[str, Cell]
    findings: Findings | None = None
    mask: Image | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


class Predictions(Sequence[Findings]):
    """The findings of the studies that could be predicted, in order; ``failed`` holds the others with the reason.

    Args:
        studies: every study that was taken up.
        unreached: names of those that were not, because the run was stopped.
        output: where the results lie; None when they were not written.
    """

    def __init__(
        self, studies: Sequence[PredictedStudy], *, unreached: Sequence[str] = (), output: Path | None = None
    ) -> None:
        self.studies = tuple(studies)
        self.unreached = tuple(unreached)
        self.output = output
        self._findings = tuple(study.findings for study in studies if study.findings is not None)

    def __repr__(self) -> str:
        return f"Predictions({len(self)} of {len(self.studies) + len(self.unreached)} studies, output={self.output})"

    def __len__(self) -> int:
        return len(self._findings)

    @overload
    def __getitem__(self, index: int) -> Findings: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Findings, ...]: ...

    def __getitem__(self, index: int | slice) -> Findings | tuple[Findings, ...]:
        return self._findings[index]

    @property
    def failed(self) -> dict[str, str]:
        """Reason by name of each study without findings."""
        reasons = {s.name: s.status.removeprefix("failed: ") for s in self.studies if s.findings is None}
        return {**reasons, **dict.fromkeys(self.unreached, _NOT_REACHED)}

    @property
    def notes(self) -> dict[str, list[str]]:
        """What to check and how they were read, with the names of the studies that it is about."""
        grouped = grouped_notes({study.name: study.notes for study in self.studies})
        return {note: list(names) for note, names in grouped.items()}

    def summary(self) -> list[str]:
        """Lines for a person."""
        total = len(self.studies) + len(self.unreached)
        lines = [f"{len(self)} of {total} {'study' if total == 1 else 'studies'} predicted"]
        if self.output is not None:
            lines.append(f"results in {self.output}, as a table in {self.output / 'summary.csv'}")
        lines += [f"note on {_listed(names)}: {note}" for note, names in self.notes.items()]
        failed = list(self.failed.items())
        lines += [f"failed: {name}: {reason}" for name, reason in failed[:_MOST_FAILED]]
        return lines if len(failed) <= _MOST_FAILED else [*lines, f"and {len(failed) - _MOST_FAILED} more failed"]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "output": None if self.output is None else str(self.output),
            "studies": [
                {"study": s.name, "status": s.status, "seconds": s.seconds, "peak_mb": s.peak_mb, **s.cells}
                for s in self.studies
            ],
            "failed": self.failed,
            "notes": self.notes,
        }


def predict(
    model: Model | str | Path,
    paths: str | Path | Sequence[str | Path],
    *,
    output: str | Path | None = None,
    force: bool = False,
    engine: str = DEFAULT_ENGINE,
    precision: Precision | None = None,
    mirror: bool = False,
    every_window: bool = False,
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
        engine: a name on the list of engines.
        precision: None takes float32, or bf16 where training checked that it answers the same.
        mirror: average over mirrored copies too.
        every_window: run the network on every window of a volume, also those of air and those that a coarse pass rules
            out.
        threads: 0 lets the engine decide.
        progress: where to tell; None is silent.
        cancel: asked between studies.

    Raises:
        PathNotFound, UsageError: when a path does not exist or holds no study.
        OutputExists: before any work, when a result would be overwritten.
        Unknown, MissingExtra: when the engine cannot be had; nothing was written then.
        ModelError: when the model folder is damaged.
        StorageError: when the disk is full or ``output`` cannot be written.
    """
    model = model if isinstance(model, Model) else Model.open(model)
    found = find_studies([paths] if isinstance(paths, str | os.PathLike) else list(paths))
    place = None if output is None else Path(output)
    if place is not None:
        ensure_free(place, [study.name for study in found], force=force)
    predictor = Predictor(
        model, engine=engine, precision=precision, mirror=mirror, every_window=every_window, threads=threads
    )
    with predictor, output_folder(place):
        done = _predict_all(predictor, found, place, progress or Silent(), cancel)
    return Predictions(done, unreached=[study.name for study in found[len(done) :]], output=place)


def _predict_all(
    predictor: Predictor, found: Sequence[Found], place: Path | None, sink: Progress, cancel: CancelToken | None
) -> list[PredictedStudy]:
    """All studies; the table is written also when something stops the work in between."""
    plan = predictor.plan
    done: list[PredictedStudy] = []
    sink.start(_STAGE, len(found), "studies")
    try:
        sources = ((study, partial(read_channels, study, plan)) for study in found)
        for answer in stream(predictor, sources, cancel=cancel):
            done.append(_finish(predictor, answer, place))
            _tell(sink, done[-1])
    finally:
        if place is not None and done:
            rows = [
                SummaryRow(one.name, one.status, one.seconds, one.peak_mb, one.cells, "; ".join(one.notes))
                for one in done
            ]
            write_summary(place / "summary.csv", rows, columns=DECODERS[plan.task].columns(plan))
        sink.finish(_STAGE)
    return done


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


def _finish(predictor: Predictor, answer: Answer[Found], output: Path | None) -> PredictedStudy:
    name = answer.key.name
    if answer.problem:
        return PredictedStudy(name, f"failed: {answer.problem}", answer.seconds, answer.peak_mb, {})
    image, trace, probabilities = answer.usable
    plan = predictor.plan
    files: tuple[Path, ...] = ()
    with Meter() as meter:
        decoded = DECODERS[plan.task].decode(probabilities, trace, plan, predictor.calibration)
        findings = Findings(
            study=name,
            model=predictor.model.info.name,
            task=plan.task,
            answer=decoded.answer,
            findings=decoded.findings,
            notes=(*answer.notes, *decoded.notes),
        )
        if output is not None:
            picture = picture_of(image, findings, plan.labels, mask=decoded.mask)
            files = write_study(output / name, findings, image=image, mask=decoded.mask, overlay=picture)
    mask = (
        None
        if output is not None or decoded.mask is None
        else replace(image, array=decoded.mask[None], units="", window=None)
    )
    seconds, peak = answer.seconds + meter.seconds, max(answer.peak_mb, meter.peak_mb)
    return PredictedStudy(name, "ok", seconds, peak, decoded.row, findings, mask, files, answer.notes)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def _tell(sink: Progress, study: PredictedStudy) -> None:
    sink.advance(_STAGE, 1, study.name)
    if study.findings is None:
        sink.say(f"{study.name} {study.status}")
