"""WFDB: signal records (``.hea`` with ``.dat``) and their annotations (``.atr``), as PhysioNet publishes them.

Osler has no tasks for signals yet, so ``read`` says what is there instead of a manifest; ``list_records`` lists it, and
``osler import`` writes that list as a table. Headers and annotations are read after
https://physionet.org/physiotools/wag/header-5.htm and annot-5.htm; samples are left to the format.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from osler.datasets.layouts.files import natural, short_names, subfolders, visible
from osler.datasets.layouts.needs import Need
from osler.datasets.plan import TaskName
from osler.errors import DatasetError

__all__ = ["NAME", "NEEDS", "SignalRecord", "describe_records", "list_records", "read", "read_annotations", "sniff"]

NAME: str = "wfdb"
NEEDS: tuple[Need, ...] = (
    Need("a header .hea per record", lambda seen: seen.has(".hea")),
    Need("the samples as .dat", lambda seen: seen.has(".dat")),
)
# Mnemonics of the annotation codes 0 to 41, "" where a code has none.
_SYMBOLS = tuple(' NLRaVFJASEj/Q~ | sT*D"=pB^t+u?![]en@xf()r')
_BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
_SKIP, _NUM, _SUB, _CHN, _AUX = 59, 60, 61, 62, 63
_RHYTHM = "+"
_ONE_PERSON = {"202": "201"}  # of the MIT-BIH arrhythmia database: both records are of the same man
_MITBIH_HZ = 360.0
_LONGEST_HEADER = 2**20  # bytes
_MOST_BYTES = 2**23  # of annotations: several million beats


@dataclass(frozen=True)
class SignalRecord:
    """One record.

    Args:
        name: safe as a file name.
        header: the ``.hea``.
        annotations: the ``.atr``, if there is one.
        patient: the folder, where records lie in folders; else the record itself.
        leads: names of the signals.
        rate_hz: samples per second.
        seconds: its length; 0 when the header does not say.
        beats: how many of each kind, by WFDB's mnemonic ("N" normal, "V" premature ventricular ...).
        rhythms: how often each rhythm begins ("AFIB" ...).
    """

    name: str
    header: Path
    annotations: Path | None
    patient: str
    leads: tuple[str, ...]
    rate_hz: float
    seconds: float
    beats: Mapping[str, int]
    rhythms: Mapping[str, int]


def sniff(path: Path) -> str | None:
    """A folder with ``.hea`` files, or with folders of them."""
    if not path.is_dir():
        return None
    first = next((p for folder in (path, *subfolders(path)) for p in visible(folder) if p.suffix == ".hea"), None)
    return f"WFDB records such as {first.stem}" if first else None


def read(path: Path, task: TaskName | None) -> NoReturn:
    """Says what is there.

    Raises:
        DatasetError: always: there are no images.
    """
    raise DatasetError(
        f"{path.name} holds {describe_records(list_records(path))}, and no images",
        remedy="Osler has no tasks for signals yet; osler import writes the list of the records as a table",
    )


def describe_records(records: Sequence[SignalRecord]) -> str:
    """How many records, of whom, of what, how long, with which beats."""
    patients = len({record.patient for record in records})
    leads = sorted({lead for record in records for lead in record.leads}, key=natural)
    rates = sorted({f"{record.rate_hz:g} Hz" for record in records})
    hours = sum(record.seconds for record in records) / 3600
    text = f"{len(records)} signal records (WFDB) of {patients} patients, {', '.join(leads)}, {' and '.join(rates)}"
    beats: Counter[str] = Counter()
    rhythms: Counter[str] = Counter()
    for record in records:
        beats.update(record.beats)
        rhythms.update(record.rhythms)
    text += f", {hours:.1f} h in all"
    text += f", {beats.total()} labelled beats ({_counted(beats)})" if beats else ", no labelled beats"
    return text + (f", rhythms {_counted(rhythms)}" if rhythms else "")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def list_records(path: Path) -> tuple[SignalRecord, ...]:
    """Every record in a folder and in the folders of it, by name.

    Raises:
        DatasetError: when a header or an annotation file is damaged.
    """
    headers = [p for folder in _folders(path) for p in visible(folder) if p.suffix == ".hea"]
    relative = [p.relative_to(path).with_suffix("").as_posix() for p in headers]
    found = [_record(name, header, path) for name, header in zip(short_names(relative), headers, strict=True)]
    if {record.rate_hz for record in found} != {_MITBIH_HZ}:
        return tuple(found)
    return tuple(
        SignalRecord(**{**vars(record), "patient": _ONE_PERSON.get(record.patient, record.patient)}) for record in found
    )


def _folders(path: Path) -> list[Path]:
    """The folder and every folder below, each once: links may lead in circles."""
    seen: set[tuple[int, int]] = set()
    found, waiting = [], [path]
    while waiting:
        here = waiting.pop()
        status = here.stat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            found.append(here)
            waiting += reversed(subfolders(here))
    return found


def _record(name: str, header: Path, root: Path) -> SignalRecord:
    leads, rate, samples = _header(header)
    annotations = header.with_suffix(".atr")
    beats: Counter[str] = Counter()
    rhythms: Counter[str] = Counter()
    for _, symbol, text in read_annotations(annotations) if annotations.is_file() else ():
        if symbol in _BEATS:
            beats[symbol] += 1
        elif symbol == _RHYTHM and text.startswith("("):
            rhythms[text[1:]] += 1
    patient = header.parent.name if header.parent != root else header.stem
    found = annotations if annotations.is_file() else None
    return SignalRecord(name, header, found, patient, leads, rate, samples / rate, dict(beats), dict(rhythms))


def _header(path: Path) -> tuple[tuple[str, ...], float, int]:
    """Leads, samples per second, samples per lead."""
    try:
        if path.stat().st_size > _LONGEST_HEADER:
            raise ValueError("it is too long for one")
        lines = [line for line in path.read_text("latin-1").splitlines() if line.strip() and line[0] != "#"]
        fields = lines[0].split()
        count = int(fields[1])
        rate = float(re.split(r"[/(]", fields[2])[0]) if len(fields) > 2 else 250.0  # WFDB's default
        samples = int(fields[3]) if len(fields) > 3 else 0
        segments = "/" in fields[0]
        signals = [] if segments else [line.split() for line in lines[1 : 1 + count]]
        if not rate > 0 or (not segments and len(signals) != count):
            raise ValueError("it lists other signals than it says")
    except (OSError, ValueError, IndexError) as error:
        raise DatasetError(f"{path.name} is no WFDB header: {error}", remedy="copy the record again") from error
    names = tuple(" ".join(fields[8:]) or f"signal {n}" for n, fields in enumerate(signals))
    return names, rate, samples


def read_annotations(path: Path) -> list[tuple[int, str, str]]:
    """Sample (0-based), mnemonic and text of every annotation of an MIT-format file.

    Each takes two bytes, the kind in the upper 6 bits and the samples since the last one in the lower 10; longer
    distances, texts and the like follow as words of their own.

    Raises:
        DatasetError: when the file ends in the middle of an annotation.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise DatasetError(f"{path.name} is too long for annotations", remedy="copy the record again")
    data = path.read_bytes()
    found: list[tuple[int, str, str]] = []
    sample, place = 0, 0
    try:
        while True:
            word = data[place] | data[place + 1] << 8
            kind, amount = word >> 10, word & 0x3FF
            place += 2
            if kind == 0 and amount == 0:
                return found
            if kind == _SKIP:  # four bytes, the upper half first
                high, low = data[place] | data[place + 1] << 8, data[place + 2] | data[place + 3] << 8
                distance = high << 16 | low
                sample += distance - (1 << 32) if distance >> 31 else distance
                place += 4
            elif kind == _AUX:
                text = data[place : place + amount].rstrip(b"\0").decode("latin-1")
                place += amount + amount % 2
                if found:
                    found[-1] = (*found[-1][:2], text)
            elif kind not in (_NUM, _SUB, _CHN):
                sample += amount
                found.append((sample, _SYMBOLS[kind].strip() if kind < len(_SYMBOLS) else "", ""))
    except IndexError:
        raise DatasetError(f"{path.name} ends in the middle of an annotation", remedy="copy the record again") from None
