"""WFDB records: a header ``.hea``, the signal files that it names, annotations beside them.

Read here and not by the package wfdb, which brings pandas, matplotlib, aiohttp and soundfile along; it is what this was
compared with (MIT-BIH: equal samples and beats).

Rules:
- Samples are in physical units, ``(value - baseline) / gain``, float32; those marked as not measured are NaN.
- A channel with the gain 0 is not calibrated: its numbers have no unit (wfdb assumes 200 per mV).
- The checksum of each channel is verified where the header has one.
- Records of several segments are put together; gaps, and channels that a segment lacks, are NaN.
- Signal files and segments lie in the folder of the header; others are refused. FLAC formats are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from osler.errors import Unreadable, Unsuitable
from osler.studies.formats import _bytes
from osler.studies.formats._signal_groups import UNCALIBRATED, Lead, grouped, ucum
from osler.studies.formats._wfdb_header import Channel, Header, parse
from osler.studies.formats._wfdb_samples import INVALID, bytes_of, decode, samples_in
from osler.studies.formats.base import has_suffix, reading
from osler.studies.geometry import Array
from osler.studies.study import Signal

__all__ = [
    "NAME",
    "SUFFIXES",
    "Annotations",
    "rate_of",
    "read_annotations",
    "read_facts",
    "read_signals",
    "segments_of",
    "sniff",
]

NAME: str = "wfdb"
SUFFIXES: tuple[str, ...] = (".hea",)
_MOST_SAMPLES = 250_000_000  # 1 GB as float32
_MOST_UNSTORED = 100_000_000  # three days of three leads at 128 Hz
_MOST_NOTES = 2**23  # bytes, two for each: several million beats, a month
_SYMBOLS = ' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r'  # by code, from 0; blank: not in use
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63


@dataclass(frozen=True, eq=False)
class Annotations:
    """What was marked on a record.

    Args:
        samples: (N,), 0-based places at the record's rate.
        symbols: (N,), the code of each, e.g. "N" a normal beat, "V" a premature ventricular contraction, "+" a change
            of rhythm (PhysioNet's annotation codes).
        texts: (N,), the note of each, "" for none; a rhythm reads "(AFIB".
    """

    samples: Array
    symbols: tuple[str, ...]
    texts: tuple[str, ...]


def sniff(path: Path) -> bool:
    """Whether the name ends in ``.hea``."""
    return has_suffix(path, SUFFIXES)


def read_signals(path: Path) -> Mapping[str, Signal]:
    """Read a record; channels of one rate and unit are one signal.

    Raises:
        Unreadable: damaged, cut off, a checksum that is wrong, or a file that is not there.
        Unsuitable: when it has more than 250 million samples.
    """
    with reading(path, "a WFDB record"):
        header = parse(path)
        leads = _segmented(header, path) if header.segments else _leads(header, path)
        empty = next((lead.name for lead in leads if not len(lead.samples)), None)
        if empty is not None:
            raise Unreadable(f"{path} has no samples of {empty[:60]}", remedy="copy the whole record")
        return grouped(leads)


def rate_of(path: str | Path) -> float:
    """The frames per second that annotations count in.

    Raises:
        Unreadable: when the header is damaged.
    """
    path = Path(path)
    with reading(path, "a WFDB record"):
        return parse(path).rate_hz


def read_facts(path: str | Path) -> tuple[tuple[str, ...], tuple[float, ...], float]:
    """Leads, their rates (each once, Hz) and the length in seconds (0 when the header does not say), without samples.

    Raises:
        Unreadable: when the header, or that of a segment, is damaged or not there.
    """
    path = Path(path)
    with reading(path, "a WFDB record"):
        header = parse(path)
        parts = [header] if not header.segments else [parse(_bytes.beside(path, one.name)) for one in segments_of(path)]
    channels = [(one.name, part.rate_hz * one.per_frame) for part in parts for one in part.channels]
    samples = header.samples or sum(length for _, length in header.segments)
    leads = tuple(dict.fromkeys(name for name, _ in channels))
    return leads, tuple(sorted({rate for _, rate in channels})), samples / header.rate_hz


def segments_of(path: str | Path) -> tuple[Path, ...]:
    """The headers that a record of several segments is made of; none for any other, and for a damaged one."""
    path = Path(path)
    try:
        with reading(path, "a WFDB record"):
            names = [name for name, _ in parse(path).segments if name != "~"]
    except Unreadable:
        return ()
    return tuple(path.with_name(f"{name}.hea") for name in names)


def read_annotations(path: str | Path) -> Annotations:
    """Read an annotation file in MIT format (``.atr`` and the like).

    Raises:
        Unreadable: when it is damaged or cut off.
    """
    path = Path(path)
    with reading(path, "WFDB annotations"):
        if path.stat().st_size > _MOST_NOTES:
            raise Unreadable(f"{path} is too long for annotations", remedy="give the .atr file of a record")
        return _annotations(path.read_bytes(), path)


def _leads(header: Header, path: Path) -> list[Lead]:
    leads: list[Lead] = []
    # channels of one file follow each other, and their samples alternate in it
    for name, group in groupby(header.channels, key=lambda channel: channel.file):
        channels = list(group)
        for channel, values in zip(channels, _file_samples(name, channels, header, path), strict=True):
            leads.append(_physical(channel, values, header.rate_hz))
    return leads


def _file_samples(name: str, channels: list[Channel], header: Header, path: Path) -> list[Array]:
    """Whole numbers of each channel of one signal file."""
    if name == "~":
        _check_count(sum((header.samples or 0) * one.per_frame for one in channels), path)
        return [np.full((header.samples or 0) * one.per_frame, INVALID["16"], np.int32) for one in channels]
    form, offset, per_frame = channels[0].format, channels[0].offset, sum(one.per_frame for one in channels)
    if any(one.format != form for one in channels):
        raise Unreadable(f"{path} mixes formats within {name}", remedy="convert the record with xform")
    file = _bytes.beside(path, name)
    stored = file.stat().st_size - offset
    known = form in INVALID or form == "8"
    frames = header.samples or (samples_in(form, max(0, stored)) // per_frame if known else 0)
    count = frames * per_frame
    if count > _MOST_SAMPLES:
        raise Unsuitable(f"{path} has {count:,} samples", remedy="cut the record into shorter ones")
    with file.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(bytes_of(form, count)) if known else b""
    values = decode(form, data, count, path).reshape(frames, per_frame)
    parts, place = [], 0
    for channel in channels:
        part = values[:, place : place + channel.per_frame].ravel()
        part = np.cumsum(part) + channel.initial if form == "8" else part
        _verify(channel, part, path)
        parts.append(part)
        place += channel.per_frame
    return parts


def _check_count(unstored: int, path: Path) -> None:
    """Gaps take memory and no place on the disk."""
    if unstored > _MOST_UNSTORED:
        raise Unsuitable(
            f"{path} belongs to a record of {unstored:,} samples with its gaps", remedy="give its segments one by one"
        )


def _verify(channel: Channel, values: Array, path: Path) -> None:
    if channel.checksum is None or (int(values.sum()) - channel.checksum) % 65536 == 0:
        return
    raise Unreadable(
        f"{path}: the samples of {channel.name} do not add up to their checksum", remedy="copy the record again"
    )


def _physical(channel: Channel, values: Array, rate_hz: float) -> Lead:
    gain, unit = (channel.gain, ucum(channel.unit)) if channel.gain else (1.0, UNCALIBRATED)
    samples = ((values - channel.baseline) / gain).astype(np.float32)
    invalid = INVALID.get("16" if channel.file == "~" else channel.format)
    if invalid is not None:
        samples[values == invalid] = np.nan
    if channel.skew:
        skew = min(channel.skew, len(samples))
        samples = np.concatenate([samples[skew:], np.full(skew, np.nan, np.float32)])
    return Lead(channel.name, samples, rate_hz * channel.per_frame, unit)


def _segmented(header: Header, path: Path) -> list[Lead]:
    """Segments one after the other; a first one without samples only lists the channels."""
    total = sum(length for _, length in header.segments)
    found: dict[tuple[str, str, float], Array] = {}
    start = 0
    for name, length in header.segments:
        if name != "~" and length:
            _place(_bytes.beside(path, f"{name}.hea"), start, length, total, header.rate_hz, found)
        start += length
    if not found:
        raise Unreadable(f"{path} has no segment with samples", remedy="copy the whole record")
    return [Lead(name, samples, rate, unit) for (name, unit, rate), samples in found.items()]


def _place(
    path: Path, start: int, length: int, total: int, rate_hz: float, found: dict[tuple[str, str, float], Array]
) -> None:
    header = parse(path)
    if header.segments or header.rate_hz != rate_hz:
        raise Unreadable(f"{path} is a segment of other segments, or of another rate", remedy="give the segment itself")
    for lead in _leads(header, path):
        times = round(lead.rate_hz / rate_hz)
        if len(lead.samples) != length * times:
            raise Unreadable(
                f"{path} has {len(lead.samples)} samples of {lead.name}, and its record {length * times}",
                remedy="copy the whole record again",
            )
        key = (lead.name, lead.unit, lead.rate_hz)
        if key not in found:
            _check_count(sum(map(len, found.values())) + total * times, path)
            found[key] = np.full(total * times, np.nan, np.float32)
        whole = found[key]
        whole[start * times : (start + length) * times] = lead.samples


def _annotations(data: bytes, path: Path) -> Annotations:
    words = np.frombuffer(data[: len(data) // 2 * 2], "<u2").tolist()
    samples: list[int] = []
    symbols: list[str] = []
    texts: list[str] = []
    time = place = 0
    while place < len(words):
        code, value = words[place] >> 10, words[place] & 0x3FF
        place += 1
        if code == 0 and value == 0:
            return Annotations(np.array(samples, np.int64), tuple(symbols), tuple(texts))
        if code == _SKIP:
            step = words[place] << 16 | words[place + 1]
            time += step - 2**32 if step >= 2**31 else step
            place += 2
        elif code == _AUX:
            if texts:
                texts[-1] = data[place * 2 : place * 2 + value].rstrip(b"\0").decode("utf-8", "replace")
            place += (value + 1) // 2
        elif code not in (_NUM, _SUB, _CHN):
            time += value
            samples.append(time)
            symbols.append(_SYMBOLS[code : code + 1].strip() or f"#{code}")
            texts.append("")
    raise Unreadable(f"{path} is cut off: its annotations have no end", remedy="copy the record again")
