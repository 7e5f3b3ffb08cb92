"""How much memory there is to take: of the machine, and of the control groups (containers, jobs) of a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

__all__ = ["free_memory", "resident_memory"]

_GROUPS = Path("/sys/fs/cgroup")
_PROC = Path("/proc")
_UNLIMITED = 1 << 60


def free_memory(*, proc: Path = _PROC, groups: Path = _GROUPS) -> int | None:
    """Bytes that can still be taken; None where the system does not say (it is not Linux).

    The least of what the machine has and of what each control group above this process leaves. Pages of files that the
    kernel may drop count as free in both.

    Args:
        proc: the process file system.
        groups: the control groups' file system, version 2 or 1.
    """
    readings = [partial(_of_machine, proc), partial(_of_old_group, groups / "memory")]
    readings += [partial(_of_group, group) for group in _groups(proc, groups)]
    known = [value for read in readings if (value := _figure(read)) is not None]
    return min(known, default=None)


def resident_memory(*, proc: Path = _PROC) -> int:
    """Bytes of this process that are in memory now; 0 where the system does not say."""
    return _figure(lambda: _line(proc / "self/status", "VmRSS:") << 10) or 0


def _figure(read: Callable[[], int]) -> int | None:
    try:
        value = read()
    except (OSError, ValueError, StopIteration, IndexError):
        return None
    return max(0, value) if value < _UNLIMITED else None


def _groups(proc: Path, groups: Path) -> Iterator[Path]:
    """This process's group of version 2 and all above it; inside a container it sees its own as the root."""
    yield groups
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, path = line.partition("::")
        parts = [part for part in path.split("/") if part not in ("", "..")]
        if number == "0":
            yield from (groups.joinpath(*parts[:count]) for count in range(1, len(parts) + 1))


def _of_machine(proc: Path) -> int:
    return _line(proc / "meminfo", "MemAvailable:") << 10


def _of_group(group: Path) -> int:
    """``memory.max`` is "max", which is no number, where there is no limit."""
    limit = int((group / "memory.max").read_text())
    used = int((group / "memory.current").read_text())
    return limit - used + (_figure(lambda: _line(group / "memory.stat", "inactive_file")) or 0)


def _of_old_group(group: Path) -> int:
    limit = int((group / "memory.limit_in_bytes").read_text())
    return limit - int((group / "memory.usage_in_bytes").read_text())


def _line(path: Path, name: str) -> int:
    """The number behind a name in a file of lines."""
    return int(next(line for line in path.read_text().splitlines() if line.startswith(name)).split()[1])
