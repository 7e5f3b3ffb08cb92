from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from osler.inference.meter import Meter


def test_time_and_memory_of_a_piece_of_work_are_measured():
    with Meter() as idle:
        time.sleep(0.02)
    with Meter() as busy:
        np.ones(40_000_000, np.uint8).sum()
    assert 0.02 <= idle.seconds < 1
    assert busy.peak_mb >= idle.peak_mb


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets a process's peak")
def test_the_peak_is_that_of_this_piece_of_work():
    with Meter() as busy:
        np.ones(200_000_000, np.uint8).sum()
    with Meter() as idle:
        pass
    assert busy.peak_mb - idle.peak_mb > 150


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets a process's peak")
def test_a_peak_is_reset_only_where_it_is_above_what_is_resident(monkeypatch):
    resets = []

    class Clear:
        def write_text(self, text):
            resets.append(text)
            Path("/proc/self/clear_refs").write_text(text)

    with Meter():
        pass
    monkeypatch.setattr("osler.inference.meter._CLEAR", Clear())
    for _ in range(100):
        with Meter():
            pass
    assert len(resets) < 5
    with Meter():
        np.ones(50_000_000, np.uint8).sum()
    assert resets
