"""How long a piece of work took and how much memory the process needed at most while it ran."""

from __future__ import annotations

import resource
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

__all__ = ["Meter"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_NEAR = 1 << 22
"""Bytes by which the peak may be above what is resident now without being reset."""


class Meter:
    """A context manager; afterwards ``seconds`` (wall clock) and ``peak_mb`` (resident memory of the
    process, 10^6 bytes).

    Linux lets a process reset its own peak, so the peak is that of this piece of work and of what other threads did
    meanwhile. Elsewhere it is the highest since the process started. Meters may run in several threads and within each
    other.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_mb = 0.0
        self._start = 0.0

    def __enter__(self) -> Meter:
        with _running_lock:
            _mark()
            self.peak_mb = 0.0
            _running.append(self)
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        with _running_lock:
            _mark()
            _running.remove(self)


_running: list[Meter] = []
_running_lock = threading.Lock()


def _mark() -> None:
    """Give the peak since the last mark to every meter that runs, and begin a new one.

    Resetting it walks through all of the process's pages. Where the peak is what is resident now, nothing is reset.
    """
    peak, resident = _bytes()
    for meter in _running:
        meter.peak_mb = max(meter.peak_mb, peak / 1e6)
    if peak - resident > _NEAR:
        with suppress(OSError):  # a sandbox that forbids it: the peak is the process's own
            _CLEAR.write_text("5")


def _bytes() -> tuple[int, int]:
    """Peak and what is resident now; of no Linux the process's own peak for both."""
    try:
        lines = (line.split() for line in _STATUS.read_text().splitlines())
        told = {words[0]: int(words[1]) * 1024 for words in lines if words[0] in ("VmHWM:", "VmRSS:")}
        return told["VmHWM:"], told["VmRSS:"]
    except (OSError, KeyError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return peak, peak
