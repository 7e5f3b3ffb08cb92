"""``PoolProcess``: a ``StudyPool``'s hold on one of its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from osler.datasets.free_memory import free_memory
from osler.errors import OslerError

__all__ = ["PoolProcess", "Task", "memory_for_processes"]

_SCRIPT = Path(__file__).with_name("pool_worker.py")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_START_S = 600.0
_SHARE = 0.8
"""Of the memory that is free, what the processes may take; the rest is for the parent and the system's cache."""
_UNKNOWN = 4 << 30


@dataclass(frozen=True)
class Task:
    """One study to be worked on; ``fault`` says how its first attempt ended, "" before."""

    number: int
    item: Any
    fault: str = ""


class PoolProcess:
    """A process with the tasks that were given to it: it works on the first of ``tasks``, the others wait in its pipe.

    Args:
        function: a ``Callable`` of one argument, pickled.
        seconds: that a task may take.

    Raises:
        OslerError: when the system starts no further process.
    """

    def __init__(self, function: bytes, seconds: float) -> None:
        self.connection, theirs = Pipe()
        self.tasks: list[Task] = []
        self.ready = False
        self._seconds = seconds
        self._since = time.monotonic()
        try:
            self._process = _start(theirs)
        except OSError as error:
            self.connection.close()
            raise OslerError(
                f"no process can be started to work on the studies: {error.strerror}", remedy="free some memory"
            ) from error
        finally:
            theirs.close()
        with contextlib.suppress(OSError):  # one that died at once is noticed when it is listened to
            self.connection.send({"path": sys.path, "parent": os.getpid()})
            self.connection.send_bytes(function)

    @property
    def late(self) -> bool:
        """Whether it has been at its task for too long."""
        return time.monotonic() - self._since > (self._seconds if self.ready else _START_S)

    def give(self, task: Task, memory: int) -> None:
        """Add a task; ``memory`` is the bytes that it may allocate."""
        if not self.tasks and self.ready:
            self._since = time.monotonic()
        self.tasks.append(task)
        with contextlib.suppress(OSError):  # it died: noticed when it is listened to
            self.connection.send((task.number, task.item, memory))

    def answer(self) -> tuple[Task, tuple[Any, ...]] | None:
        """The finished task and how it ended (see ``pool_worker``); None when it only became ready.

        Raises:
            EOFError, OSError: when it has died.
        """
        said = self.connection.recv()
        self._since = time.monotonic()
        if not self.ready:
            self.ready = True
            return None
        return self.tasks.pop(0), said[1:]

    def end(self) -> str:
        """Make sure that it is dead; how it ended, in words that follow "its process"."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe has closed: it is about to have ended
            self._process.wait(0.2)
        if self._process.poll() is None:
            self.kill()
        code = self._process.returncode
        self.connection.close()
        if code >= 0:
            return f"ended by itself (exit code {code})"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"{'was killed' if -code == signal.SIGKILL else 'crashed'} ({name})"

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.wait()
        self.connection.close()


def _start(theirs: Connection) -> subprocess.Popen[bytes]:
    # In a group of its own, Ctrl-C reaches the parent alone, which then ends it.
    return subprocess.Popen(
        [sys.executable, "-P", str(_SCRIPT), str(theirs.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(theirs.fileno(),),
        env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1")},
        process_group=0,
    )


def memory_for_processes() -> int:
    """Bytes that all processes together may take: four fifths of what is free, for the machine and for its container.

    Elsewhere than on Linux 4 GiB are assumed.
    """
    free = free_memory()
    return int(_SHARE * (_UNKNOWN if free is None else free))
