from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from osler.inference.stages import Behind, ahead


def threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("osler-ahead", "osler-behind"))]


def test_items_come_in_order_and_one_is_made_ahead():
    made = []

    def items():
        for n in range(5):
            made.append(n)
            yield n

    with closing(ahead(items())) as coming:
        assert next(coming) == 0
        time.sleep(0.05)
        assert made == [0, 1]
        assert list(coming) == [1, 2, 3, 4]
    assert threads() == []


def test_what_is_raised_ahead_comes_out_as_it_is():
    def items():
        yield 1
        raise ValueError("damaged")

    with closing(ahead(items())) as coming:
        assert next(coming) == 1
        with pytest.raises(ValueError, match="damaged"):
            next(coming)
    assert threads() == []


def test_whoever_stops_leaves_nothing_running():
    closed = []

    def items():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    with closing(ahead(items())) as coming:
        next(coming)
    assert closed == [True]
    assert threads() == []


def test_work_behind_is_done_in_order_one_at_a_time():
    done, running = [], []

    def work(item):
        running.append(item)
        assert len(running) == 1
        time.sleep(0.01)
        running.remove(item)
        done.append(item)

    with Behind(work) as behind:
        for n in range(5):
            behind.give(n)
        behind.finish()
    assert done == [0, 1, 2, 3, 4]
    assert threads() == []


def test_what_work_behind_raises_comes_out_with_the_next_item():
    def work(item):
        raise OSError("full")

    with Behind(work) as behind:
        behind.give(1)
        with pytest.raises(OSError, match="full"):
            behind.give(2)
    assert threads() == []
