"""Recordings without images: WFDB records with their annotations, EDF and BDF files, DICOM waveforms.

Osler has no tasks for signals yet, so ``read`` says what is there instead of a manifest; ``list_records`` lists it,
``osler import`` writes that list as a table, and ``osler inspect`` looks at every record.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from osler.datasets.layouts.files import natural, short_names, subfolders, visible
from osler.datasets.layouts.needs import Need
from osler.datasets.layouts.patients import apply_pattern
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, StudyError
from osler.studies.discovery import find_signals
from osler.studies.files import holds_signal, kind_of_file, walk
from osler.studies.formats import dicom_waveform, edf, read_signals, signal_format, wfdb
from osler.studies.formats.base import stem_of
from osler.studies.study import Signal

__all__ = [
    "NAME",
    "NEEDS",
    "Annotated",
    "SignalRecord",
    "annotations_of",
    "describe_records",
    "list_records",
    "measured",
    "read",
    "records_of",
    "sniff",
]

NAME: str = "signals"
NEEDS: tuple[Need, ...] = (
    Need("a recording: a WFDB header .hea, an .edf or a .bdf", lambda seen: seen.has(".hea", ".edf", ".bdf")),
    Need("the samples as .dat beside a .hea", lambda seen: seen.has(".dat", ".edf", ".bdf")),
)
_KINDS = {"wfdb": "WFDB", "edf": "EDF", "dicom-waveform": "DICOM waveform"}
_BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")  # PhysioNet's codes of annotations that are beats
_RHYTHM = "+"
_ONE_PERSON = {"202": "201"}  # of the MIT-BIH arrhythmia database: both records are of the same man
_MITBIH_HZ = 360.0
_PROBED = 20
_TOLD = 2
"""A free text that occurs less often may name somebody: it is counted and not repeated."""


@dataclass(frozen=True)
class Annotated:
    """What is marked on a record.

    Args:
        beats: how many of each kind, by PhysioNet's code ("N" normal, "V" premature ventricular ...).
        rhythms: how often each rhythm begins ("AFIB" ...).
        notes: how often each other text or measurement occurs; texts that occur once are together under "other".
        marks: seconds and code of each beat, in order.
    """

    beats: Mapping[str, int] = field(default_factory=dict)
    rhythms: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    marks: tuple[tuple[float, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class SignalRecord:
    """One recording.

    Args:
        name: safe as a file name.
        path: the ``.hea``, ``.edf``, ``.bdf`` or DICOM file.
        format: "wfdb", "edf" or "dicom-waveform".
        annotations: the file of WFDB annotations, if there is one.
        patient: a digest of what the file says; else the folder, where records lie in folders; else the record itself.
        leads: names of the signals; empty until ``measured`` where it takes more than a header.
        rates_hz: samples per second, each rate once.
        seconds: its length; 0 when the header does not say.
        annotated: what is marked on it.
    """

    name: str
    path: Path
    format: str
    annotations: Path | None
    patient: str
    leads: tuple[str, ...] = ()
    rates_hz: tuple[float, ...] = ()
    seconds: float = 0.0
    annotated: Annotated = field(default_factory=Annotated)


def sniff(path: Path) -> str | None:
    """A folder that holds recordings, or folders of them, and no image anywhere below."""
    if not path.is_dir():
        return None
    first = next((p for folder in (path, *subfolders(path)) for p in _likely(folder) if holds_signal(p)), None)
    if first is None or _holds_image(path):
        return None
    return f"signals ({_KINDS[signal_format(first) or 'wfdb']}) such as {stem_of(first)}"


def _likely(folder: Path) -> list[Path]:
    """Files that are recordings by their suffix; else the first ones, which may be DICOM."""
    files = [p for p in visible(folder) if p.is_file()]
    named = [p for p in files if p.suffix.lower() in (*wfdb.SUFFIXES, *edf.SUFFIXES)]
    return named or files[:_PROBED]


def _holds_image(path: Path) -> bool:
    return any(kind_of_file(file) in ("image", "dicom") for _, files in walk(path) for file in files)


def read(path: Path, task: TaskName | None) -> NoReturn:
    """Says what is there.

    Raises:
        DatasetError: always: there are no images.
    """
    raise DatasetError(
        f"{path.name} holds {describe_records(list_records(path))}, and no images",
        remedy="no model reads signals yet; osler inspect shows them, osler import writes their list as a table",
    )


def describe_records(records: Sequence[SignalRecord]) -> str:
    """How many records, of whom, of what, how long, with which beats."""
    patients = len({record.patient for record in records})
    kinds = " and ".join(sorted({_KINDS[record.format] for record in records}))
    leads = sorted({lead for record in records for lead in record.leads}, key=natural)
    rates = [f"{rate:g} Hz" for rate in sorted({rate for record in records for rate in record.rates_hz})]
    shown = ", ".join(leads[:12]) + (f" and {len(leads) - 12} more" if len(leads) > 12 else "")
    seconds = sum(record.seconds for record in records)
    length = f"{seconds / 3600:.1f} h" if seconds >= 360 else f"{seconds:.0f} s"
    people = f"{patients} patient{'s' * (patients != 1)}"
    text = f"{len(records)} signal record{'s' * (len(records) != 1)} ({kinds}) of {people}"
    text += f", {shown}, {' and '.join(rates)}, {length} in all" if leads else ""
    beats, rhythms, notes = (_total(records, kind) for kind in ("beats", "rhythms", "notes"))
    text += f", {beats.total()} labelled beats ({_counted(beats)})" if beats else ", no labelled beats"
    text += f", rhythms {_counted(rhythms)}" if rhythms else ""
    return text + (f", {notes.total()} other annotations" if notes else "")


def _total(records: Sequence[SignalRecord], kind: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for record in records:
        total.update(getattr(record.annotated, kind))
    return total


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def list_records(path: Path, *, patient: str | None = None) -> tuple[SignalRecord, ...]:
    """Every recording in a folder and below, by name, with all that ``measured`` tells.

    Args:
        path: a folder, or one recording.
        patient: a regular expression that finds the patient in each record's name; None takes what the files say.

    Raises:
        DatasetError: when a header or an annotation file is damaged.
        UsageError: when ``patient`` does not fit.
    """
    found = []
    for record in records_of(path, patient=patient):
        try:
            found.append(measured(record))
        except StudyError as error:
            raise DatasetError(error.problem, remedy=error.remedy) from error
    return tuple(found)


def records_of(path: Path, *, patient: str | None = None) -> tuple[SignalRecord, ...]:
    """Every recording in a folder and below by name, none of them opened further than to tell its kind and patient."""
    files = sorted(find_signals(path) if path.is_dir() else (path,), key=lambda p: natural(str(p)))
    root = Path(os.path.commonpath([file.parent for file in files])) if files else path  # what all share is no name
    names = short_names([stem_of(p.relative_to(root)) if p.parent == root else _below(p, root) for p in files])
    patients = [_patient(file, root) for file in files] if patient is None else apply_pattern(patient, names)
    records = [
        SignalRecord(name, file, signal_format(file) or "", _annotation_file(file), who)
        for name, file, who in zip(names, files, patients, strict=True)
    ]
    return tuple(records)


def _below(path: Path, root: Path) -> str:
    return f"{path.parent.relative_to(root).as_posix()}/{stem_of(path)}"


def _annotation_file(file: Path) -> Path | None:
    found = file.with_suffix(".atr")
    return found if wfdb.sniff(file) and found.is_file() else None


def _patient(file: Path, root: Path) -> str:
    """As a digest where the file names somebody."""
    reader = {"edf": edf.read_identifiers, "dicom-waveform": dicom_waveform.read_identifiers}.get(
        signal_format(file) or ""
    )
    try:
        who, rate = (reader(file), 0.0) if reader else (None, wfdb.rate_of(file))
    except StudyError:  # reading it says what is wrong
        who, rate = None, 0.0
    named = (who.patient_id or who.patient_name) if who else ""
    if named:
        return f"patient-{hashlib.sha256(named.encode()).hexdigest()[:10]}"
    if file.parent != root:
        return file.parent.name
    return _ONE_PERSON.get(file.stem, file.stem) if rate == _MITBIH_HZ else stem_of(file)


def measured(record: SignalRecord, signals: Mapping[str, Signal] | None = None) -> SignalRecord:
    """The record with its leads, rates, length and annotations.

    Args:
        record: of ``records_of``.
        signals: its samples, where they have been read; of a WFDB record the header is enough.

    Raises:
        StudyError: when it is damaged.
    """
    if signals is None and record.format == "wfdb":
        leads, rates, seconds = wfdb.read_facts(record.path)
    else:
        parts = list((read_signals(record.path) if signals is None else signals).values())
        leads = tuple(dict.fromkeys(lead for part in parts for lead in part.leads))
        rates = tuple(sorted({part.rate_hz for part in parts}))
        seconds = max(part.samples.shape[1] / part.rate_hz for part in parts)
    return replace(record, leads=leads, rates_hz=rates, seconds=seconds, annotated=annotations_of(record))


def annotations_of(record: SignalRecord) -> Annotated:
    """What is marked on a record.

    Raises:
        StudyError: when its annotations are damaged.
    """
    if record.annotations is not None:
        return _of_wfdb(record)
    if record.format == "edf":
        texts = [text for _, _, text in edf.read_annotations(record.path)]
    elif record.format == "dicom-waveform":
        texts = [text for _, text in dicom_waveform.read_annotations(record.path) if text]
    else:
        texts = []
    counts = Counter(texts)
    notes = {text: count for text, count in counts.most_common() if count >= _TOLD}
    rest = counts.total() - sum(notes.values())
    return Annotated(notes=notes | ({"other": rest} if rest else {}))


def _of_wfdb(record: SignalRecord) -> Annotated:
    if record.annotations is None:
        return Annotated()
    found = wfdb.read_annotations(record.annotations)
    rate = wfdb.rate_of(record.path)
    beats: Counter[str] = Counter()
    rhythms: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    marks = []
    for sample, symbol, text in zip(found.samples.tolist(), found.symbols, found.texts, strict=True):
        if symbol in _BEATS:
            beats[symbol] += 1
            marks.append((sample / rate, symbol))
        elif symbol == _RHYTHM and text.startswith("("):
            rhythms[text[1:]] += 1
        else:
            notes[symbol] += 1
    return Annotated(dict(beats), dict(rhythms), dict(notes), tuple(marks))
