"""The process that reads damaged inputs, so that a crash, a hang or its hunger takes only this process with it.

It runs as a script: one JSON argument says what to read, and every step is a line of JSON on the standard output, so
that whoever watches knows what was being read when no further line comes.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import logging
import os
import resource
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz_judge import MOST_BYTES, Call, Verdict, judge
from fuzz_list import TARGETS
from fuzz_targets import Target, make_case

__all__ = ["CASE", "main"]

CASE = "case"
_ROOM = 4 << 30  # of address space beyond the start: what is reserved and never touched does not count as memory


def main(task: dict[str, Any]) -> None:
    """Read inputs ``start`` to ``stop`` of every named target.

    Args:
        task: ``work`` (an empty folder), ``seed``, and ``inputs``: name, start and stop of each target.
    """
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    work = Path(task["work"])
    for name, start, stop in task["inputs"]:
        target = TARGETS[name]
        seeds = target.write_seeds(_empty(work / "seeds" / name))
        _bound_reservations()
        for number in range(start, stop):
            _say(target=name, number=number)
            _read_one(target, seeds, number, task["seed"], work / CASE)
    _say(done=True)


def _read_one(target: Target, seeds: Any, number: int, seed: int, folder: Path) -> None:
    _remove(folder)
    case = make_case(target, seeds, number, seed, folder)
    _reset_peak()
    clock = _Clock()
    names = {one.name for one in (case.path, *folder.rglob("*"))} if target.named else frozenset()
    _say(what=case.what)
    verdict = judge(clock.timed(target.calls(case.path)), names, must_refuse=case.must_refuse)
    peak = _peak()
    if peak > MOST_BYTES:
        verdict = Verdict("failed", f"{peak >> 20} MiB of memory")
    _say(outcome=verdict.outcome, why=verdict.why, what=case.what, seconds=clock.longest, peak=peak)
    _forget()


class _Clock:
    """Processor time of the longest call; tells the watcher when each begins."""

    def __init__(self) -> None:
        self.longest = 0.0

    def timed(self, calls: Iterator[tuple[str, Call]]) -> Iterator[tuple[str, Call]]:
        for name, call in calls:
            _say(call=name)
            before = _processor_time()
            yield name, call
            self.longest = max(self.longest, _processor_time() - before)


def _processor_time() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def _bound_reservations() -> None:
    """A reader that asks for terabytes shall not get them, whatever the system would promise."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ROOM, resource.RLIM_INFINITY))


def _reset_peak() -> None:
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def _peak() -> int:
    """Bytes that were in memory at most since the last reset."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def _forget() -> None:
    """What readers keep for a second call would count as memory of the next input."""
    for module, name in (
        ("osler.studies.formats.npz", "_load_array"),
        ("osler.studies.formats.dicom_index", "_indexed"),
        ("osler.datasets.coco", "_load"),
    ):
        if module in sys.modules:
            getattr(sys.modules[module], name).cache_clear()
    gc.collect(1)


def _empty(folder: Path) -> Path:
    _remove(folder)
    folder.mkdir(parents=True)
    return folder


def _remove(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(os.fsencode(folder))


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
