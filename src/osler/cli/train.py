"""``osler train``: from a data set to a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from osler.cli.options import Data, Device, Force, Json, Mirror, Output, Patient, Task, Threads
from osler.cli.outcome import Outcome, carry_out
from osler.errors import UsageError
from osler.progress import CancelToken, Progress

__all__ = ["parse_overrides", "train"]


def train(
    data: Data,
    output: Output,
    task: Task = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Time for planning and training: 90s, 1h30m; 15m when nothing is said."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Train so many steps instead, repeatable bit for bit.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Everything random follows from it.")] = 0,
    patient: Patient = None,
    folds: Annotated[int, typer.Option(help="Cross-validate; the model is the ensemble of the folds.")] = 1,
    start_from: Annotated[
        Path | None, typer.Option("--from", metavar="MODEL", help="Start from this Osler model's weights.")
    ] = None,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Print the plan with its reasons; train nothing.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the plan, as optimiser.ema=0.99."),
    ] = None,
    plan_file: Annotated[Path | None, typer.Option("--plan", help="JSON file of plan fields to override.")] = None,
    method: Annotated[str, typer.Option(help="How it is learnt.")] = "supervised",
    device: Device = "auto",
    intended_use: Annotated[str, typer.Option(help="What the model is for; written into its card.")] = "",
    threads: Threads = 0,
    mirror: Mirror = False,
    coarse_to_fine: Annotated[
        bool | None,
        typer.Option(
            "--coarse-to-fine/--no-coarse-to-fine",
            help="Also train a low-resolution network that says where to look; the plan decides when nothing is said.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume/--no-resume", help="Go on where a stopped run ended.")] = True,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Look at DATA, plan, train, calibrate, evaluate and export: a model folder.

    Checkpoints, curves, splits and the evaluation page go to <output>.run beside it.

    Ctrl-C ends cleanly with the best model so far; the same command goes on where a run was stopped.
    """

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        if budget is not None and steps is not None:
            raise UsageError("both --budget and --steps were given", remedy="give one of the two")
        changes = parse_overrides(overrides or ())
        from osler.workflows.train import train as run

        result = run(
            data,
            output=output,
            task=task,
            budget="15m" if budget is None else budget,
            steps=steps,
            seed=seed,
            patient=patient,
            folds=folds,
            start_from=start_from,
            plan_only=plan_only,
            overrides=changes,
            plan_file=plan_file,
            device=device,
            method=method,
            force=force,
            mirror=mirror,
            coarse_to_fine=coarse_to_fine,
            resume=resume,
            threads=threads,
            intended_use=intended_use,
            progress=progress,
            cancel=cancel,
        )
        record = {
            "model": None if result.model is None else result.model.path,
            "run_folder": result.run_folder,
            "stopped_early": result.stopped_early,
            "plan": result.plan,
            "performance": None if result.model is None else result.model.performance(),
        }
        return Outcome(result.summary(), record, complete=not result.stopped_early)

    carry_out(work, as_json=as_json)


def parse_overrides(settings: Sequence[str]) -> dict[str, str]:
    """``["optimiser.ema=0.99"]`` as ``{"optimiser.ema": "0.99"}``; what the values mean is the plan's affair.

    Raises:
        UsageError: when one has no ``=``, or no field before it, or a field is set twice.
    """
    changes: dict[str, str] = {}
    for setting in settings:
        field, equals, value = setting.partition("=")
        if not equals or not field.strip():
            raise UsageError(f"--set {setting} is no FIELD=VALUE", remedy="write for example --set optimiser.ema=0.99")
        if field.strip() in changes:
            raise UsageError(f"--set gives {field.strip()} twice", remedy="set each field once")
        changes[field.strip()] = value.strip()
    return changes
