"""Progress on a terminal and in a log, and Ctrl-C."""

from __future__ import annotations

import io
import subprocess
import sys
import threading

import pytest

from osler.cli.terminal import BarProgress, LineProgress
from osler.workflows.durations import format_duration


def test_a_log_gets_one_line_when_a_stage_starts_and_one_when_it_ends() -> None:
    stream = io.StringIO()
    lines = LineProgress(stream)
    lines.start("preparing", 3, "cases")
    for _ in range(3):
        lines.advance("preparing")
    lines.finish("preparing")
    first, last = stream.getvalue().splitlines()
    assert first == "preparing: 3 cases"
    assert last.startswith("preparing: 3 cases in ")


def test_a_long_stage_tells_the_time_left() -> None:
    stream = io.StringIO()
    lines = LineProgress(stream)
    lines.start("training", 4, "steps")
    stage = lines._stages["training"]
    stage.begun = stage.shown = stage.begun - 20.0  # as if 20 s had passed
    lines.advance("training", 1, "loss 0.5")
    assert stream.getvalue().splitlines()[-1] == "training: 1/4 steps, 1 min left, loss 0.5"


def test_a_stage_that_was_never_started_is_shown_all_the_same() -> None:
    stream = io.StringIO()
    lines = LineProgress(stream)
    lines.advance("writing")
    lines.finish("writing")
    lines.finish("never seen")
    assert stream.getvalue().startswith("writing: in ")


def test_bars_leave_one_line_per_stage_and_messages_with_brackets_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with BarProgress() as bars:
        bars.start("reading", 2, "files")
        bars.advance("reading", 2, "file [2]")
        bars.advance("unannounced")
        bars.say("scan [1] was refused")
        bars.finish("reading")
        bars.finish("unannounced")
    shown = capsys.readouterr().err
    assert "scan [1] was refused" in shown
    assert "reading: 2 files in" in shown


def test_bars_may_be_moved_from_several_threads() -> None:
    with BarProgress() as bars:
        bars.start("reading", 200)
        threads = [threading.Thread(target=lambda: [bars.advance("reading") for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert bars._stages["reading"][1].done == 200


def test_the_first_ctrl_c_asks_and_the_second_stops() -> None:
    program = (
        "import signal\n"
        "from osler.cli.terminal import interruptible\n"
        "from osler.progress import CancelToken, Silent\n"
        "cancel, before = CancelToken(), signal.getsignal(signal.SIGINT)\n"
        "try:\n"
        "    with interruptible(cancel, Silent()):\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        print('asked', cancel.cancelled)\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "        print('not reached')\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', signal.getsignal(signal.SIGINT) is before)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines() == ["asked True", "stopped True"], ended.stderr


def test_a_second_ctrl_c_ends_the_process_with_130() -> None:
    program = (
        "import os, signal, sys, time, typer\n"
        "from osler.cli import app as faces, main\n"
        "import osler.cli.app\n"
        "from osler.cli.outcome import carry_out\n"
        "def work(progress, cancel):\n"
        "    for _ in range(2): os.kill(os.getpid(), signal.SIGINT)\n"
        "def wait(): carry_out(work, as_json=False)\n"
        "osler.cli.app.app.command()(wait)\n"
        "sys.exit(main(['wait']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert "finishing cleanly, press again to stop at once" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_durations_are_shown_to_two_units() -> None:
    assert [format_duration(s) for s in (0.25, 45, 60, 125, 3600, 5400)] == [
        "0.2 s",
        "45 s",
        "1 min",
        "2 min 5 s",
        "1 h",
        "1 h 30 min",
    ]
