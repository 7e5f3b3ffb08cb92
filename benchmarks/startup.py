"""How long commands take to start, beside what importing a deep learning library alone takes."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from _runs import DATA, WORK, osler, run
from _table import Row, write_table

TIMES = 7
OSLER = Path(sys.executable).parent / "osler"


def _seconds(*command: str | Path) -> tuple[float, float, float]:
    """Median, fastest and slowest of several starts, after one that warms the file cache."""
    run(command)
    taken = sorted(run(command).seconds for _ in range(TIMES))
    return statistics.median(taken), taken[0], taken[-1]


if __name__ == "__main__":
    model = WORK / "startup"
    osler("train", DATA / "hippocampus", "--steps", "4", "--output", model, "--force")
    scan = next((DATA / "hippocampus" / "imagesTr").glob("*.nii.gz"))
    measured = {
        "osler --help": _seconds(OSLER, "--help"),
        "osler predict, one study of 36×50×35 voxels": _seconds(
            OSLER, "predict", model, scan, "--output", WORK / "startup-out", "--force"
        ),
        "osler inspect, 207 studies": _seconds(OSLER, "inspect", DATA / "hippocampus"),
        "python -c 'import torch'": _seconds(sys.executable, "-c", "import torch"),
        "python -c 'import monai'": _seconds(sys.executable, "-c", "import monai"),
    }
    write_table(
        "startup",
        "Time from the command to its end",
        [
            Row(what, median * 1000, low * 1000, high * 1000, unit="ms", n=f"median of {TIMES}, fastest to slowest")
            for what, (median, low, high) in measured.items()
        ],
        notes=["Nothing is kept running between commands. Osler loads no torch to predict or inspect."],
    )
