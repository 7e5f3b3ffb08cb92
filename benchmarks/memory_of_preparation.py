"""How much memory looking at studies and preparing them takes, for few studies and for many. Linux.

    python benchmarks/memory_of_preparation.py [--counts 10,200,2000]

Osler decides by the size of the work whether to start processes. So that the numbers of studies can be compared, the
same two processes work in every run here.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from _many_studies import hippocampi
from _memory import Peak, watch
from _runs import WORK
from _table import Row, write_table

GROWTH = 1.25
PROCESSES = 2


def _inspect(folder: Path, output: Path) -> None:
    """As ``osler inspect FOLDER --output OUTPUT``."""
    from osler.datasets import parallel
    from osler.workflows.inspect import inspect

    parallel.WORTH_PROCESSES_S = 0.0
    inspect(folder, output=output, force=True)


def _prepare(folder: Path, output: Path) -> None:
    """As ``osler train`` up to its first step: splits, fingerprint, plan, prepared store."""
    from osler.datasets import parallel
    from osler.datasets.layouts import open_dataset
    from osler.datasets.measure import measure
    from osler.datasets.planner import make_plan
    from osler.datasets.splits import assign_splits
    from osler.datasets.store import PreparedStore

    parallel.WORTH_PROCESSES_S = 0.0
    dataset = assign_splits(open_dataset(folder), seed=0)
    plan = make_plan(measure(dataset, dataset.records), budget_s=900)
    store = PreparedStore.build(dataset, dataset.records, plan, output, workers=PROCESSES)
    if store.refused:
        raise SystemExit(f"refused: {store.refused}")


STEPS = {"inspect": _inspect, "prepare": _prepare}


def _measured(step: str, count: int) -> Peak:
    output = WORK / f"memory-{step}"
    shutil.rmtree(output, ignore_errors=True)
    return watch([sys.executable, __file__, "--step", step, hippocampi(count), output])


def _rows(step: str, counts: list[int]) -> list[Row]:
    peaks = [_measured(step, count) for count in counts]
    most = GROWTH * peaks[0].tree
    rows = []
    for count, peak in zip(counts, peaks, strict=True):
        over = f"{peak.processes} processes, {peak.seconds:.0f} s"
        reach = "" if count == counts[0] else f"≤ {most:.0f} MB ({GROWTH:g} × that of {counts[0]:,})"
        rows.append(Row(f"{step} {count:,} studies, all processes", peak.tree, n=over, must_reach=reach, unit="MB"))
        rows.append(Row(f"{step} {count:,} studies, main process alone", peak.main, n=over, unit="MB"))
    return rows


def main(counts: list[int]) -> None:
    """Measure and write the table."""
    write_table(
        "memory_of_preparation",
        "Peak memory by number of studies (MR volumes of about 36×50×35 voxels with masks)",
        [row for step in STEPS for row in _rows(step, counts)],
        notes=[
            "All processes: proportional set size of the process and all that it started, every 20 ms. Main process: "
            "high-water mark of its resident set.",
            "Kept per study: its record, and about 10 kB of what was noted of it (inspect) or its place in the store "
            "(prepare). What more studies also bring, up to a bound that 200 of them reach: the intensities of 200 "
            "studies, a pack of 4 MB on its way to the disk, and the libraries that comparing them needs.",
        ],
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        STEPS[sys.argv[2]](Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        given = sys.argv[sys.argv.index("--counts") + 1] if "--counts" in sys.argv else "10,200,2000"
        main([int(count) for count in given.split(",")])
