"""How long it will take to read studies, estimated from their files before any is opened.

The estimate decides whether processes are worth their start. It looks at nothing but sizes, so that it gives the same
answer on every run, and a study that crashes its reader has not been read when the choice is made.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from osler.datasets.manifest import Record

__all__ = ["LARGEST_ARCHIVE", "seconds_for"]

_PREPARING, _INSPECTING = (0.0006, 90e-9), (0.002, 200e-9)
"""Seconds per study and per byte of its files: measured on NIfTI volumes of 70 kB, radiographs of 28 px in an archive,
PNG pictures of 50 kB and slices of MR, all of which lie within a factor of two. Files without compression take less."""
LARGEST_ARCHIVE = 1 << 26
"""Bytes of an archive (.npz) up to which every process may load its own copy."""


def seconds_for(root: Path, records: Iterable[Record], *, inspecting: bool = False) -> float:
    """Seconds of work on one core that reading and preparing (or inspecting) takes.

    Files that are not there count nothing: they will be refused. An archive of many images counts once; a large one
    makes it 0, because each process would hold it whole while threads share it.

    Args:
        root: of the manifest.
        records: the studies, with their masks.
        inspecting: whether everything is measured that ``osler inspect`` shows.
    """
    sizes: dict[str, int] = {}
    count = 0
    for record in records:
        count += 1
        for ref in (*record.images.values(), *([record.mask] if record.mask else [])):
            for path in ref.paths:
                if path not in sizes:
                    sizes[path] = _size(root / path)
            if ref.index is not None and sizes[ref.path] > LARGEST_ARCHIVE:
                return 0.0
    per_study, per_byte = _INSPECTING if inspecting else _PREPARING
    return count * per_study + sum(sizes.values()) * per_byte


def _size(path: Path) -> int:
    """Bytes of a file, or of the files of a folder."""
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size
        with os.scandir(path) as entries:
            return sum(entry.stat().st_size for entry in entries)
    except OSError:
        return 0
