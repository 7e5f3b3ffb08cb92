"""How every command ends: what is printed where, the line of ``--json``, and the exit code.

0: everything that was asked for was done. 1: some studies failed, the run was stopped early, or the work itself failed.
2: it cannot be done as asked: a usage error, an input (data set, model, plan) that is not fit for it, or a place that
   cannot be written.
130: stopped at once by a second Ctrl-C.
"""

from __future__ import annotations

import errno
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from osler.errors import DatasetError, ModelError, NotWritable, OslerError, PlanError, StorageError, UsageError
from osler.progress import CancelToken, Progress

__all__ = ["Outcome", "carry_out", "exit_code_of", "report_error", "write_json"]

_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True)
class Outcome:
    """What a command did: ``lines`` for people, ``record`` for ``--json``; ``complete`` when all of it was done."""

    lines: Sequence[str] = ()
    record: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True


def carry_out(work: Callable[[Progress, CancelToken], Outcome], *, as_json: bool) -> None:
    """Do the work with a terminal's progress and Ctrl-C, tell how it went, and leave with its exit code.

    Lines for people go to stdout; with ``as_json`` they go to stderr and stdout holds the one line of JSON.
    An error that is not Osler's keeps its traceback: it is a fault of the program.

    Raises:
        typer.Exit: always.
    """
    from osler.cli.terminal import terminal

    try:
        with terminal() as (progress, cancel):
            outcome = work(progress, cancel)
    except OslerError as error:
        raise typer.Exit(report_error(error, as_json=as_json)) from error
    except OSError as error:
        if error.errno not in _STORAGE:
            raise
        raise typer.Exit(report_error(StorageError.of(error, _place(error)), as_json=as_json)) from error
    for line in outcome.lines:
        print(line, file=sys.stderr if as_json else sys.stdout)
    if as_json:
        write_json({"ok": outcome.complete, **outcome.record})
    raise typer.Exit(0 if outcome.complete else 1)


def exit_code_of(error: OslerError) -> int:
    """2 when the user's command or input is at fault, 1 when the work failed."""
    return 2 if isinstance(error, UsageError | DatasetError | ModelError | PlanError | NotWritable) else 1


def report_error(error: OslerError, *, as_json: bool) -> int:
    """Print an error in at most two lines on stderr (and as JSON on stdout) and return the exit code."""
    print(f"osler: {error.problem}.", file=sys.stderr)
    if error.remedy:
        print(f"       What to do: {error.remedy}.", file=sys.stderr)
    if as_json:
        write_json({"ok": False, "error": error.problem, "remedy": error.remedy, "kind": type(error).__name__})
    return exit_code_of(error)


def write_json(record: Mapping[str, Any]) -> None:
    """One line of strict JSON on stdout; NaN and infinity become null, which JSON has no other word for."""
    print(json.dumps(_plain(record), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump(mode="json"))
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _place(error: OSError) -> str:
    return str(error.filename) if error.filename else "the output"
