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
    assert 0.02 <= idle.seconds < 1
    assert busy.peak_mb >= idle.peak_mb


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux resets a process's peak")
def test_the_peak_is_that_of_this_piece_of_work():
    with Meter() as busy:
        np.ones(200_000_000, np.uint8).sum()
    with Meter() as idle:
        pass
    assert busy.peak_mb - idle.peak_mb > 150
