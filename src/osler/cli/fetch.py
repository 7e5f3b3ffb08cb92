"""``osler fetch``: a public data set by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from osler.cli.options import Json
from osler.cli.outcome import Outcome, carry_out
from osler.errors import UsageError
from osler.progress import CancelToken, Progress

__all__ = ["fetch"]


def fetch(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A set that --list shows, as pneumoniamnist_64.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to fetch into.", show_default="data/NAME")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show every set with its licence; fetch nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Fetch a public data set, check it against its published MD5, and lay it out for osler inspect.

    The licence is shown before. Ctrl-C keeps what was fetched; the same command goes on from there.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.workflows.fetch import fetch as run
        from osler.workflows.fetch import list_public_sets

        if list_all:
            lines, rows = list_public_sets()
            return Outcome(lines, {"sets": rows})
        if name is None:
            raise UsageError("no data set was named", remedy="see osler fetch --list")
        result = run(name, output, progress=progress, cancel=cancel)
        return Outcome(result.summary(), result.record())

    carry_out(work, as_json=as_json)
