"""What is in a set of recordings (WFDB, EDF, DICOM waveforms) and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from osler.datasets.layouts.signals import (
    NAME,
    SignalRecord,
    describe_records,
    measured,
    records_of,
    sniff,
)
from osler.datasets.parallel import in_threads
from osler.datasets.signal_inspection import SignalInspection, SignalRow, find_signal_problems, look_at_signals
from osler.errors import StudyError
from osler.progress import CancelToken, Progress
from osler.report.files import put
from osler.report.signal_page import MOST_STRIPS, signal_page, strip_of
from osler.studies.files import holds_signal
from osler.studies.formats import read_signals

__all__ = ["are_signals", "inspect_signals"]


@dataclass(frozen=True)
class _Seen:
    record: SignalRecord
    row: SignalRow | None
    problem: str = ""
    strip: bytes = b""


def are_signals(path: Path) -> bool:
    """Whether a path is a recording, or a folder that holds recordings and no images."""
    return holds_signal(path) if path.is_file() else sniff(path) is not None


def inspect_signals(
    path: Path,
    *,
    patient: str | None,
    output: Path | None,
    names: tuple[str, str],
    progress: Progress,
    cancel: CancelToken | None,
) -> SignalInspection:
    """Read every record once; one is held in memory for each thread.

    Args:
        path: for which ``are_signals``.
        patient: a regular expression that finds the patient in each record's name.
        output: an existing folder for the page and the JSON.
        names: of these two files.
        progress: gets the stage "inspect", in records.
        cancel: looked at between records.

    Raises:
        UsageError: when ``patient`` does not fit.
        StorageError: when a file cannot be written.
        Cancelled: when asked to stop.
    """
    records = records_of(path.resolve(), patient=patient)
    drawn = _evenly(records) if output is not None else set()
    progress.start("inspect", len(records), "records")
    seen: list[_Seen] = []
    for one in in_threads(lambda record: _look(record, draw=record.name in drawn), records, cancel=cancel):
        progress.advance("inspect", 1, one.record.name)
        seen.append(one)
    progress.finish("inspect")
    rows = tuple(one.row for one in seen if one.row is not None)
    found = SignalInspection(
        name=path.resolve().name,
        layout=NAME,
        text=describe_records([one.record for one in seen]),
        cases=len(records),
        patients=len({record.patient for record in records}),
        problems=find_signal_problems(rows, {one.record.name: one.problem for one in seen if one.row is None}),
        records=rows,
        files=() if output is None else tuple(output / name for name in names),
    )
    if output is not None:
        strips = {one.record.name: one.strip for one in seen if one.strip}
        put(output / names[0], signal_page(found, strips).encode())
        put(output / names[1], found.model_dump_json(indent=1).encode())
    return found


def _look(record: SignalRecord, *, draw: bool) -> _Seen:
    try:
        signals = read_signals(record.path)
        record = measured(record, signals)
    except StudyError as error:
        return _Seen(record, None, str(error))
    return _Seen(record, look_at_signals(record, signals), strip=strip_of(record, signals) if draw else b"")


def _evenly(records: Sequence[SignalRecord]) -> set[str]:
    """The names of at most ``MOST_STRIPS`` records."""
    if len(records) <= MOST_STRIPS:
        return {record.name for record in records}
    step = (len(records) - 1) / (MOST_STRIPS - 1)
    return {records[round(n * step)].name for n in range(MOST_STRIPS)}
