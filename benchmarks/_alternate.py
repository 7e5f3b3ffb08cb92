"""Several ways of doing the same, run in turns: what else the machine does meanwhile falls on all of them alike."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from _runs import Run
from _table import QUICK, Row

__all__ = ["RUNS", "Times", "alternate", "times_faster"]

RUNS = 1 if QUICK else int(sys.argv[sys.argv.index("--runs") + 1]) if "--runs" in sys.argv else 5


@dataclass(frozen=True)
class Times:
    """Seconds of several runs, and the largest resident memory of any of them in MB.

    ``records`` are what each run printed last, where that was JSON.
    """

    seconds: tuple[float, ...]
    peak_mb: float
    records: tuple[dict[str, Any], ...] = ()

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.seconds)

    def row(self, what: str, **more: Any) -> Row:
        """Median, fastest and slowest."""
        n = f"median of {len(self.seconds)}, fastest to slowest"
        return Row(what, self.median, min(self.seconds), max(self.seconds), n, unit="s", **more)


def alternate(ways: Mapping[str, Callable[[], Run]], *, runs: int = RUNS, warm: bool = True) -> dict[str, Times]:
    """Run each way in turn, again and again.

    Args:
        ways: each starts a process that does the work; a run that prints ``{"seconds": s, ...}`` last measured itself,
            of any other the whole process counts.
        runs: of each, after one more that warms the file cache and is thrown away.
        warm: without it the first run counts too; for work whose reading does not matter.
    """
    done: dict[str, list[Run]] = {name: [] for name in ways}
    before = 1 if warm and not QUICK else 0
    for number in range(before + runs):
        for name, way in ways.items():
            ended = way()
            print(f"  {name}: {_seconds_of(ended):.3f} s, {ended.peak_mb:.0f} MB", file=sys.stderr)
            if number >= before:
                done[name].append(ended)
    return {
        name: Times(tuple(map(_seconds_of, ended)), max(run.peak_mb for run in ended), tuple(map(_record_of, ended)))
        for name, ended in done.items()
    }


def times_faster(what: str, ours: Times, theirs: Times, **more: Any) -> Row:
    """The ratio of the medians; its interval is the least and the greatest of the ratios turn by turn."""
    turns = [their / our for our, their in zip(ours.seconds, theirs.seconds, strict=True)]
    return Row(what, theirs.median / ours.median, min(turns), max(turns), f"{len(turns)} turns", **more)


def _record_of(run: Run) -> dict[str, Any]:
    lines = run.output.splitlines()
    return run.record if lines and lines[-1].startswith("{") else {}


def _seconds_of(run: Run) -> float:
    return float(_record_of(run).get("seconds", run.seconds))
