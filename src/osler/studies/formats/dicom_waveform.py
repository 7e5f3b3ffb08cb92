"""DICOM waveforms: 12-lead ECG, Holter, haemodynamics, EEG, respiration (DICOM PS3.3 C.10.9, A.34).

Rules:
- Samples are in physical units: stored × sensitivity × correction + baseline, float32, in the unit that the header
  codes in UCUM; a channel without a sensitivity is not calibrated, and its numbers have no unit.
- Padding is NaN; a channel whose first sample comes late by whole samples begins with NaN.
- A multiplex group is one signal per rate and unit, named by its label ("RHYTHM", "MEDIAN BEAT") where it has one.
- Sound coded by the μ-law or A-law is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import Unreadable, Unsuitable
from osler.studies.formats._dicom_facts import first_item
from osler.studies.formats._dicom_header import SUFFIXES, read_dataset
from osler.studies.formats._dicom_values import number
from osler.studies.formats._signal_groups import UNCALIBRATED, Lead, grouped, ucum
from osler.studies.formats.base import peek, reading
from osler.studies.geometry import Array
from osler.studies.study import Identifiers, Signal

__all__ = ["NAME", "SUFFIXES", "read_annotations", "read_identifiers", "read_signals", "sniff"]

NAME: str = "dicom-waveform"
_CLASSES = b"1.2.840.10008.5.1.4.1.1.9."
_CLASS_ELEMENT = b"\x02\x00\x02\x00UI"  # MediaStorageSOPClassUID, with two bytes for its length behind
_HEAD = 1024
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_MOST_SAMPLES = 250_000_000  # 1 GB as float32
_DTYPES = {
    ("SB", 8): "i1",
    ("UB", 8): "u1",
    ("SS", 16): "<i2",
    ("US", 16): "<u2",
    ("SL", 32): "<i4",
    ("UL", 32): "<u4",
}


def sniff(path: Path) -> bool:
    """Whether a file's meta information says that it is a DICOM object of a waveform storage class."""
    head = peek(path, _HEAD)
    place = head.find(_CLASS_ELEMENT, 132)
    return head[128:132] == b"DICM" and place > 0 and head[place + 8 :].startswith(_CLASSES)


def read_signals(path: Path) -> Mapping[str, Signal]:
    """Read every channel in physical units.

    Raises:
        Unreadable: when it is damaged or has no waveform.
        Unsuitable: for coded sound, or more than 250 million samples.
    """
    data = read_dataset(path)
    signals: dict[str, Signal] = {}
    with reading(path, "a DICOM waveform"):
        groups = list(data.get("WaveformSequence") or [])
        if not groups:
            raise Unreadable(f"{path} has no waveform in it", remedy="export it again from its source")
        labels = [str(group.get("MultiplexGroupLabel", "") or "").strip() for group in groups]
        told = len(set(labels)) == len(labels) and all(labels)
        big = data.file_meta.get("TransferSyntaxUID") == _BIG_ENDIAN
        for place, (group, label) in enumerate(zip(groups, labels, strict=True), 1):
            found = grouped(_leads(group, path, big_endian=big))
            name = label if told else f"group {place}"
            for part, signal in found.items():
                whole = name if len(found) == 1 else f"{name}, {part}"
                signals[part if len(groups) == len(found) == 1 and not told else whole] = signal
    return signals


def read_annotations(path: str | Path) -> tuple[tuple[float | None, str], ...]:
    """The annotations in the file: seconds from the start (None where it is of the whole), and what is noted.

    A measurement is its concept's name without the number; free text is given as it stands.

    Raises:
        Unreadable: when it is damaged.
    """
    path = Path(path)
    data = read_dataset(path)
    with reading(path, "a DICOM waveform"):
        groups = list(data.get("WaveformSequence") or [])
        rate = number(groups[0], "SamplingFrequency", 0.0) if groups else 0.0
        return tuple(_annotation(item, rate) for item in data.get("WaveformAnnotationSequence") or [])


def read_identifiers(path: str | Path) -> Identifiers:
    """Who a recording is of. The result's repr shows nothing.

    Raises:
        Unreadable: when it is not DICOM, or damaged.
    """
    path = Path(path)
    data = read_dataset(path, pixels=False)
    with reading(path, "a DICOM waveform"):  # values are parsed when they are asked for
        return Identifiers(
            patient_id=str(data.get("PatientID", "") or ""),
            patient_name=str(data.get("PatientName", "") or ""),
            birth_date=str(data.get("PatientBirthDate", "") or ""),
            study_uid=str(data.get("StudyInstanceUID", "") or ""),
            study_date=str(data.get("StudyDate", "") or ""),
        )


def _annotation(item: Any, rate: float) -> tuple[float | None, str]:
    places = item.get("ReferencedSamplePositions")
    first = None if places in (None, "") else float(np.atleast_1d(np.asarray(places, float))[0])
    concept = first_item(item, "ConceptNameCodeSequence")
    meaning = "" if concept is None else str(concept.get("CodeMeaning", "") or "").strip()
    note = meaning or str(item.get("UnformattedTextValue", "") or "").strip()
    return (None if first is None or rate <= 0 else (first - 1) / rate), note  # positions count from 1


def _leads(group: Any, path: Path, *, big_endian: bool) -> list[Lead]:
    rate = number(group, "SamplingFrequency", 0.0)
    if not 0 < rate < 1e7:
        raise Unreadable(f"{path} gives a rate of {rate:g} Hz", remedy="export it again from its source")
    stored = _stored(group, path, big_endian=big_endian)
    definitions = list(group.get("ChannelDefinitionSequence") or [])
    if len(definitions) != stored.shape[1]:
        raise Unreadable(
            f"{path} holds {stored.shape[1]} channels and describes {len(definitions)}",
            remedy="export it again from its source",
        )
    padding = _padding(group, stored.dtype)
    return [_lead(one, place, stored[:, place], padding, rate, path) for place, one in enumerate(definitions)]


def _stored(group: Any, path: Path, *, big_endian: bool) -> Array:
    """(time, channels) as stored."""
    coding, bits = str(group.get("WaveformSampleInterpretation", "")), int(group.get("WaveformBitsAllocated") or 0)
    dtype = _DTYPES.get((coding, bits))
    if dtype is None:
        raise Unsuitable(
            f"{path} holds samples of the coding {coding or 'that is not given'} with {bits} bits",
            remedy="export it as linear samples of 8, 16 or 32 bits",
        )
    count, channels = int(group.get("NumberOfWaveformSamples") or 0), int(group.get("NumberOfWaveformChannels") or 0)
    if count < 1 or channels < 1:
        raise Unreadable(f"{path} announces {channels} channels of {count} samples", remedy="export it again")
    if count * channels > _MOST_SAMPLES:
        raise Unsuitable(f"{path} has {count * channels:,} samples", remedy="cut the recording into shorter ones")
    kind = np.dtype(dtype).newbyteorder(">") if big_endian and bits > 8 else np.dtype(dtype)
    raw = bytes(group.get("WaveformData") or b"")
    needed = count * channels * kind.itemsize
    if len(raw) < needed:
        raise Unreadable(
            f"{path} is cut off: it has {len(raw)} of {needed} bytes of samples", remedy="copy or export it again"
        )
    return np.frombuffer(raw, kind, count * channels).reshape(count, channels)


def _padding(group: Any, dtype: np.dtype[Any]) -> int | None:
    raw = group.get("WaveformPaddingValue")
    if raw in (None, "", b""):
        return None
    if isinstance(raw, bytes):
        return int(np.frombuffer(raw, dtype, 1)[0])
    return int(raw)


def _lead(item: Any, place: int, stored: Array, padding: int | None, rate: float, path: Path) -> Lead:
    sensitivity = number(item, "ChannelSensitivity", 0.0)
    units = first_item(item, "ChannelSensitivityUnitsSequence")
    calibrated = sensitivity != 0 and units is not None
    factor = sensitivity * number(item, "ChannelSensitivityCorrectionFactor", 1.0) if calibrated else 1.0
    baseline = number(item, "ChannelBaseline", 0.0) if calibrated else 0.0
    samples = (stored.astype(np.float64) * factor + baseline).astype(np.float32)
    if padding is not None:
        samples[stored == padding] = np.nan
    late = round(number(item, "ChannelSampleSkew", 0.0))
    if not abs(late) < len(samples):
        raise Unreadable(f"{path} has a channel that begins {late} samples late", remedy="export it again")
    if late > 0:
        samples = np.concatenate([np.full(late, np.nan, np.float32), samples[:-late]])
    elif late < 0:
        samples = np.concatenate([samples[-late:], np.full(-late, np.nan, np.float32)])
    unit = ucum(str(units.get("CodeValue", "") or "")) if calibrated and units is not None else UNCALIBRATED
    return Lead(_name(item, place), samples, rate, unit)


def _name(item: Any, place: int) -> str:
    """The label, else what the channel's source is called: "Lead II" is II."""
    label = str(item.get("ChannelLabel", "") or "").strip()
    source = first_item(item, "ChannelSourceSequence")
    meaning = "" if source is None else str(source.get("CodeMeaning", "") or "").strip()
    short = meaning.removeprefix("Lead ").removesuffix("(Einthoven)").strip()
    return label or short or f"channel {place + 1}"
