"""``osler demo``: the whole way on a phantom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.options import Force, Json
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress

__all__ = ["demo"]


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where everything goes.")] = Path("demo"),
    budget: Annotated[str, typer.Option(help="Time for planning and training, as 90s or 2m.")] = "3m",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a phantom's chest CTs as DICOM, inspect them, train, evaluate, and predict an unseen study.

    Takes under 5 minutes on 2 cores.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.workflows.demo import demo as run

        result = run(output, budget=budget, force=force, progress=progress, cancel=cancel)
        return Outcome(result.summary(), result.record(), complete=result.complete)

    carry_out(work, as_json=as_json)
