"""``StudyPool``: a function called for every study, in processes that may die without taking anything with them.

What it promises:

- **A process that dies** (killed, out of memory, a crash in C code) or takes longer than the limit is noticed at once.
  The study that it worked on is named, and tried once more alone: in a fresh process, while no other works, with all
  the memory that they share otherwise. If that fails too, an ``Unreadable`` that says how stands in its place among
  the results, as for any other study that cannot be read. No other study is lost or done twice.
- **Memory is bounded.** Each process may allocate its share of what was free; one that asks for more is told no
  (Linux). A few results per process wait to be taken, however many studies there are. What is large, the function
  should write.
- **The order of results** is that of the items, whichever process did what.
- **Stopping.** A cancelled or abandoned pool ends its processes at once; Ctrl-C in a terminal reaches the parent alone.
  When the parent itself is killed, its processes end within a second.
- **Errors of the program** (not of ``REFUSALS``) are raised here, with the traceback of the process as a note.

Going on after a kill is the function's affair: it should write each study whole, by renaming, and skip what is there.

Processes are started afresh by ``subprocess``. A fork would copy locks that other threads hold (BLAS, torch), and
``multiprocessing``'s spawn and forkserver run the user's script again in every process, which a script without
``if __name__ == "__main__"`` does not survive. ``concurrent.futures`` and joblib (loky) fail every outstanding task
when one process dies and do not say whose fault it was; pebble, which does, is under the LGPL.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Generic, TypeVar

from osler.datasets.pool_process import PoolProcess, Task, memory_for_processes
from osler.errors import GridMismatch, OslerError, StudyError, Unreadable, UsageError
from osler.progress import CancelToken

__all__ = ["REFUSALS", "Limits", "StudyPool"]

REFUSALS = (StudyError, GridMismatch, UsageError)
"""What is wrong with one study and no reason to stop: such errors are results."""
_In = TypeVar("_In")
_Out = TypeVar("_Out")
_GIVEN = 2
"""Tasks a process holds: the one that it works on, and one so that it need not wait for the parent."""
_WAITING = 4
"""Results per process that may wait for an earlier one."""
_TICK = 0.2
_LEAST = 1 << 30
"""Bytes a process should have; with less for each, there are fewer."""
_STARTS = 3
_FREE_MEMORY = "give it more memory, make the study smaller, or leave it out"
_LOOK = "write its files anew, or leave it out"


@dataclass(frozen=True)
class Limits:
    """What one study may take.

    Args:
        seconds: by the clock.
        memory: bytes that all processes share; None takes four fifths of what is free when the pool starts.
    """

    seconds: float = 900.0
    memory: int | None = None


@dataclass
class _Round:
    """Where one ``map`` stands."""

    source: Iterator[Any]
    given_back: deque[Task] = field(default_factory=deque)
    again: deque[Task] = field(default_factory=deque)
    results: dict[int, Any] = field(default_factory=dict)
    taken: int = 0
    turn: int = 0

    def next_task(self, until: int) -> Task | None:
        """The next study, while its number is below ``until``."""
        if self.given_back:
            return self.given_back.popleft()
        if self.taken >= until:
            return None
        for item in self.source:
            self.taken += 1
            return Task(self.taken - 1, item)
        return None


class StudyPool(Generic[_In, _Out]):
    """See the module. Use it as a context manager; ``map`` may be called again and again.

    Args:
        function: called in the processes; found there by its module's name, or a ``partial`` or instance of what is.
            It is pickled once per process, so it may hold a data set, better one without its records.
        processes: at most; fewer where there are fewer studies or less than 1 GiB of memory for each.
        name: of a study, for messages.
        limits: see ``Limits``.
        cancel: looked at several times a second.
        say: gets one line when a study is tried again.
    """

    def __init__(
        self,
        function: Callable[[_In], _Out],
        *,
        processes: int,
        name: Callable[[_In], str] = str,
        limits: Limits | None = None,
        cancel: CancelToken | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._function = bytes(ForkingPickler.dumps(function))
        self._name, self._cancel, self._say = name, cancel, say
        self._limits = limits or Limits()
        self._memory = self._limits.memory or memory_for_processes()
        self._most = max(1, min(processes, self._memory // _LEAST))
        self._processes: list[PoolProcess] = []
        self._stillborn = 0

    def __enter__(self) -> StudyPool[_In, _Out]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(self._processes)

    def map(self, items: Iterable[_In]) -> Iterator[_Out | OslerError]:
        """The result for each item in order, or the error for which a study is refused.

        Raises:
            Cancelled: when ``cancel`` is set; what is under way is dropped.
            OslerError: when no process starts.
        """
        here = _Round(iter(items))
        try:
            while True:
                self._hand_out(here)
                if here.turn in here.results:
                    here.turn += 1
                    yield here.results.pop(here.turn - 1)
                elif self._busy():
                    self._listen(here)
                else:
                    return
        finally:
            self._end(self._busy())  # what they would still answer belongs to no later round

    def _busy(self) -> list[PoolProcess]:
        return [process for process in self._processes if process.tasks]

    def _hand_out(self, here: _Round) -> None:
        """Give studies to whoever can take one; a study that is tried again waits until all others are done."""
        busy = self._busy()
        if here.again:
            if not busy:
                self._started().give(here.again.popleft(), self._memory)
            return
        if any(process.tasks[0].fault for process in busy):
            return
        until = here.turn + _WAITING * self._most
        while self._has_room() and (task := here.next_task(until)) is not None:
            self._least_busy().give(task, self._memory // self._most)

    def _has_room(self) -> bool:
        return len(self._processes) < self._most or any(len(process.tasks) < _GIVEN for process in self._processes)

    def _least_busy(self) -> PoolProcess:
        least = min(self._processes, key=lambda process: len(process.tasks), default=None)
        if least is None or (least.tasks and len(self._processes) < self._most):
            return self._started()
        return least

    def _started(self) -> PoolProcess:
        self._processes.append(PoolProcess(self._function, self._limits.seconds))
        return self._processes[-1]

    def _listen(self, here: _Round) -> None:
        """Take the answers that there are, or wait a moment for one."""
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()
        busy = self._busy()
        speaking = wait([process.connection for process in busy], _TICK)
        for process in busy:
            if process.connection in speaking:
                self._hear(here, process)
            elif process.late:
                process.kill()
                limit = f"took longer than {self._limits.seconds:g} s"
                self._lost(here, process, process.tasks.pop(0), limit if process.ready else "did not start")

    def _hear(self, here: _Round, process: PoolProcess) -> None:
        try:
            answer = process.answer()
        except (EOFError, OSError):
            self._lost(here, process, process.tasks.pop(0), process.end())
            return
        self._stillborn = 0
        if answer is None:
            return
        task, (kind, *values) = answer
        if kind == "memory":
            process.kill()
            bound = self._memory if task.fault else self._memory // self._most
            self._lost(here, process, task, f"needed more than {bound / 1e9:.2g} GB of memory")
        elif kind == "done" or isinstance(values[0], REFUSALS):
            here.results[task.number] = values[0]
        else:
            error, text = values
            error.add_note(text)
            raise error

    def _lost(self, here: _Round, process: PoolProcess, task: Task, fault: str) -> None:
        """A dead process: its first study is tried again or refused, those that it had not begun are given back."""
        self._processes.remove(process)
        here.given_back.extend(process.tasks)
        process.tasks.clear()
        if not process.ready:
            self._stillborn += 1
            if self._stillborn >= _STARTS:
                raise OslerError(f"the processes that work on the studies do not start: the last one {fault}")
            here.given_back.appendleft(task)
        elif task.fault:
            here.results[task.number] = _refusal(self._name(task.item), task.fault, fault)
        else:
            here.again.append(replace(task, fault=fault))
            if self._say is not None:
                self._say(f"{self._name(task.item)}: its process {fault}; it is tried once more, alone")

    def _end(self, processes: list[PoolProcess]) -> None:
        for process in tuple(processes):
            process.kill()
            self._processes.remove(process)


def _refusal(name: str, first: str, second: str) -> Unreadable:
    again = "and again" if first == second else f"and, tried once more alone, {second}"
    scarce = "SIGKILL" in second or "memory" in second
    return Unreadable(f"the process that worked on {name} {first} {again}", remedy=_FREE_MEMORY if scarce else _LOOK)
