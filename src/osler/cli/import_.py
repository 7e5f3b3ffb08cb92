"""``osler import``: a data set of any layout as a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.options import Data, Force, Json, Patient, Task
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress

__all__ = ["import_"]


def import_(
    data: Data,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The manifest to write: .csv or .parquet.", show_default=False)
    ],
    task: Task = None,
    patient: Patient = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write DATA, whatever its layout, as a table with a row per case that you can edit and train on.

    Images stay where they are. The labels lie beside the table in <output>.labels.json.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.workflows.import_dataset import import_dataset as run

        result = run(data, output, task=task, patient=patient, overwrite=force)
        return Outcome(result.summary(), result.record())

    carry_out(work, as_json=as_json)
