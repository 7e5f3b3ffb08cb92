"""``osler evaluate``: a model's figures with their intervals on a data set, as a page."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from osler.cli.options import Data, EngineName, Force, Json, Mirror, ModelFolder, Output, Patient, Precision, Threads
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress

__all__ = ["evaluate"]


def evaluate(
    model: ModelFolder,
    data: Data,
    output: Output,
    patient: Patient = None,
    split: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(help="Only the cases that DATA itself puts into this split.", show_default=False),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also count cases that training or calibration saw.")
    ] = False,
    engine: EngineName = "openvino",
    precision: Precision = None,
    mirror: Mirror = False,
    threads: Threads = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure MODEL on DATA: writes metrics.json and index.html into --output.

    Cases and patients that the model was trained or calibrated on are left out, and counted.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.workflows.evaluate import evaluate as run

        result = run(
            model,
            data,
            output=output,
            patient=patient,
            split=split,
            include_seen=include_seen,
            engine=engine,
            precision=precision,
            mirror=mirror,
            threads=threads,
            force=force,
            progress=progress,
            cancel=cancel,
        )
        return Outcome(result.summary(), result.record(), complete=not result.failed)

    carry_out(work, as_json=as_json)
