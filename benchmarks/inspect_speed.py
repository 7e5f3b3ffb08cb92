"""How long ``osler inspect`` takes for thousands of small images, and what it spends the time on.

    python benchmarks/inspect_speed.py [--count 5000]

Each figure is the whole command in a process of its own, from its start to its end, with the page that it writes.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from _many_studies import hippocampi, radiographs
from _runs import DATA, WORK, osler
from _table import Row, write_table

TIMES = 3


def _seconds(*arguments: str | Path) -> tuple[float, float, float]:
    taken = sorted(osler("inspect", *arguments).seconds for _ in range(TIMES))
    return statistics.median(taken), taken[0], taken[-1]


def _row(what: str, data: Path, must_reach: str = "", *, page: bool = False) -> Row:
    arguments: list[str | Path] = ["--output", WORK / "inspect-speed", "--force"] if page else []
    return Row(what, *_seconds(data, *arguments), f"median of {TIMES}", must_reach, unit="s")


def main(count: int) -> None:
    """Measure and write the table."""
    reach = f"< 60 s for 5,000, so < {60 * count / 5000:.0f} s" if count != 5000 else "< 60 s"
    write_table(
        "inspect_speed",
        "osler inspect of small images",
        [
            _row("5,856 radiographs of 28×28 in an archive (.npz)", DATA / "pneumoniamnist", "< 60 s"),
            _row(f"{count:,} PNG files of 28×28 in class folders", radiographs(count), reach),
            _row(f"{count:,} PNG files of 28×28, with the page", radiographs(count), reach, page=True),
            _row(f"{count:,} PNG files of 128×128 in class folders", radiographs(count, 128), reach),
            _row("207 MR volumes of about 36×50×35", DATA / "hippocampus"),
            _row("2,000 MR volumes of about 36×50×35", hippocampi(2000)),
        ],
        notes=["File cache warm. Fastest to slowest in brackets."],
    )


if __name__ == "__main__":
    main(int(sys.argv[sys.argv.index("--count") + 1]) if "--count" in sys.argv else 5000)
