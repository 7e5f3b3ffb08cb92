"""``osler phantom``: data sets of patients that nobody has, with everything about them known."""

from __future__ import annotations

from typing import Annotated

import typer

from osler.cli.options import Json, Output
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress

__all__ = ["phantom"]


def phantom(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="chest-ct, chest-xray, brain-mr, cardiac-cine, ecg, slide-cells or planted.",
            show_default=False,
        ),
    ],
    output: Output,
    cases: Annotated[
        int | None, typer.Option(min=1, help="How many patients.", show_default="as fits the phantom")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same bytes.")] = 0,
    times: Annotated[int, typer.Option(min=1, help="Examinations of each patient (chest-ct, brain-mr).")] = 1,
    dose: Annotated[float, typer.Option(help="Photons, as a share of full dose (chest-ct, chest-xray).")] = 1.0,
    motion: Annotated[float, typer.Option(help="How far patients move, mm (not ecg, slide-cells).")] = 0.0,
    bias: Annotated[float, typer.Option(help="How uneven the coil is, 0 to 1 (brain-mr, cardiac-cine).")] = 0.0,
    as_json: Json = False,
) -> None:
    """Write a data set of phantoms: studies, masks, a manifest, and truth.json with everything that is true of them."""

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.studies.phantoms.catalogue import write
        from osler.studies.phantoms.degrade import Faults

        faults = Faults(dose=dose, motion=motion, bias=bias)
        written = write(
            name, output, cases=cases, seed=seed, faults=faults, times=times, progress=progress, cancel=cancel
        )
        return Outcome(written.summary(), written.record())

    carry_out(work, as_json=as_json)
