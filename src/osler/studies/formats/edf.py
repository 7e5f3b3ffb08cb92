"""EDF, EDF+ and BDF: biosignals in one file.

Source: Kemp 1992 (EDF), Kemp and Olivan 2003 (EDF+), BioSemi (BDF, 24 bits).

Rules:
- Samples are in physical units by the header's digital and physical ranges, float32.
- Channels of one rate and unit are one signal; annotations are no channel (see ``read_annotations``).
- A discontinuous EDF+ ("EDF+D") is refused when there is a gap in it: its times would be wrong.
- Name, birth date and number of a patient, which stand in every header, are returned by ``read_identifiers`` only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.errors import Unreadable, Unsuitable
from osler.studies.formats._signal_groups import Lead, grouped, ucum
from osler.studies.formats.base import has_suffix, peek, reading
from osler.studies.geometry import Array
from osler.studies.study import Identifiers, Signal

__all__ = ["NAME", "SUFFIXES", "read_annotations", "read_identifiers", "read_signals", "sniff"]

NAME: str = "edf"
SUFFIXES: tuple[str, ...] = (".edf", ".bdf")
_BDF = b"\xffBIOSEMI"
_NOTES = ("EDF Annotations", "BDF Annotations")
_MOST_BYTES = 2**30
_MOST_CHANNELS = 4096
_HIGHEST_RATE = 1e9  # Hz
_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # of the columns of a channel
_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14([^\x00]*)\x14\x00")


@dataclass(frozen=True)
class _Channel:
    name: str
    unit: str
    physical: tuple[float, float]
    digital: tuple[int, int]
    count: int  # samples per record


@dataclass(frozen=True)
class _Header:
    size: int
    records: int
    seconds: float  # of a record
    channels: tuple[_Channel, ...]
    kind: str  # "", "EDF+C", "EDF+D" ...
    bits: int
    patient: str
    start: str

    @property
    def stride(self) -> int:
        """Bytes of a record."""
        return sum(channel.count for channel in self.channels) * self.bits // 8


def sniff(path: Path) -> bool:
    """Whether the name ends in ``.edf`` or ``.bdf``."""
    return has_suffix(path, SUFFIXES)


def read_signals(path: Path) -> Mapping[str, Signal]:
    """Read a recording.

    Raises:
        Unreadable: damaged or cut off.
        Unsuitable: with gaps, or longer than 1 GiB.
    """
    with reading(path, "an EDF file"):
        header = _header(path)
        records = _records(header, path)
        if header.kind.endswith("+D"):
            _check_gapless(header, records, path)
        leads = _leads(header, records)
        if not leads:
            raise Unsuitable(f"{path} holds annotations and no signal", remedy="give the recording that they are of")
        return grouped(leads)


def read_annotations(path: str | Path) -> tuple[tuple[float, float | None, str], ...]:
    """The notes of an EDF+: seconds from the start, duration in seconds or None, text.

    Raises:
        Unreadable: when it is damaged or cut off.
    """
    path = Path(path)
    with reading(path, "an EDF file"):
        header = _header(path)
        return tuple(
            (onset, duration, text)
            for record in _notes(header, _records(header, path))
            for onset, duration, texts in record
            for text in texts
            if text
        )


def read_identifiers(path: str | Path) -> Identifiers:
    """Who a recording is of, as EDF+ writes it: code, sex, birth date, name. The result's repr shows nothing.

    Raises:
        Unreadable: when it is damaged.
    """
    path = Path(path)
    with reading(path, "an EDF file"):
        header = _header(path)
    parts = [*header.patient.split(), "X", "X", "X", "X"]
    code, _, birth, name = ("" if part == "X" else part.replace("_", " ") for part in parts[:4])
    return Identifiers(patient_id=code, patient_name=name, birth_date=birth, study_date=header.start)


def _header(path: Path) -> _Header:
    head = peek(path, 256)
    if len(head) < 256 or not (head[:8].strip() == b"0" or head[:8] == _BDF):
        raise Unreadable(f"{path} does not begin as EDF does", remedy="export it again as EDF")
    text = head.decode("latin-1")
    count = int(text[252:256])
    if not 0 < count <= _MOST_CHANNELS:
        raise Unreadable(f"{path} announces {count} channels", remedy="export it again")
    columns = peek(path, 256 * (count + 1))[256:].decode("latin-1")
    if len(columns) < 256 * count:
        raise Unreadable(f"{path} is cut off inside its header", remedy="copy or export it again")
    channels = tuple(_channel(columns, count, place, path) for place in range(count))
    header = _Header(
        size=int(text[184:192]),
        records=int(text[236:244]),
        seconds=float(text[244:252]),
        channels=channels,
        kind=text[192:236].strip()[:5],
        bits=24 if head[:8] == _BDF else 16,
        patient=text[8:88].strip(),
        start=text[168:176].strip(),
    )
    if header.size != 256 * (count + 1):
        raise Unreadable(
            f"{path} gives its header {header.size} bytes, not {256 * (count + 1)}", remedy="export it again"
        )
    return header


def _channel(columns: str, count: int, place: int, path: Path) -> _Channel:
    cells, start = [], 0
    for width in _WIDTHS:
        cells.append(columns[start + width * place : start + width * (place + 1)].strip())
        start += width * count
    name = cells[0]
    channel = _Channel(
        name=name,
        unit=ucum(cells[2]),
        physical=(float(cells[3]), float(cells[4])),
        digital=(int(cells[5]), int(cells[6])),
        count=int(cells[8]),
    )
    sound = channel.digital[0] < channel.digital[1] and channel.physical[0] != channel.physical[1]
    if channel.count < 1 or not np.isfinite(channel.physical).all() or not (sound or name in _NOTES):
        raise Unreadable(
            f"{path} gives the channel {name!r} {channel.count} samples a record, from {channel.physical} for "
            f"{channel.digital}, so its values have no meaning",
            remedy="repair the header or export it again",
        )
    return channel


def _records(header: _Header, path: Path) -> Array:
    """(records, bytes of a record), uint8."""
    stored = path.stat().st_size - header.size
    count = header.records if header.records >= 0 else stored // header.stride  # -1: not filled in while recording
    size = count * header.stride
    if size > _MOST_BYTES:
        raise Unsuitable(f"{path} holds {size:,} bytes of samples", remedy="cut it into shorter recordings")
    if count < 1 or size > stored:
        raise Unreadable(
            f"{path} is cut off: it announces {count} records, and {max(0, stored) // header.stride} are there",
            remedy="copy or export it again",
        )
    data = np.fromfile(path, np.uint8, size, offset=header.size)
    return data.reshape(count, header.stride)


def _leads(header: _Header, records: Array) -> list[Lead]:
    leads: list[Lead] = []
    for channel, part in _parts(header, records):
        if channel.name in _NOTES:
            continue
        low, high = channel.digital
        factor = (channel.physical[1] - channel.physical[0]) / (high - low)
        samples = (_numbers(part, header.bits) - low) * factor + channel.physical[0]
        rate = channel.count / header.seconds if header.seconds > 0 else 0.0
        if not 0 < rate < _HIGHEST_RATE:
            raise ValueError(f"its records last {header.seconds:g} s, so its channels have no rate")
        leads.append(Lead(channel.name, samples.astype(np.float32), rate, channel.unit))
    return leads


def _parts(header: _Header, records: Array) -> Iterator[tuple[_Channel, Array]]:
    start = 0
    for channel in header.channels:
        size = channel.count * header.bits // 8
        yield channel, records[:, start : start + size]
        start += size


def _numbers(part: Array, bits: int) -> Array:
    """Bytes, lowest first, to whole numbers, (time,)."""
    if bits == 16:
        return np.asarray(np.ascontiguousarray(part).view("<i2").ravel().astype(np.float64))
    triples = np.ascontiguousarray(part).reshape(-1, 3).astype(np.int32)
    values = triples[:, 0] | triples[:, 1] << 8 | triples[:, 2] << 16
    return np.asarray(np.where(values >= 2**23, values - 2**24, values).astype(np.float64))


def _notes(header: _Header, records: Array) -> Iterator[list[tuple[float, float | None, list[str]]]]:
    """Per record, what its annotation channels say; the first says when the record begins and has no text."""
    parts = [part for channel, part in _parts(header, records) if channel.name in _NOTES]
    for place in range(len(records)):
        yield [
            (
                float(match[1]),
                float(match[2]) if match[2] else None,
                match[3].decode("utf-8", "replace").split("\x14"),
            )
            for part in parts
            for match in _TAL.finditer(part[place].tobytes())
        ]


def _check_gapless(header: _Header, records: Array, path: Path) -> None:
    starts = [notes[0][0] for notes in _notes(header, records) if notes]
    gaps = np.diff(starts) - header.seconds
    if len(starts) != len(records) or (np.abs(gaps) > 1e-3).any():
        worst = float(np.abs(gaps).max()) if len(gaps) else 0.0
        raise Unsuitable(
            f"{path} is interrupted (EDF+D, gaps of up to {worst:.3g} s), so its samples have no even rate",
            remedy="export its parts as files of their own",
        )
