"""A terminal as a sink of progress, and Ctrl-C as a request to stop.

Everything goes to stderr, so that stdout stays for results. A screen gets bars with the time left; a file or a pipe
gets a plain line when a stage starts and ends, and one every ten seconds in between.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, TYPE_CHECKING

from osler.progress import CancelToken, Progress
from osler.workflows.durations import format_duration

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["BarProgress", "LineProgress", "interruptible", "terminal"]

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def terminal() -> Iterator[tuple[Progress, CancelToken]]:
    """Progress on stderr and a token that Ctrl-C (or SIGTERM) sets, for the time of one command."""
    cancel = CancelToken()
    if sys.stderr.isatty():
        with BarProgress() as bars, interruptible(cancel, bars):
            yield bars, cancel
    else:
        lines = LineProgress(sys.stderr)
        with interruptible(cancel, lines):
            yield lines, cancel


@contextmanager
def interruptible(cancel: CancelToken, progress: Progress) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks the work to stop at its next safe point, the second one stops it at once.

    Raises:
        KeyboardInterrupt: at the second signal.
    """

    def handle(signum: int, frame: FrameType | None) -> None:
        if cancel.cancelled:
            raise KeyboardInterrupt
        cancel.cancel()
        progress.say("finishing cleanly, press again to stop at once")

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in signals]
    try:
        yield
    finally:
        for number, previous in zip(signals, before, strict=True):
            signal.signal(number, previous)


@dataclass
class _Stage:
    total: float | None
    unit: str
    begun: float = field(default_factory=time.monotonic)
    shown: float = field(default_factory=time.monotonic)
    done: float = 0.0
    note: str = ""

    def summary(self, stage: str) -> str:
        """What stays on the screen when the stage has ended."""
        amount = f" {self.done:g} {self.unit}" if self.unit and self.unit != "s" and self.done else ""
        return f"{stage}:{amount} in {format_duration(time.monotonic() - self.begun)}"

    def state(self, stage: str) -> str:
        """Where the stage is now, with the time left as far as its pace so far tells."""
        spent = time.monotonic() - self.begun
        parts = []
        if self.total:
            amount = f"{self.done:.0f}/{self.total:.0f} {self.unit}".rstrip()
            left = format_duration(spent * (self.total - self.done) / self.done) if 0 < self.done < self.total else ""
            parts = [amount, f"{left} left" if left else ""]
        elif self.unit:
            parts = [f"{self.done:.0f} {self.unit}"]
        return f"{stage}: " + ", ".join(part for part in [*parts, self.note] if part)


class LineProgress:
    """Plain lines for a log file or a pipe."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._stages: dict[str, _Stage] = {}
        self._lock = threading.RLock()  # re-entrant: the signal handler may interrupt the thread that holds it

    def start(self, stage: str, total: float | None, unit: str = "") -> None:
        """One line that says what begins."""
        with self._lock:
            self._stages[stage] = _Stage(total, unit)
            self.say(f"{stage}: {total:g} {unit}".rstrip() if total else f"{stage} ...")

    def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
        """At most one line in ten seconds."""
        with self._lock:
            entry = self._stages.setdefault(stage, _Stage(None, ""))
            entry.done += amount
            entry.note = note or entry.note
            if time.monotonic() - entry.shown >= _SECONDS_BETWEEN_LINES:
                entry.shown = time.monotonic()
                self.say(entry.state(stage))

    def finish(self, stage: str) -> None:
        """One line that says how long it took."""
        with self._lock:
            entry = self._stages.pop(stage, None)
            if entry is not None:
                self.say(entry.summary(stage))

    def say(self, message: str) -> None:
        """One line."""
        print(message, file=self._stream, flush=True)


class BarProgress:
    """Bars with the time left. A bar that has ended becomes one line above those that still run."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(stderr=True, highlight=False)
        self._bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[state]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
        )
        self._stages: dict[str, tuple[TaskID, _Stage]] = {}
        self._lock = threading.RLock()

    def __enter__(self) -> BarProgress:
        self._bars.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._bars.stop()

    def start(self, stage: str, total: float | None, unit: str = "") -> None:
        """A new bar; it pulses when the total is not known."""
        with self._lock:
            task = self._bars.add_task(stage, total=total, state="", note="")
            self._stages[stage] = (task, _Stage(total, unit))

    def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
        """Move the bar on."""
        with self._lock:
            if stage not in self._stages:
                self.start(stage, None)
            task, entry = self._stages[stage]
            entry.done += amount
            entry.note = note or entry.note
            of = f"/{entry.total:.0f}" if entry.total else ""
            self._bars.update(task, completed=entry.done, note=entry.note, state=f"{entry.done:.0f}{of} {entry.unit}")

    def finish(self, stage: str) -> None:
        """Take the bar away and leave one line."""
        with self._lock:
            if stage in self._stages:
                task, entry = self._stages.pop(stage)
                self._bars.remove_task(task)
                self.say(entry.summary(stage))

    def say(self, message: str) -> None:
        """One line above the bars."""
        self._console.print(message, markup=False)
