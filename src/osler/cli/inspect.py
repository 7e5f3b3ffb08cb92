"""``osler inspect``: what is in a data set, what is wrong with it, what would be planned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.options import Data, Force, Json, Patient, Task
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress

__all__ = ["inspect"]


def inspect(
    data: Data,
    task: Task = None,
    patient: Patient = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model", metavar="MODEL", help="Also ask this model which answers are probably wrong.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write a page with pictures, and JSON, here.", show_default=False),
    ] = None,
    fix: Annotated[
        Path | None,
        typer.Option("--fix", help="Also write a cleaned manifest here; the data stays as it is.", show_default=False),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what is in DATA, what is wrong with it, and what would be planned. Trains nothing, loads no torch."""

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.workflows.inspect import inspect as run

        found = run(
            data,
            task=task,
            patient=patient,
            model=model,
            output=output,
            fix=fix,
            force=force,
            progress=progress,
            cancel=cancel,
        )
        return Outcome(found.summary(), found.record(), complete=found.complete)

    carry_out(work, as_json=as_json)
