from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from osler.inference.meter import Meter


def test_time_and_memory_of_a_piece_of_work_are_measured():
    with Meter() as idle:
        time.sleep(0.02)
    with Meter() as busy:
        np.ones(40_000_000, np.uint8).sum()
    assert idle.seconds >= 0.02
    assert busy.peak_mb >= idle.peak_mb


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets a process's peak")
def test_the_peak_is_that_of_this_piece_of_work():
    with Meter() as busy:
        np.ones(200_000_000, np.uint8).sum()
    with Meter() as idle:
        pass
    assert busy.peak_mb - idle.peak_mb > 150


@pytest.mark.parametrize(("peak", "resident", "reset"), [(900, 899, False), (900, 900, False), (900, 700, True)])
def test_a_peak_is_reset_only_where_it_is_above_what_is_resident(monkeypatch, tmp_path, peak, resident, reset):
    clear = tmp_path / "clear_refs"
    monkeypatch.setattr("osler.inference.meter._CLEAR", clear)
    monkeypatch.setattr("osler.inference.meter._bytes", lambda: (peak * 1_000_000, resident * 1_000_000))
    with Meter() as meter:
        pass
    assert meter.peak_mb == peak
    assert clear.exists() == reset
