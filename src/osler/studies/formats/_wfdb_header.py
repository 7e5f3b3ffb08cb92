"""The text of a WFDB header.

Source: "header(5)", WFDB Applications Guide (physionet.org/physiotools/wag/header-5.htm).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from osler.errors import Unreadable

__all__ = ["Channel", "Header", "parse"]

_RECORD = re.compile(
    r"(?P<name>[\w.-]+)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)"
    r"(?:\s+(?P<rate>[\d.eE+-]+)(?:/[\d.eE+-]+(?:\([\d.eE+-]+\))?)?)?(?:\s+(?P<samples>\d+))?(?:\s+\S+)*"
)
_SIGNAL = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d+)(?:x(?P<per_frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    r"(?:\s+(?P<gain>[\d.eE+-]+)(?:\((?P<baseline>[+-]?\d+)\))?(?:/(?P<unit>\S+))?)?"
    r"(?:\s+(?P<resolution>\d+))?(?:\s+(?P<zero>[+-]?\d+))?(?:\s+(?P<initial>[+-]?\d+))?"
    r"(?:\s+(?P<checksum>[+-]?\d+))?(?:\s+(?P<block>\d+))?(?:\s+(?P<description>.*))?"
)
_MOST_BYTES = 2**20
_RATE = 250.0  # Hz, where the header gives none


@dataclass(frozen=True)
class Channel:
    """One signal line: where its samples lie, and what they mean. ``gain`` 0: not calibrated."""

    file: str
    format: str
    per_frame: int
    skew: int
    offset: int
    gain: float
    baseline: int
    unit: str
    initial: int
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """A record: ``segments`` (name, samples) when it is cut into several, else ``channels``."""

    rate_hz: float
    samples: int | None
    channels: tuple[Channel, ...]
    segments: tuple[tuple[str, int], ...]


def parse(path: Path) -> Header:
    """Read a ``.hea`` file.

    Raises:
        Unreadable: when a line is not as the format has it.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise Unreadable(f"{path} is too long for a header", remedy="give the .hea file of a WFDB record")
    text = path.read_text("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    match = _RECORD.fullmatch(lines[0]) if lines else None
    if match is None:
        raise Unreadable(f"{path} does not begin as a WFDB header does", remedy="copy or export the record again")
    count = int(match["segments"] or match["signals"])
    if len(lines) < 1 + count or (match["segments"] is None and count == 0):
        raise Unreadable(
            f"{path} announces {count} {'segments' if match['segments'] else 'signals'} and describes {len(lines) - 1}",
            remedy="copy or export the record again",
        )
    rate = float(match["rate"] or _RATE)
    if not 0 < rate < 1e7:
        raise Unreadable(f"{path} gives a rate of {rate:g} Hz", remedy="repair the header")
    samples = int(match["samples"]) or None if match["samples"] else None
    body = lines[1 : 1 + count]
    if match["segments"]:
        return Header(rate, samples, (), tuple(_segment(line, path) for line in body))
    return Header(rate, samples, tuple(_channel(line, place, path) for place, line in enumerate(body)), ())


def _segment(line: str, path: Path) -> tuple[str, int]:
    match = re.fullmatch(r"(~|[\w.-]+)\s+(\d+)", line)
    if match is None:
        raise Unreadable(f"{path} has a segment that cannot be read: {line[:60]!r}", remedy="repair the header")
    return match[1], int(match[2])


def _channel(line: str, place: int, path: Path) -> Channel:
    match = _SIGNAL.fullmatch(line)
    if match is None:
        raise Unreadable(f"{path} has a signal that cannot be read: {line[:60]!r}", remedy="repair the header")
    zero = int(match["zero"] or 0)
    return Channel(
        file=match["file"],
        format=match["format"],
        per_frame=int(match["per_frame"] or 1),
        skew=int(match["skew"] or 0),
        offset=int(match["offset"] or 0),
        gain=float(match["gain"] or 0),
        baseline=int(match["baseline"]) if match["baseline"] else zero,
        unit=match["unit"] or "mV",
        initial=int(match["initial"] or 0),
        checksum=int(match["checksum"]) if match["checksum"] else None,
        name=(match["description"] or "").strip() or f"channel {place + 1}",
    )
