"""``osler predict``: findings, masks and pictures of new studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.options import EngineName, Force, Json, Mirror, ModelFolder, Output, Precision, Threads
from osler.cli.outcome import Outcome, carry_out
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
    output: Output,
    engine: EngineName = "openvino",
    precision: Precision = None,
    mirror: Mirror = False,
    every_window: Annotated[
        bool,
        typer.Option("--every-window", help="Also run windows of air and those that a coarse pass rules out."),
    ] = False,
    threads: Threads = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Predict each study: <output>/<study>/findings.json, mask and overlay.png, and <output>/summary.csv.

    A study that cannot be used is reported and the others go on.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.workflows.predict import predict as run

        result = run(
            model,
            paths,
            output=output,
            engine=engine,
            precision=precision,
            mirror=mirror,
            every_window=every_window,
            threads=threads,
            force=force,
            progress=progress,
            cancel=cancel,
        )
        return Outcome(result.summary(), result.record(), complete=not result.failed)

    carry_out(work, as_json=as_json)
