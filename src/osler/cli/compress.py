"""``osler compress``: a smaller or faster model that answers as well."""

from __future__ import annotations

from typing import Annotated

import typer

from osler.cli.options import Data, Device, Force, Json, ModelFolder, Output, Patient, Threads
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress

__all__ = ["compress"]


def compress(
    model: ModelFolder,
    data: Data,
    output: Output,
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit graphs; bf16 or float32 where that would cost too much.")
    ] = False,
    prune: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Take this share of each level's filters away, as 0.5, and train on."),
    ] = None,
    distil: Annotated[
        bool,
        typer.Option(
            "--distil", help="Train one network of the stronger half of MODEL's filters on what MODEL answers."
        ),
    ] = False,
    budget: Annotated[
        str | None, typer.Option(help="Time for training with --prune or --distil; 15m when nothing is said.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Train so many steps instead.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that training.")] = 0,
    patient: Patient = None,
    device: Device = "auto",
    threads: Threads = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a smaller or faster MODEL, and compare it with its parent.

    DATA is what MODEL was trained on. Every form of the new model (float32, bf16, int8) is run beside the parent's
    float32 on the validation cases. What loses more than 0.002 Dice, 0.002 AUC or 0.005 calibration error is not
    shipped; osler predict then runs the fastest of the others that the processor offers.

    With none of --int8, --prune and --distil, MODEL's bf16 is compared and written down. MODEL itself is not changed.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.errors import UsageError
        from osler.workflows.compress import compress as run

        if budget is not None and steps is not None:
            raise UsageError("both --budget and --steps were given", remedy="give one of the two")
        result = run(
            model,
            data,
            output=output,
            int8=int8,
            prune=prune,
            distil=distil,
            budget="15m" if budget is None else budget,
            steps=steps,
            seed=seed,
            patient=patient,
            device=device,
            threads=threads,
            force=force,
            progress=progress,
            cancel=cancel,
        )
        return Outcome(result.summary(), result.record(), complete=not result.refused)

    carry_out(work, as_json=as_json)
