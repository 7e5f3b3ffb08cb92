"""An archive spread over a Ray cluster: the same run as on one machine, in workers that each have the model loaded.

What it promises:

- **Every worker runs ``PredictionRun``**, so a study gets the same answer wherever it is predicted. Workers write
  results themselves: model, studies and output must lie where every machine sees them under the same path.
- **A worker that is lost** (killed, out of memory, its machine gone) is replaced. The studies that it had in hand are
  tried once more, each by a worker that has nothing else in hand; one with which a second worker is lost is refused
  with both reasons. No other study is lost.
- **The order of results** is that of the studies. What is finished is written down as soon as the worker tells.
- **Stopping** begins nothing new and finishes what workers have in hand.

Ray is asked not to send usage statistics anywhere.
"""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from osler.errors import OslerError, UsageError
from osler.extras import require
from osler.inference.constants import known_constants
from osler.inference.engines import Precision
from osler.inference.predictor import Predictor
from osler.models.folder import Model
from osler.progress import CancelToken
from osler.studies.discovery import Found
from osler.workflows.estimate import Gauge
from osler.workflows.finished import Journal
from osler.workflows.prediction_run import PredictionRun
from osler.workflows.predictions import PredictedStudy

__all__ = ["ClusterRun", "Worker", "WorkerSetup"]

_SCHEME = "ray://"
_UNREACHED = "check the address and port, and that RAY_AUTH_MODE and RAY_AUTH_TOKEN are those that it was started with"
_TICK_S = 0.2
_START_S = 300.0
_GIVEN = 2  # tasks a worker holds: the one that it works on, and one so that it need not wait
_MOST_TOGETHER = 64  # small studies in one task
_STARTS = 3  # workers in a row that do not start


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker is made with; paths are absolute."""

    model: Path
    digest: str
    place: Path
    engine: str
    precision: Precision
    mirror: bool
    every_window: bool
    pictures: bool
    threads: int
    memory: int | None


class Worker:
    """What runs on a machine of the cluster. The story: ``begin`` once, then ``work`` any number of times.

    Osler's errors are given back and not raised, because they keep their remedy so.
    """

    def __init__(self, setup: WorkerSetup) -> None:
        self._setup = setup
        self._run: PredictionRun | None = None

    def begin(self) -> str | OslerError:
        """Load the model; the name of the machine."""
        setup = self._setup
        try:
            model = Model.open(setup.model)
            if model.info.digest != setup.digest:
                raise UsageError(
                    f"{setup.model} on {platform.node()} is another model", remedy="put the same model on all machines"
                )
            predictor = Predictor(
                model,
                engine=setup.engine,
                precision=setup.precision,
                mirror=setup.mirror,
                every_window=setup.every_window,
                threads=setup.threads,
            )
            predictor.__enter__()  # it lives as long as the process
        except OslerError as error:
            return error
        gauge = Gauge(predictor, known_constants(predictor), memory=setup.memory)
        check = gauge.check if predictor.plan.task == "segment" else None
        self._run = PredictionRun(predictor, setup.place, pictures=setup.pictures, check=check, threads=setup.threads)
        return platform.node()

    def work(self, found: Sequence[Found]) -> list[PredictedStudy] | OslerError:
        """Predict studies and write their results."""
        if self._run is None:
            return UsageError("the worker was not begun")
        try:
            return list(self._run.over(found))
        except OslerError as error:
            return error


@dataclass(frozen=True)
class _Task:
    """Studies from number ``first`` on; ``fault`` says how its first attempt ended, "" before."""

    first: int
    found: tuple[Found, ...]
    fault: str = ""


@dataclass(eq=False)
class _Hold:
    """The driver's hold on a worker: what it was given and has not answered, by Ray's reference, in order."""

    actor: Any
    beginning: Any
    machine: str = ""
    tasks: dict[Any, _Task] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    def takes(self, task: _Task) -> bool:
        """What is tried once more goes alone: a worker that ends leaves open with which of its tasks it did."""
        if not self.machine or any(held.fault for held in self.tasks.values()):
            return False
        return len(self.tasks) < (1 if task.fault else _GIVEN)


class ClusterRun:
    """The story: made, entered (Ray is joined, or started on this machine), ``over`` once, left.

    Args:
        address: ``ray://HOST:PORT`` of a cluster, or ``ray`` for one on this machine that lives as long as the run.
        setup: of the workers; ``threads`` 0 gives each worker all processors of a machine.
        journal: gets each study that was finished.
        together: whether studies are small, and several go into one task.

    Raises:
        UsageError: for another address.
    """

    def __init__(
        self, address: str, setup: WorkerSetup, *, journal: Journal, together: bool, say: Callable[[str], None]
    ) -> None:
        if address != "ray" and not address.startswith(_SCHEME):
            raise UsageError(
                f"{address!r} is no place for workers", remedy="write ray://HOST:PORT, or ray for this machine"
            )
        self._address = address
        self._setup = setup
        self._journal = journal
        self._most = _MOST_TOGETHER if together else 1
        self._say = say
        self._ray: Any = None
        self._joined = False
        self._holds: list[_Hold] = []
        self._size = self._count = 1
        self._stillborn = 0

    def __enter__(self) -> ClusterRun:
        """Raises:
        MissingExtra: without Ray.
        UsageError: when the cluster does not answer.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = require("ray", extra="cluster", purpose="spreading studies over machines")
        if not self._ray.is_initialized():
            self._join()
        nodes = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
        processors = [count for count in nodes if count > 0]
        if not processors:
            raise UsageError(f"the cluster at {self._address} has no processors", remedy="add machines to it")
        self._size = self._setup.threads or min(processors)
        if self._size > max(processors):
            raise UsageError(
                f"no machine of the cluster has {self._size} processors; the largest has {max(processors)}",
                remedy=f"give --threads {max(processors)} or fewer",
            )
        self._count = max(1, sum(count // self._size for count in processors))
        self._setup = replace(self._setup, threads=self._size)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hold in self._holds:
            self._ray.kill(hold.actor)
        self._holds.clear()
        if self._joined:
            self._ray.shutdown()

    def over(
        self, found: Sequence[Found], *, cancel: CancelToken | None = None
    ) -> Generator[PredictedStudy, None, None]:
        """What becomes of each study, in order; see ``PredictionRun.over``.

        Raises:
            OslerError: when workers do not start, or one cannot write.
        """
        waiting = deque(self._tasks([_absolute(one) for one in found]))
        results: dict[int, PredictedStudy] = {}
        turn = 0
        while True:
            stopped = cancel is not None and cancel.cancelled
            self._hand_out(waiting, stopped=stopped)
            while turn in results:
                yield results.pop(turn)
                turn += 1
            if not any(hold.tasks for hold in self._holds) and (stopped or not waiting):
                break
            for number, study in self._listen(waiting):
                results[number] = study
            self._check_started()
        for number in sorted(results):  # after a stop some are missing in between
            yield results[number]

    def _join(self) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if self._address == "ray":
                self._ray.init(address="local", include_dashboard=False, **quiet)
            else:
                self._ray.init(self._address, **quiet)
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = lines[-1].rstrip(".") if lines else type(error).__name__
            raise UsageError(
                f"the Ray cluster at {self._address} does not answer ({reason})", remedy=_UNREACHED
            ) from error
        self._joined = True

    def _tasks(self, found: Sequence[Found]) -> list[_Task]:
        size = max(1, min(self._most, len(found) // (4 * self._count)))
        return [_Task(n, tuple(found[n : n + size])) for n in range(0, len(found), size)]

    def _hand_out(self, waiting: deque[_Task], *, stopped: bool) -> None:
        """Start workers while there is work for them, and give each that has begun what it can hold."""
        if stopped:
            return
        while len(self._holds) < min(self._count, len(waiting) + len(self._holds)):
            self._holds.append(self._started())
        for _ in range(_GIVEN):
            for hold in self._holds:
                if waiting and hold.takes(waiting[0]):
                    task = waiting.popleft()
                    hold.tasks[hold.actor.work.remote(task.found)] = task

    def _check_started(self) -> None:
        """Raises:
        OslerError: when the cluster gives no worker for a long time: others may be using its processors.
        """
        since = min((hold.since for hold in self._holds), default=time.monotonic())
        if time.monotonic() - since > _START_S and not any(hold.machine for hold in self._holds):
            raise OslerError(
                f"the cluster at {self._address} has started no worker for {_START_S:.0f} s",
                remedy="wait until others have left it, or give fewer --threads",
            )

    def _started(self) -> _Hold:
        actor = self._ray.remote(Worker).options(num_cpus=self._size, max_restarts=0).remote(self._setup)
        return _Hold(actor, actor.begin.remote())

    def _listen(self, waiting: deque[_Task]) -> Generator[tuple[int, PredictedStudy], None, None]:
        """Take what workers answer, or wait a moment for it."""
        asked = {hold.beginning: hold for hold in self._holds if not hold.machine}
        asked |= {reference: hold for hold in self._holds for reference in hold.tasks}
        spoken, _ = self._ray.wait(list(asked), num_returns=1, timeout=_TICK_S)
        for reference in spoken:
            hold = asked[reference]
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError:  # a fault of the program, with the worker's traceback
                raise
            except self._ray.exceptions.RayError as error:
                yield from self._lost(hold, error, waiting)
                return
            if isinstance(answer, OslerError):
                raise answer
            if reference in hold.tasks:
                yield from self._taken(hold.tasks.pop(reference), answer)
            else:
                hold.machine, self._stillborn = answer, 0

    def _taken(self, task: _Task, done: Sequence[PredictedStudy]) -> Generator[tuple[int, PredictedStudy], None, None]:
        for number, study in enumerate(done, task.first):
            if study.findings is not None:
                self._journal.add(study)
            yield number, study

    def _lost(
        self, hold: _Hold, error: Exception, waiting: deque[_Task]
    ) -> Generator[tuple[int, PredictedStudy], None, None]:
        """Its first task is tried again study by study or refused, the others are given back."""
        self._holds.remove(hold)
        fault = _why(error)
        if not hold.machine:
            self._stillborn += 1
            if self._stillborn >= _STARTS:
                raise OslerError(
                    f"workers do not start on the cluster: the last one {fault}", remedy="look at its logs"
                )
            return
        first, *rest = hold.tasks.values()
        waiting.extendleft(reversed(rest))
        if first.fault:
            (study,) = first.found
            again = "and again" if first.fault.endswith(fault) else f"and, tried once more by another, {fault}"
            reason = f"failed: the worker that worked on it {first.fault} {again}"
            yield first.first, PredictedStudy(study.name, reason, 0.0, 0.0, {})
            return
        where = f"on {hold.machine}"
        names = ", ".join(study.name for study in first.found[:3]) + (" ..." if len(first.found) > 3 else "")
        self._say(f"{names}: the worker {where} {fault}; tried once more by another")
        alone = [_Task(first.first + n, (study,), f"{where} {fault}") for n, study in enumerate(first.found)]
        waiting.extendleft(reversed(alone))


def _absolute(found: Found) -> Found:
    return replace(found, paths={channel: path.absolute() for channel, path in found.paths.items()})


def _why(error: Exception) -> str:
    """How a worker ended, in words that follow "the worker"."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "low on memory" in text:  # "memory" alone Ray always suspects
        return "was killed because memory ran out"
    return "died" if "SIGKILL" not in text else "was killed"
