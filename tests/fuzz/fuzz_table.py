"""What became of damaged inputs: counted, as a table for the terminal, and as ``benchmarks/results/fuzzing``.

Ten thousand inputs of every reader take hours, and are read in parts: the written table is the sum of the parts of one
seed. A part that is read again takes the place of what it overlaps, so that no input counts twice.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fuzz_judge import MOST_BYTES, MOST_SECONDS

__all__ = ["Failure", "Part", "Tally", "part_of", "table", "write_results"]

_MIB = 1 << 20


@dataclass(frozen=True)
class Failure:
    """One input that failed: its number, what was done to it, why it failed, and where it is kept."""

    number: int
    what: str
    why: str
    kept: Path | None = None


@dataclass
class Tally:
    """What became of the inputs of one target. ``slowest`` is seconds of processor time, ``peak`` bytes."""

    read: int = 0
    refused: int = 0
    failures: list[Failure] = field(default_factory=list)
    slowest: float = 0.0
    peak: int = 0

    @property
    def inputs(self) -> int:
        """How many were read until their end."""
        return self.read + self.refused + len(self.failures)


@dataclass(frozen=True)
class Part:
    """Inputs ``start`` to ``stop`` of one target and seed, read by the code of ``commit``."""

    seed: int
    start: int
    stop: int
    read: int
    refused: int
    failed: tuple[int, ...]
    slowest: float
    peak: int
    date: str
    commit: str


def part_of(tally: Tally, seed: int, start: int, machine: Mapping[str, Any]) -> Part:
    """A tally as what is written; it ends where an interrupted run did."""
    return Part(
        seed,
        start,
        start + tally.inputs,
        tally.read,
        tally.refused,
        tuple(failure.number for failure in tally.failures),
        round(tally.slowest, 3),
        tally.peak,
        machine["date"],
        machine["commit"],
    )


def table(tallies: Mapping[str, Tally]) -> str:
    """What became of the inputs, a line per target."""
    lines = [f"{'target':16}{'inputs':>8}{'read':>8}{'refused':>9}{'failed':>8}{'slowest':>10}{'peak':>10}"]
    for name, tally in tallies.items():
        lines.append(
            f"{name:16}{tally.inputs:8}{tally.read:8}{tally.refused:9}{len(tally.failures):8}"
            f"{tally.slowest:8.2f} s{tally.peak / _MIB:6.0f} MiB"
        )
    return "\n".join(lines)


def write_results(path: Path, order: Sequence[str], name: str, tally: Tally, seed: int, start: int) -> None:
    """Add a tally to what is written at ``path`` with the suffixes ``.md`` (for people) and ``.json``.

    Args:
        path: of either file.
        order: of all targets, in which the table lists them.
        name: of the target.
        tally: of its inputs.
        seed: of the run.
        start: number of its first input.
    """
    record_path, where = path.with_suffix(".json"), _machine()
    record: dict[str, list[dict[str, Any]]] = {}
    if record_path.is_file():
        record = json.loads(record_path.read_text("utf-8"))["targets"]
    if tally.inputs:
        new = part_of(tally, seed, start, where)
        record[name] = [asdict(part) for part in _joined([Part(**old) for old in record.get(name, [])], new)]
    path.parent.mkdir(parents=True, exist_ok=True)
    record_path.write_text(json.dumps({"machine": where, "targets": record}, indent=1) + "\n", "utf-8")
    parts = {one: [Part(**part) for part in record[one]] for one in order if one in record}
    path.with_suffix(".md").write_text(_page(parts, where), "utf-8")


def _joined(old: Sequence[Part], new: Part) -> list[Part]:
    apart = [part for part in old if part.seed == new.seed and (part.stop <= new.start or part.start >= new.stop)]
    return sorted([*apart, new], key=lambda part: part.start)


def _page(parts: Mapping[str, Sequence[Part]], where: Mapping[str, Any]) -> str:
    lines = [
        "# Damaged inputs for every reader (make fuzz)",
        "",
        "| reader | inputs | read | refused | failed | slowest | peak memory | seed | commit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, some) for name, some in parts.items()),
        "",
        f"An input fails by a crash, by an error that is not Osler's own, by more than {MOST_SECONDS:g} s of processor",
        f"time for a call, or by more than {MOST_BYTES // _MIB:,} MiB of memory. That is of the whole process:",
        "libraries take about 100 MiB of it before anything is read.",
        "",
        ", ".join(f"{key} {value}" for key, value in where.items()),
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, parts: Sequence[Part]) -> str:
    cells = (
        name,
        f"{sum(part.stop - part.start for part in parts):,}",
        f"{sum(part.read for part in parts):,}",
        f"{sum(part.refused for part in parts):,}",
        str(sum(len(part.failed) for part in parts)),
        f"{max(part.slowest for part in parts):.2f} s",
        f"{max(part.peak for part in parts) / _MIB:.0f} MiB",
        str(parts[0].seed),
        ", ".join(dict.fromkeys(part.commit for part in parts)),
    )
    return "| " + " | ".join(cells) + " |"


def _machine() -> dict[str, Any]:
    """As the other results name it."""
    benchmarks = str(Path(__file__).parents[2] / "benchmarks")
    if benchmarks not in sys.path:
        sys.path.insert(0, benchmarks)
    from _table import machine

    return machine()
