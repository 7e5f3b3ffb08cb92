"""Processes that kill themselves, hang and eat memory, and what is left of the others' work."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from osler.datasets.parallel import over_studies
from osler.datasets.pool import Limits, StudyPool
from osler.errors import Cancelled, GridMismatch, OslerError, Unreadable
from osler.progress import CancelToken


def square(number):
    return number * number, os.getpid()


def killed(bad, item):
    if item == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def killed_at_first(folder, item):
    marker = Path(folder) / str(item)
    if item in (3, 5) and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def crashed(item):
    if item == 2:
        ctypes.string_at(0)  # reads what is at address 0
    return item


def hung(item):
    if item == 1:
        time.sleep(1000)
    return item


def hungry(folder, item):
    """Item 1 asks for 700 MB; a record of the processes that tried it is kept."""
    if item == 1:
        (Path(folder) / f"try-{os.getpid()}").touch()
        return int(np.ones(700 << 20, np.uint8)[::4096].sum() > 0)
    return item


def refused(item):
    if item == 2:
        raise Unreadable("study 2 is damaged", remedy="write it anew")
    if item == 3:
        raise GridMismatch("study 3 does not fit")
    return item


def faulty(item):
    return {}[item]


def exits(item):
    if item == 0:
        os._exit(3)
    return item


def slow(folder, item):
    """Leaves its process's number in the folder and works for long."""
    (Path(folder) / f"{os.getpid()}.pid").touch()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        sum(range(1000))
    return item


def through(function, items, **options):
    lines = []
    with StudyPool(function, say=lines.append, **({"processes": 2} | options)) as pool:
        return list(pool.map(items)), lines


def alive(process):
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


def eventually(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.05)
    return condition()


def test_results_come_in_order_out_of_other_processes_and_a_pool_can_be_used_again():
    with StudyPool(square, processes=2) as pool:
        first, second = list(pool.map(range(40))), list(pool.map(range(3)))
    assert [value for value, _ in first] == [n * n for n in range(40)]
    assert [value for value, _ in second] == [0, 1, 4]
    processes = {process for _, process in first + second}
    assert len(processes) <= 2
    assert os.getpid() not in processes
    assert not any(alive(process) for process in processes)


def test_a_study_that_kills_its_process_is_named_tried_once_more_and_refused_and_the_others_are_done():
    results, lines = through(partial(killed, 4), range(12), name=lambda item: f"case{item}")
    assert lines == ["case4: its process was killed (SIGKILL); it is tried once more, alone"]
    assert [r for r in results if not isinstance(r, OslerError)] == [n for n in range(12) if n != 4]
    assert isinstance(results[4], Unreadable)
    assert str(results[4]) == (
        "the process that worked on case4 was killed (SIGKILL) and again. "
        "give it more memory, make the study smaller, or leave it out."
    )


def test_studies_whose_processes_are_killed_once_are_done_at_the_second_try(tmp_path):
    results, lines = through(partial(killed_at_first, str(tmp_path)), range(8))
    assert results == list(range(8))
    assert len(lines) == 2


def test_a_crash_in_c_code_costs_one_study():
    results, _ = through(crashed, range(4))
    assert results[:2] + results[3:] == [0, 1, 3]
    assert "crashed (SIGSEGV) and again" in results[2].problem
    assert results[2].remedy == "write its files anew, or leave it out"


def test_a_process_that_ends_by_itself_is_no_end_of_the_work():
    results, _ = through(exits, range(3))
    assert results[1:] == [1, 2]
    assert "ended by itself (exit code 3)" in results[0].problem


def test_a_study_that_hangs_is_given_up_and_the_others_are_done():
    results, lines = through(hung, range(5), limits=Limits(seconds=1.0))
    assert [r for r in results if not isinstance(r, OslerError)] == [0, 2, 3, 4]
    assert lines == ["1: its process took longer than 1 s; it is tried once more, alone"]
    assert "took longer than 1 s and again" in results[1].problem


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux bounds the memory of a process")
@pytest.mark.parametrize(("memory", "succeeds"), [(1 << 31, True), (1 << 29, False)])
def test_a_study_that_needs_more_than_its_share_is_tried_with_the_memory_of_all(tmp_path, memory, succeeds):
    pool = StudyPool(partial(hungry, str(tmp_path)), processes=4, limits=Limits(memory=memory))
    pool._most = 4
    with pool:
        results = list(pool.map(range(6)))
    assert len(list(tmp_path.iterdir())) == 2
    assert [r for r in results if not isinstance(r, OslerError)] == [0, 1, 2, 3, 4, 5] if succeeds else [0, 2, 3, 4, 5]
    if not succeeds:
        assert "needed more than 0.13 GB of memory and, tried once more alone, needed more than 0.54 GB" in str(
            results[1]
        )


@pytest.mark.parametrize("processes", [0, 2])
def test_what_is_wrong_with_one_study_stands_among_the_results(processes):
    with over_studies(refused, seconds=0, processes=processes) as each:
        results = list(each(range(5)))
    assert [r for r in results if not isinstance(r, OslerError)] == [0, 1, 4]
    assert [type(results[2]), str(results[2])] == [Unreadable, "study 2 is damaged. write it anew."]
    assert isinstance(results[3], GridMismatch)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_fault_of_the_program_is_raised_with_its_place(processes):
    with (
        over_studies(faulty, seconds=0, processes=processes) as each,
        pytest.raises(KeyError, match=r"[0-2]") as caught,
    ):
        list(each(range(3)))
    if processes:
        assert "in faulty" in caught.value.__notes__[0]


def test_results_that_nobody_takes_do_not_pile_up():
    taken = []

    def items():
        for n in range(1000):
            taken.append(n)
            yield n

    with StudyPool(square, processes=2) as pool:
        results = pool.map(items())
        next(results)
        time.sleep(0.5)
        assert len(taken) <= 1 + 2 * 4
        results.close()


def test_a_stop_ends_the_processes_at_once(tmp_path):
    cancel = CancelToken()
    with StudyPool(partial(slow, str(tmp_path)), processes=2, cancel=cancel) as pool:
        results = pool.map(range(5))
        begun = time.monotonic()
        threading.Timer(0.1, cancel.cancel).start()
        with pytest.raises(Cancelled, match="stopped at your request"):
            next(results)
    assert time.monotonic() - begun < 30
    assert not any(alive(int(path.stem)) for path in tmp_path.glob("*.pid"))


def test_processes_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from functools import partial\nfrom test_pool import slow\nfrom osler.datasets.pool import StudyPool\n"
        f"with StudyPool(partial(slow, {str(tmp_path)!r}), processes=2) as pool:\n    list(pool.map(range(9)))\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    try:
        assert eventually(lambda: len(list(tmp_path.glob("*.pid"))) == 2, 60)
        workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
        assert all(alive(worker) for worker in workers)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not any(alive(worker) for worker in workers))


def test_processes_that_do_not_start_are_said(monkeypatch):
    monkeypatch.setattr("osler.datasets.pool_process._SCRIPT", Path("/nowhere.py"))
    with StudyPool(square, processes=2) as pool, pytest.raises(OslerError, match=r"do not start.*exit code 2"):
        list(pool.map(range(3)))


def test_little_work_stays_in_this_process_and_much_does_not():
    for seconds, stays in ((1.0, True), (100.0, False)):
        with over_studies(square, seconds=seconds, workers=2) as each:
            assert ({process for _, process in each(range(4))} == {os.getpid()}) is stays
