"""``SignalInspection``: what is in a set of recordings and what is wrong with it, as plain data and as a screenful."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from osler.datasets.inspection import problem_lines, wrapped
from osler.datasets.layouts.signals import SignalRecord
from osler.datasets.problem import Code, Problem, counted
from osler.studies.geometry import Array
from osler.studies.study import Signal

__all__ = ["LeadRow", "SignalInspection", "SignalRow", "find_signal_problems", "look_at_signals"]

_RUN = 8
"""Samples in a row at the highest or lowest value that a converter at its limit gives and a peak does not."""
_CLIPPED, _CLIPPED_S = 0.001, 0.1
"""Share and seconds of a lead from which on this is told."""
_GAPS = 0.01
_ROOM = 12
"""Rows of a screen for records."""
_PROBLEMS = 8
"""Rows for problems."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LeadRow(_Frozen):
    """One lead: rate in Hz, length in seconds, UCUM unit, 1st and 99th percentile of its samples, and the shares of its
    samples that are missing and that stay at the highest or lowest value."""

    name: str
    rate_hz: float
    seconds: float
    unit: str
    low: float
    high: float
    missing: float
    clipped: float

    @property
    def flat(self) -> bool:
        """Whether nothing was measured on it."""
        return self.missing == 1 or self.low == self.high


class SignalRow(_Frozen):
    """One recording that could be read."""

    name: str
    format: str
    patient: str
    seconds: float
    leads: tuple[LeadRow, ...]
    beats: dict[str, int]
    rhythms: dict[str, int]
    notes: dict[str, int]
    digest: str


class SignalInspection(_Frozen):
    """What was found; ``text`` says it in a sentence."""

    schema_version: int = 1
    name: str
    layout: str = "signals"
    text: str
    cases: int
    patients: int
    problems: tuple[Problem, ...]
    records: tuple[SignalRow, ...]
    files: tuple[Path, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every recording could be read."""
        return len(self.records) == self.cases

    def summary(self) -> list[str]:
        """Lines for a person, about a screenful."""
        lines = wrapped([f"{self.name}: {self.text}"], most=4)
        lines += ["", *(_row_line(row) for row in self.records[:_ROOM])]
        hidden = len(self.records) - _ROOM
        lines += [f"  and {hidden} records more"] if hidden > 0 else []
        files = [f"wrote {path}" for path in self.files] or ["--output OUT writes a page with a strip of each record"]
        return [
            *lines,
            "",
            *problem_lines(self.problems, _PROBLEMS, page=bool(self.files)),
            "",
            "No model reads signals yet: nothing is planned",
            *files,
        ]

    def record(self) -> dict[str, Any]:
        """The same for a machine in one line; the records are in ``inspect.json``."""
        return self.model_dump(mode="json", exclude={"records"})


def _row_line(row: SignalRow) -> str:
    rates = " and ".join(f"{rate:g} Hz" for rate in sorted({lead.rate_hz for lead in row.leads}))
    leads = list(dict.fromkeys(lead.name for lead in row.leads))
    names = ", ".join(leads[:4]) + (f" ... ({len(leads)})" if len(leads) > 4 else "")
    marked = ", ".join(f"{name} {count}" for name, count in [*row.beats.items(), *row.rhythms.items()][:4])
    marked = marked or (f"{sum(row.notes.values())} annotations" if row.notes else "no annotations")
    return f"  {row.name:<14} {_clock(row.seconds)}  {rates}  {names}  {marked}"[:120]


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}" if seconds >= 60 else f"{seconds:.1f} s"


def look_at_signals(record: SignalRecord, signals: Mapping[str, Signal]) -> SignalRow:
    """What a recording holds.

    Args:
        record: ``measured``.
        signals: its samples.
    """
    digest = hashlib.blake2b(digest_size=16)
    leads = []
    for signal in signals.values():
        digest.update(f"{signal.rate_hz}{signal.unit}{signal.samples.shape}".encode())
        digest.update(np.ascontiguousarray(signal.samples).tobytes())
        for name, samples in zip(signal.leads, signal.samples, strict=True):
            leads.append(_lead_row(name, samples, signal))
    return SignalRow(
        name=record.name,
        format=record.format,
        patient=record.patient,
        seconds=record.seconds,
        leads=tuple(leads),
        beats=dict(record.annotated.beats),
        rhythms=dict(record.annotated.rhythms),
        notes=dict(record.annotated.notes),
        digest=digest.hexdigest(),
    )


def _lead_row(name: str, samples: Array, signal: Signal) -> LeadRow:
    known = samples[np.isfinite(samples)]
    low, high = np.percentile(known, (1, 99)).tolist() if known.size else (0.0, 0.0)
    if low == high and known.size:  # mostly at rest, as pressure or a trigger may be
        low, high = float(known.min()), float(known.max())
    return LeadRow(
        name=name,
        rate_hz=signal.rate_hz,
        seconds=samples.size / signal.rate_hz,
        unit=signal.unit,
        low=low,
        high=high,
        missing=1 - known.size / samples.size,
        clipped=_clipped(samples) if high > low else 0.0,
    )


def _clipped(samples: Array) -> float:
    """The share of samples that stay at the lowest or highest value for ``_RUN`` samples or more."""
    known = samples[np.isfinite(samples)]
    at_limit = (samples == known.min()) | (samples == known.max())
    edges = np.flatnonzero(np.diff(np.concatenate([[0], at_limit.astype(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    return float(lengths[lengths >= _RUN].sum() / samples.size)


def find_signal_problems(rows: Sequence[SignalRow], unreadable: Mapping[str, str]) -> tuple[Problem, ...]:
    """What is wrong, errors first.

    Args:
        rows: of the recordings that could be read.
        unreadable: the reason by name of the others.
    """
    problems = []
    if unreadable:
        names = tuple(unreadable)
        what, remedy = f"{counted(len(names))}: cannot be read", "export or copy them again"
        problems.append(
            Problem(
                code="unreadable", severity="error", what=what, cases=names, details=dict(unreadable), remedy=remedy
            )
        )
    of_leads: tuple[tuple[Code, str, str, Callable[[SignalRow], str]], ...] = (
        ("signal-flat", "leads on which nothing was measured", "leave the lead out, or the record", _flat),
        ("signal-gaps", "samples are missing", "leave out what lies around the gaps", _gaps),
        ("signal-clipped", "stays at the limit of its range", "do not measure amplitudes there", _at_limit),
    )
    for code, what, remedy, tell in of_leads:
        found = {row.name: text for row in rows if (text := tell(row))}
        if found:
            whole = f"{counted(len(found))}: {what}"
            problems.append(
                Problem(code=code, severity="warning", what=whole, cases=tuple(found), details=found, remedy=remedy)
            )
    return (*problems, *_copies(rows), *_unlike(rows))


def _flat(row: SignalRow) -> str:
    return ", ".join(lead.name for lead in row.leads if lead.flat)


def _gaps(row: SignalRow) -> str:
    found = [f"{100 * one.missing:.2g} % of {one.name}" for one in row.leads if _GAPS <= one.missing < 1]
    return ", ".join(found)


def _at_limit(row: SignalRow) -> str:
    return ", ".join(f"{100 * one.clipped:.2g} % of {one.name}" for one in row.leads if _is_clipped(one))


def _is_clipped(lead: LeadRow) -> bool:
    return lead.clipped >= _CLIPPED and lead.clipped * lead.seconds >= _CLIPPED_S


def _copies(rows: Sequence[SignalRow]) -> list[Problem]:
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row.digest, []).append(row.name)
    copies = tuple(tuple(names) for names in groups.values() if len(names) > 1)
    names = tuple(name for group in copies for name in group)
    what = f"{counted(len(names))}: the same samples as another ({len(copies)} group{'s' * (len(copies) != 1)})"
    remedy = "keep one of each"
    found = Problem(code="copies-within", severity="warning", what=what, cases=names, groups=copies, remedy=remedy)
    return [found] if copies else []


def _unlike(rows: Sequence[SignalRow]) -> list[Problem]:
    """Records whose leads, rates or units are not those that most have."""
    kinds = {row.name: tuple(sorted((lead.name, lead.rate_hz, lead.unit) for lead in row.leads)) for row in rows}
    counts = Counter(kinds.values())
    if len(counts) < 2:
        return []
    usual, number = counts.most_common(1)[0]
    if number == 1:
        what = "the records differ in leads, rates or units from one another"
        return [Problem(code="signal-unlike", severity="note", what=what)]
    found = {name: _difference(kind, usual) for name, kind in kinds.items() if kind != usual}
    what = f"{counted(len(found))}: other leads, rates or units than most"
    remedy = "know that when they are used together"
    return [Problem(code="signal-unlike", severity="note", what=what, cases=tuple(found), details=found, remedy=remedy)]


_Kind = tuple[tuple[str, float, str], ...]


def _difference(kind: _Kind, usual: _Kind) -> str:
    lacks = sorted({name for name, _, _ in usual} - {name for name, _, _ in kind})
    more = sorted({name for name, _, _ in kind} - {name for name, _, _ in usual})
    parts = [f"without {', '.join(lacks[:4])}"] if lacks else []
    parts += [f"with {', '.join(more[:4])}"] if more else []
    rates = sorted({f"{rate:g} Hz" for _, rate, _ in kind} ^ {f"{rate:g} Hz" for _, rate, _ in usual})
    parts += [f"at {', '.join(f'{rate:g} Hz' for rate in sorted({rate for _, rate, _ in kind}))}"] if rates else []
    units = {unit for _, _, unit in kind} - {unit for _, _, unit in usual}
    return "; ".join(parts + ([f"in {', '.join(sorted(units))}"] if units else []))
