"""How long a piece of work took and how much memory the process needed at most while it ran."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

__all__ = ["Meter"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Meter:
    """A context manager; afterwards ``seconds`` (wall clock) and ``peak_mb`` (resident memory of the
    process, 10^6 bytes).

    Linux lets a process reset its own peak, so the peak is that of this piece of work. Elsewhere it is the highest
    since the process started.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_mb = 0.0
        self._start = 0.0

    def __enter__(self) -> Meter:
        with suppress(OSError):  # no Linux, or a sandbox that forbids it: the peak is the process's own
            _CLEAR.write_text("5")
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        self.peak_mb = _peak_bytes() / 1e6


def _peak_bytes() -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
