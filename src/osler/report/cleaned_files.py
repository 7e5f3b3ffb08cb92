"""What a cleaning leaves on disk: the manifest of what is kept, and tables of what is not, was changed, or is in doubt.

OUT/manifest.csv            the cases that are kept; paths lead to the files where they are
OUT/manifest.labels.json    the labels
OUT/excluded.csv            a row per case and reason
OUT/changes.csv             a row per cell of the manifest that differs from what the data says
OUT/review.csv              a row per case that is kept and problem that a person must decide, such as a doubtful answer
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from osler.datasets.cleaning import Cleaned
from osler.datasets.dataset import Dataset
from osler.datasets.layouts import write_manifest
from osler.datasets.manifest import Record
from osler.report.files import put

__all__ = ["CLEANED_FILES", "write_cleaned"]

CLEANED_FILES = ("manifest.csv", "manifest.labels.json", "excluded.csv", "changes.csv", "review.csv")


def write_cleaned(cleaned: Cleaned, source: Dataset, folder: Path) -> tuple[Path, ...]:
    """Write the files; those of an earlier cleaning are replaced.

    Args:
        cleaned: what is kept and what is not.
        source: the dataset before, for the paths of what is not kept.
        folder: exists.

    Returns:
        The files written.

    Raises:
        UsageError: when a table cannot point to the cases.
        StorageError: when the disk is full or the place not writable.
    """
    written = write_manifest(cleaned.dataset, folder / CLEANED_FILES[0], overwrite=True)
    records = {record.name: record for record in source.records}
    excluded = [
        (e.case, _image_of(source, records[e.case]), records[e.case].split or "", e.code, e.reason)
        for e in cleaned.exclusions
    ]
    review = [
        (r.case, _image_of(source, records[r.case]), records[r.case].split or "", r.code, r.reason, r.remedy)
        for r in cleaned.reviews
    ]
    changed = [(c.case, c.column, c.before, c.after, c.reason) for c in cleaned.changes]
    tables = {
        CLEANED_FILES[2]: _table(("case", "image", "split", "problem", "reason"), excluded),
        CLEANED_FILES[3]: _table(("case", "column", "before", "after", "reason"), changed),
        CLEANED_FILES[4]: _table(("case", "image", "split", "problem", "reason", "what to do"), review),
    }
    for name, data in tables.items():
        put(folder / name, data)
    return (*written, *(folder / name for name in tables))


def _image_of(source: Dataset, record: Record) -> str:
    ref = next(iter(record.images.values()))
    place = "" if ref.index is None else f" [{ref.key} {ref.index}]"
    return f"{source.path_of(ref)}{place}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(head)
    table.writerows(rows)
    return stream.getvalue().encode()
