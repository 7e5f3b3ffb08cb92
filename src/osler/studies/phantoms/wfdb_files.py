"""Signals as WFDB records: ``.hea``, ``.dat`` (format 16) and ``.atr`` (MIT annotations), by PhysioNet's manual pages
header(5), signal(5) and annot(5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from osler.errors import UsageError
from osler.studies.phantoms.files import put_bytes, put_text
from osler.studies.study import Signal

__all__ = ["annotation_bytes", "write_record"]

_SKIP, _AUX, _RHYTHM = 59, 63, 28
_LONGEST = 1023  # samples that fit beside a code


def write_record(
    signal: Signal,
    folder: Path,
    name: str,
    *,
    gain: float = 1000.0,
    beats: Sequence[tuple[int, int]] = (),
    rhythm: str = "",
    comments: Sequence[str] = (),
) -> None:
    """Write a record; the same arguments give the same bytes.

    Args:
        signal: samples (leads, time).
        folder: where its files go.
        name: letters, digits, hyphens and underscores.
        gain: steps per unit.
        beats: (sample, code) in time.
        rhythm: what holds from the first sample, such as "(AFIB".
        comments: lines at the end of the header.

    Raises:
        UsageError: for samples that do not fit into 16 bits.
        StorageError: when it cannot be written.
    """
    steps = np.rint(signal.samples * gain)
    if not np.isfinite(steps).all() or np.abs(steps).max(initial=0) > 32767:
        raise UsageError(f"the record {name} does not fit into 16 bits at {gain:g} steps", remedy="use a lower gain")
    stored = steps.astype("<i2")
    lines = [f"{name} {len(signal.leads)} {signal.rate_hz:g} {stored.shape[1]}"]
    for lead, values in zip(signal.leads, stored, strict=True):
        checksum = int(values.astype(np.int64).sum()) & 0xFFFF
        signed = checksum - 0x10000 if checksum >= 0x8000 else checksum
        lines.append(f"{name}.dat 16 {gain:g}(0)/{signal.unit} 16 0 {int(values[0])} {signed} 0 {lead}")
    put_text(folder / f"{name}.hea", "\n".join([*lines, *(f"# {comment}" for comment in comments)]) + "\n")
    put_bytes(folder / f"{name}.dat", stored.T.tobytes())
    if beats or rhythm:
        put_bytes(folder / f"{name}.atr", annotation_bytes(beats, rhythm))


def annotation_bytes(beats: Sequence[tuple[int, int]], rhythm: str = "") -> bytes:
    """MIT annotations: 16-bit words of a code and the samples since the annotation before, little endian.

    Args:
        beats: (sample, code) in time.
        rhythm: what holds from the first sample.
    """
    words: list[int] = []
    data = b""
    if rhythm:
        text = rhythm.encode()
        padded = text + b"\0" * (len(text) % 2)
        data = np.array([_RHYTHM << 10, _AUX << 10 | len(text)], "<u2").tobytes() + padded
    before = 0
    for sample, code in beats:
        step = sample - before
        if step > _LONGEST:
            words += [_SKIP << 10, step >> 16, step & 0xFFFF]  # the high word first
            step = 0
        words.append(code << 10 | step)
        before = sample
    return data + np.array([*words, 0], "<u2").tobytes()
