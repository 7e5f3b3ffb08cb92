"""Doing the same to many cases: in order, with bounded memory, stopping when asked to.

Few or small studies are worked on in threads of this process: NumPy, SciPy and zlib release the interpreter's lock, and
nothing has to be started. What takes longer goes to a ``StudyPool``, whose processes may die.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from osler.datasets.pool import REFUSALS, StudyPool
from osler.errors import OslerError
from osler.progress import CancelToken

__all__ = ["WORTH_PROCESSES_S", "in_threads", "over_studies"]

WORTH_PROCESSES_S = 20.0
"""Seconds of work on one core from which processes are started.

Measured on two cores: each process costs about 1.5 s of processor time for its imports. Inspecting 5,856 radiographs of
28 px takes 10 s of processor time in threads, which share the interpreter's lock, and 15 s in two processes."""
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@contextmanager
def over_studies(
    function: Callable[[_In], _Out],
    *,
    seconds: float,
    workers: int = 0,
    processes: int | None = None,
    name: Callable[[_In], str] = str,
    cancel: CancelToken | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Callable[[Iterable[_In]], Iterator[_Out | OslerError]]]:
    """A ``map`` over studies in which the error of one (see ``REFUSALS``) stands among the results of the others.

    The results are the same bits in threads and in processes.

    Args:
        function: see ``StudyPool``.
        seconds: of work on one core, as estimated from the files (``effort.seconds_for``).
        workers: threads or processes; 0 takes one per processor, at most 4.
        processes: 0 never starts any; None starts ``workers`` of them from ``WORTH_PROCESSES_S`` on.
        name: of a study, for messages.
        cancel: looked at before each result.
        say: gets one line when a study is tried again.
    """
    count = workers or min(4, os.cpu_count() or 1)
    if processes is None:
        processes = count if seconds >= WORTH_PROCESSES_S else 0
    if processes == 0:
        yield lambda items: in_threads(partial(_refusing, function), items, workers=count, cancel=cancel)
        return
    with StudyPool(function, processes=processes, name=name, cancel=cancel, say=say) as pool:
        yield pool.map


def in_threads(
    function: Callable[[_In], _Out], items: Iterable[_In], *, workers: int = 0, cancel: CancelToken | None = None
) -> Iterator[_Out]:
    """``map`` in threads, results in the order of ``items``.

    At most ``workers + 1`` results wait to be taken, so that memory does not grow with the number of items.

    Args:
        function: called once per item; what it raises is raised here.
        items: taken as they are needed.
        workers: threads; 0 takes one per processor, at most 4.
        cancel: looked at before each result.

    Raises:
        Cancelled: when ``cancel`` is set; items not yet begun are dropped.
    """
    count = workers or min(4, os.cpu_count() or 1)
    waiting: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(count, thread_name_prefix="osler")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > count:
                yield _next(waiting, cancel)
        while waiting:
            yield _next(waiting, cancel)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _refusing(function: Callable[[_In], _Out], item: _In) -> _Out | OslerError:
    try:
        return function(item)
    except REFUSALS as error:
        return error


def _next(waiting: deque[Future[_Out]], cancel: CancelToken | None) -> _Out:
    if cancel is not None:
        cancel.raise_if_cancelled()
    return waiting.popleft().result()
