"""What a benchmark measured, written as ``results/NAME.md`` for people and ``results/NAME.json`` for programs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _page import figure_text, write_page

__all__ = ["QUICK", "RESULTS", "Row", "machine", "write_table"]

RESULTS = Path(__file__).parent / "results"
QUICK = "--quick" in sys.argv
"""Small sizes and one run, to see whether a benchmark still works; its figures say nothing and are not kept."""


@dataclass(frozen=True)
class Row:
    """One figure: Osler's with its 95 % interval, what it must reach, and a peer's that ran here beside it.

    ``low``, ``high`` and the peer's are None where there is none; ``n`` counts what the figure is over ("53 cases of 53
    patients"); ``unit`` is "" for shares. ``must_reach`` and ``aim`` are words; ``met`` says whether the first is
    reached, None where there is nothing to reach or it was not looked at.
    """

    what: str
    value: float
    low: float | None = None
    high: float | None = None
    n: str = ""
    must_reach: str = ""
    peer: float | None = None
    peer_low: float | None = None
    peer_high: float | None = None
    reference: str = ""
    unit: str = ""
    aim: str = ""
    met: bool | None = None


def machine() -> dict[str, Any]:
    """Processor, cores, memory, load, versions and commit: what a figure depends on besides the code it measures."""
    libraries = ("osler", "torch", "monai", "openvino", "numpy")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "commit": commit.stdout.strip(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


def write_table(
    name: str,
    title: str,
    rows: Sequence[Row],
    *,
    peer: str = "",
    notes: Sequence[str] = (),
    extra: Mapping[str, Any] = {},
) -> None:
    """Print the table, write it, and make the page of all results again.

    Args:
        name: of the two files.
        title: one line.
        rows: the figures.
        peer: what the peer is, for the column's head; "" leaves the column out.
        notes: sentences below the table.
        extra: further values for the JSON.
    """
    where = machine()
    head = ["figure", "Osler", *([peer] if peer else []), "must reach", "aim", "over", "reference"]
    lines = [f"# {title}", "", _line(head), _line(["---"] * len(head))]
    for row in rows:
        here = [figure_text(row.peer, row.peer_low, row.peer_high, row.unit) or "not run"] if peer else []
        ours = figure_text(row.value, row.low, row.high, row.unit)
        lines.append(_line([row.what, ours, *here, row.must_reach, row.aim, row.n, row.reference]))
    lines += ["", *(f"{note}\n" for note in notes), ", ".join(f"{key} {value}" for key, value in where.items())]
    text = "\n".join(lines) + "\n"
    print(text)
    if QUICK:
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    rows_of = [asdict(row) for row in rows]
    record = {"title": title, "peer": peer, "rows": rows_of, "notes": list(notes), "machine": where, **extra}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    write_page(RESULTS)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
