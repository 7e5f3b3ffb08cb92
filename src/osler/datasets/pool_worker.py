"""One process of a ``StudyPool``: calls a function for one study after another and ends when its parent does.

It is started as a script, by path, so that it imports nothing before it knows where its parent imports from.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["main"]

_TICK = 1.0
"""Seconds between two looks at whether the parent still lives: a copy of its end of the pipe may outlive it."""
_UNPICKLABLE = (pickle.PicklingError, TypeError, AttributeError)


def main(descriptor: int) -> None:
    """Answer until the parent goes away.

    The parent sends where to import from, then the function, then (number, item, bytes of memory) per study. The
    answers are ("ready",), and per study (number, "done", result), (number, "raised", error, its traceback) or
    (number, "memory").

    Args:
        descriptor: this end of the pipe.
    """
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    start = connection.recv()
    sys.path[:] = start["path"]
    _offer_to_be_killed()
    function = connection.recv()
    connection.send(("ready",))
    base = _data_bytes()
    with ThreadPoolExecutor(1) as thread:  # this thread listens, so that a busy process also learns of its parent's end
        while True:
            _wait(connection, start["parent"])
            try:
                number, item, memory = connection.recv()
            except EOFError:
                os._exit(0)
            work = thread.submit(_call, function, item, base + memory)
            work.add_done_callback(partial(_answer, connection, number))


def _wait(connection: Connection, parent: int) -> None:
    while not connection.poll(_TICK):
        if os.getppid() != parent:
            os._exit(1)


def _call(function: Callable[[Any], Any], item: Any, memory: int) -> Any:
    _limit(memory)
    return function(item)


def _answer(connection: Connection, number: int, work: Future[Any]) -> None:
    error = work.exception()
    try:
        if error is None:
            _send(connection, number, "done", work.result())
        elif _lacked_memory(error):
            connection.send((number, "memory"))
        else:
            _send(connection, number, "raised", error, "".join(traceback.format_exception(error)))
    except OSError:  # nobody listens any more
        os._exit(1)


def _send(connection: Connection, number: int, *answer: Any) -> None:
    try:
        connection.send((number, *answer))
    except _UNPICKLABLE as error:
        connection.send((number, "raised", TypeError(f"{answer[1]!r} cannot be sent: {error}"), ""))


def _lacked_memory(error: BaseException | None) -> bool:
    """Whether it is, or was raised because of, a lack of memory; a thread that cannot start lacks its stack."""
    while error is not None:
        if isinstance(error, MemoryError) or "can't start new thread" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _limit(data: int) -> None:
    """Bound what may be allocated: private writable memory, where the system counts it (Linux)."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (data, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _data_bytes() -> int:
    """Private writable memory in use; a guess where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmData")).split()[1]) << 10
    return 1 << 30


def _offer_to_be_killed() -> None:
    """Where Linux runs out of memory it shall end this process and not its parent, which has more to lose."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    main(int(sys.argv[1]))
