"""Doing the same to many cases in threads: in order, with bounded memory, stopping when asked to."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from osler.progress import CancelToken

__all__ = ["in_threads"]

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def in_threads(
    function: Callable[[_In], _Out], items: Iterable[_In], *, workers: int = 0, cancel: CancelToken | None = None
) -> Iterator[_Out]:
    """``map`` in threads (NumPy, SciPy and zlib release the interpreter's lock), results in the order of ``items``.

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


def _next(waiting: deque[Future[_Out]], cancel: CancelToken | None) -> _Out:
    if cancel is not None:
        cancel.raise_if_cancelled()
    return waiting.popleft().result()
