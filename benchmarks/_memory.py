"""What the operating system says about the memory of a process and of all that it started. Linux."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Peak", "watch"]

_EVERY_S = 0.02


@dataclass(frozen=True)
class Peak:
    """Largest memory of a command, in MB, and its seconds by the clock.

    Args:
        tree: of the process and all that it started, together: proportional set size, sampled.
        main: of the process itself: high-water mark of its resident set, kept by the system.
        processes: most that ran at one time.
    """

    tree: float
    main: float
    processes: int
    seconds: float


def watch(command: Sequence[str | Path]) -> Peak:
    """Run a command and look at its memory every 20 ms.

    Raises:
        SystemExit: when it fails.
    """
    begun = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
    tree = main = 0.0
    most = 0
    while process.poll() is None:
        members = _tree(process.pid)
        tree = max(tree, sum(map(_share, members)) / 1024)
        main = max(main, _field(Path(f"/proc/{process.pid}/status"), "VmHWM") / 1024)
        most = max(most, len(members))
        time.sleep(_EVERY_S)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return Peak(tree, main, most, time.perf_counter() - begun)


def _tree(root: int) -> list[int]:
    found, todo = [], [root]
    while todo:
        process = todo.pop()
        found.append(process)
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                todo += map(int, task.read_text().split())
            except OSError:  # it has ended
                continue
    return found


def _share(process: int) -> int:
    """kB of a process; what several processes share counts in parts."""
    return _field(Path(f"/proc/{process}/smaps_rollup"), "Pss")


def _field(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)
