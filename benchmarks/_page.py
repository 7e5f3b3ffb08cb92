"""``docs/benchmarks.md``: every result in ``results/`` on one page. Made again whenever a result is written.

python benchmarks/_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "figure_text", "page_of", "write_page"]

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_HEAD = """# Benchmarks

What Osler claims about speed, memory and accuracy, and what was measured: Osler and its peer in turns on one machine,
two threads, medians (fastest to slowest in brackets; of accuracy, the 95 % interval). Each section is one script of
`benchmarks/`; `make bench` runs them all and writes this page from `benchmarks/results/*.json`.
"""
_FIRST = (  # the engine's claims, in the order in which they were made; the others follow by name
    "network_throughput",
    "whole_volume",
    "volume_growth",
    "volume_largest",
    "bf16_share",
    "nnunet_convert",
    "cold_start",
    "resampling",
    "classification_throughput",
    "training_step",
    "time_to_dice",
)
_COLUMNS = ["claim", "must reach", "aim", "Osler", "peer", "peer / Osler", "over"]


def page_of(results: Path) -> str:
    """The page of all results in a folder."""
    records = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"), key=_place)]
    return "\n".join([_HEAD, *(_section(record) for record in records if "rows" in record)])  # others have own pages


def write_page(results: Path, page: Path = PAGE) -> None:
    """Write the page."""
    page.write_text(page_of(results))


def _place(path: Path) -> tuple[int, str]:
    first = [number for number, name in enumerate(_FIRST) if path.stem.startswith(name)]
    return (first[0] if first else len(_FIRST), path.stem)


def _section(record: dict[str, Any]) -> str:
    where = record["machine"]
    lines = [f"## {record['title']}", ""]
    lines += [_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), *(_line(_cells(row)) for row in record["rows"]), ""]
    if record["peer"]:
        lines += [f"Peer: {record['peer']}.", ""]
    lines += [note for text in record.get("notes", []) for note in (text, "")]
    machine = f"{where['processor']}, {where['cores']} cores, {where['memory_gb']} GB, load {where['load']} at the end"
    lines += [f"{machine}; {where['date'][:10]}, commit {where['commit']}.", ""]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    unit = row["unit"]
    ours = figure_text(row["value"], row["low"], row["high"], unit)
    theirs = figure_text(row["peer"], row["peer_low"], row["peer_high"], unit)
    ratio = f"{row['peer'] / row['value']:.1f}" if unit and row["peer"] and row["value"] else ""
    reached = {True: " ✓", False: " ✗", None: ""}[row.get("met")]
    over = "; ".join(part for part in (row["n"], row["reference"]) if part)
    return [row["what"], f"{row['must_reach']}{reached}", row.get("aim", ""), ours, theirs, ratio, over]


def figure_text(value: float | None, low: float | None, high: float | None, unit: str) -> str:
    """A figure with its interval; "" where there is none."""
    if value is None:
        return ""
    digits = 3 if not unit or abs(value) < 1 else 2 if abs(value) < 10 else 1
    interval = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{value:.{digits}f}{f' {unit}' if unit else ''}{interval}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


if __name__ == "__main__":
    write_page(Path(__file__).parent / "results")
