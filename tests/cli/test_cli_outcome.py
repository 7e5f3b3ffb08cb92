"""How a command ends: exit codes, errors in one or two lines, one line of JSON."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import typer

from osler import errors
from osler.cli import main
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress


def _finish(outcome: Outcome | Exception, *, as_json: bool = False) -> int:
    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with pytest.raises(typer.Exit) as left:
        carry_out(work, as_json=as_json)
    return left.value.exit_code


def test_a_command_that_did_everything_exits_with_0() -> None:
    assert _finish(Outcome()) == 0


def test_a_command_that_left_something_undone_exits_with_1() -> None:
    assert _finish(Outcome(complete=False)) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.PathNotFound("x"), 2),
        (errors.TooFew("x"), 2),
        (errors.ModelError("x"), 2),
        (errors.PlanError("x"), 2),
        (errors.Unreadable("x"), 1),
        (errors.StorageError("x"), 1),
        (errors.NotWritable("x"), 2),
        (errors.Cancelled("x"), 1),
    ],
)
def test_an_input_that_is_not_fit_exits_with_2_and_work_that_failed_with_1(error: errors.OslerError, code: int) -> None:
    assert _finish(error) == code


def test_every_error_of_the_tree_has_an_exit_code() -> None:
    for name in errors.__all__:
        assert _finish(getattr(errors, name)("x")) in {1, 2}


def test_an_error_is_two_lines_on_stderr_and_one_of_json_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    _finish(errors.PathNotFound("no folder at data", remedy="give a folder"), as_json=True)
    captured = capsys.readouterr()
    assert captured.err == "osler: no folder at data.\n       What to do: give a folder.\n"
    assert json.loads(captured.out) == {
        "ok": False,
        "error": "no folder at data",
        "remedy": "give a folder",
        "kind": "PathNotFound",
    }


def test_with_json_stdout_holds_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    _finish(Outcome(["for people"], {"dice": np.float32(0.5), "where": Path("out"), "auc": float("nan")}), as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ok": True, "dice": 0.5, "where": "out", "auc": None}
    assert captured.err == "for people\n"


def test_a_full_disk_is_told_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert _finish(OSError(errno.ENOSPC, "No space left on device", "/data/out")) == 1
    assert "the disk is full at /data/out" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_for_the_user_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert _finish(OSError(errno.EROFS, "Read-only file system", "/mnt/out")) == 2
    assert "cannot write /mnt/out: the file system is read-only" in capsys.readouterr().err


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        raise ZeroDivisionError("a fault")

    with pytest.raises(ZeroDivisionError, match="a fault"):
        carry_out(work, as_json=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "data"], "Missing option '--output'"),
        (["train", "data", "--output", "m", "--task", "guess"], "classify"),
        (["train", "data", "--output", "m", "--budget", "2m", "--steps", "5"], "both --budget and --steps"),
        (["train", "data", "--output", "m", "--set", "ema"], "no FIELD=VALUE"),
        (["train", "data", "--output", "m", "--set", "a=1", "--set", "a=2"], "twice"),
        (["teach"], "teach"),
        (["predict"], "MODEL"),
    ],
)
def test_a_usage_error_exits_with_2_and_says_what(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    record = json.loads(captured.out)
    assert record["ok"] is False
    assert told in record["error"]


@pytest.mark.parametrize("command", ["inspect", "train", "evaluate", "predict", "verify", "demo"])
def test_every_command_has_help_with_an_example_and_takes_json(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: osler {command}" in shown
    assert "--json" in shown


def test_without_a_command_the_help_is_shown_and_it_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "Not a medical device" in captured.out + captured.err
