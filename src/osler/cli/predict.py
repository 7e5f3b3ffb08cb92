"""``osler predict``: findings, masks and pictures of new studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from osler.cli.options import EngineName, Force, Json, Mirror, ModelFolder, Precision, Threads
from osler.cli.outcome import Outcome, carry_out
from osler.errors import UsageError
from osler.progress import CancelToken, Progress

__all__ = ["predict"]


def predict(
    model: ModelFolder,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Studies: files, DICOM folders, or folders of them.", show_default=False
        ),
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write.", show_default=False)] = None,
    engine: EngineName = "openvino",
    precision: Precision = None,
    mirror: Mirror = False,
    every_window: Annotated[
        bool,
        typer.Option("--every-window", help="Also run windows of air and those that a coarse pass rules out."),
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw overlay.png of each study.")] = True,
    threads: Threads = 0,
    force: Force = False,
    resume: Annotated[
        bool,
        typer.Option("--continue", help="Go on with a run that was stopped: keep what it finished."),
    ] = False,
    memory: Annotated[str, typer.Option(help="What it may take, such as 8g.", show_default="what is free")] = "",
    workers: Annotated[
        str,
        typer.Option(metavar="ray://HOST:PORT", help="Spread the studies over a Ray cluster.", show_default=False),
    ] = "",
    only_estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what it would take in time and memory, and do nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict each study: <output>/<study>/findings.json, mask and overlay.png, and <output>/summary.csv.

    A study that cannot be used is reported and the others go on. Ctrl-C keeps what is finished.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.cli.lean import load_libraries

        load_libraries(paths, engine)
        from osler.workflows.predict import estimate
        from osler.workflows.predict import predict as run
        from osler.workflows.sizes import parse_size

        settings: dict[str, Any] = {
            "engine": engine,
            "precision": precision,
            "mirror": mirror,
            "every_window": every_window,
            "threads": threads,
            "memory": parse_size(memory) if memory else None,
        }
        if only_estimate:
            estimates = estimate(model, paths, **settings)
            return Outcome(estimates.summary(), estimates.record(), complete=estimates.all_fit)
        if output is None:
            raise UsageError("--output is missing", remedy="say with --output where to write")
        result = run(
            model,
            paths,
            output=output,
            pictures=pictures,
            force=force,
            resume=resume,
            workers=workers,
            progress=progress,
            cancel=cancel,
            **settings,
        )
        return Outcome(result.summary(), result.record(), complete=result.complete)

    carry_out(work, as_json=as_json)
