"""The list of subcommands."""

from __future__ import annotations

from typing import Annotated

import typer

from osler.cli.compress import compress
from osler.cli.convert import convert
from osler.cli.demo import demo
from osler.cli.evaluate import evaluate
from osler.cli.fetch import fetch
from osler.cli.import_ import import_
from osler.cli.inspect import inspect
from osler.cli.phantom import phantom
from osler.cli.predict import predict
from osler.cli.train import train
from osler.cli.verify import verify

__all__ = ["app"]

# Tracebacks stay Python's own: pretty ones print local variables, and those can hold what identifies a patient.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"osler {version('osler')}")
        raise typer.Exit


@app.callback()
def _osler(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """From a folder of medical studies to a trained, calibrated, validated model and its findings.

    Research use only. Not a medical device; not for diagnosis or treatment.
    """


app.command(epilog="Example: osler inspect data/hippocampus")(inspect)
app.command("import", epilog="Example: osler import data/cardiac-mr --output cardiac.csv")(import_)
app.command(epilog="Example: osler fetch pneumoniamnist_64 --output data/pneumonia")(fetch)
app.command(epilog="Example: osler train data/hippocampus --budget 15m --output models/hippocampus")(train)
app.command(epilog="Example: osler evaluate models/hippocampus data/hippocampus --output out/evaluation")(evaluate)
app.command(epilog="Example: osler predict models/hippocampus scan.nii.gz series-folder --output out")(predict)
app.command(epilog="Example: osler verify models/hippocampus")(verify)
app.command(epilog="Example: osler compress models/hippocampus data/hippocampus --int8 --output models/fast")(compress)
app.command(epilog="Example: osler convert nnUNet_results/Dataset004_Hippocampus --output models/hippocampus")(convert)
app.command(epilog="Example: osler demo")(demo)
app.command(epilog="Example: osler phantom brain-mr --output data/brain --cases 12")(phantom)
