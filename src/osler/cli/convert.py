"""``osler convert``: a model that nnU-Net trained as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from osler.cli.options import Force, Json, Output
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress

__all__ = ["convert"]


def convert(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="NNUNET_RESULTS",
            help="The folder Trainer__Plans__configuration that nnUNetv2_train wrote, or one above it.",
            show_default=False,
        ),
    ],
    output: Output,
    configuration: Annotated[
        str | None, typer.Option(help="2d, 3d_fullres ...; needed where several were trained.", show_default=False)
    ] = None,
    folds: Annotated[
        list[str] | None,
        typer.Option(
            "--fold", help="0, 1 ... or all; several times for an ensemble.", show_default="all that were trained"
        ),
    ] = None,
    checkpoint: Annotated[
        Literal["final", "best"] | None,
        typer.Option(help="Which checkpoint of each fold.", show_default="final where every fold has it, else best"),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(
            metavar="RAS",
            help="Turn studies this way first, where the pipeline around the model did so.",
            show_default="as the file has them",
        ),
    ] = None,
    intended_use: Annotated[str, typer.Option(help="What the model is for; written into its card.")] = "",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make an Osler model folder of a model that nnU-Net v2 trained.

    Its checkpoints are read without running anything of them. The plan is translated, the network exported, and the
    exported graph compared with torch. Needs osler\\[train]; the model itself then needs no torch.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.workflows.convert import convert as run

        result = run(
            results,
            output=output,
            configuration=configuration,
            folds=folds or (),
            checkpoint=checkpoint,
            orientation=orientation,
            intended_use=intended_use,
            force=force,
            progress=progress,
            cancel=cancel,
        )
        return Outcome(result.summary(), result.record())

    carry_out(work, as_json=as_json)
