"""Stages that overlap: what comes before a piece of work, and what comes after it, in threads of their own.

Bounded by one: one item is made ahead of the one in hand, and one is worked on behind it. What a thread raises is
raised where its result is waited for, as it is. Nothing outlives the block that it was begun in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

__all__ = ["Behind", "ahead"]

Item = TypeVar("Item")


class _End:
    """What an iterator has none of."""


def ahead(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """The same items; while one is in hand the next is made. To be closed, with ``contextlib.closing``."""
    end = _End()
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="osler-ahead") as thread:
            coming: Future[Item | _End] = thread.submit(next, items, end)
            while not isinstance(item := coming.result(), _End):
                coming = thread.submit(next, items, end)
                yield item
    finally:
        items.close()


class Behind(Generic[Item]):
    """The story: made with what is to be done, entered, given one item after the other, finished, left.

    Args:
        work: done with each item, in the order in which they are given.
    """

    def __init__(self, work: Callable[[Item], None]) -> None:
        self._work = work
        self._last: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="osler-behind")

    def __enter__(self) -> Behind[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def give(self, item: Item) -> None:
        """Begin with an item as soon as the one before is done, and return then.

        Raises:
            BaseException: what the work on the one before raised.
        """
        self.finish()
        self._last = self._thread.submit(self._work, item)

    def finish(self) -> None:
        """Wait for the last item; raises as ``give``."""
        if self._last is not None:
            self._last.result()
