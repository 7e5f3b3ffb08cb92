"""How phantoms get onto the disk: folders that were empty, tables, truth files, UIDs that depend on nothing but a key.

Every data set of phantoms lies like this:

    manifest.csv     a row per study with its answer, patient and scanner: ``osler.open_dataset`` reads it
    labels.json      the names of the mask values, where there are masks
    truth.json       everything that is true of each case, with units in the names: volumes in mm3, times in ms ...
    studies/         the images or signals
    masks/           the answers on the studies' grids
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from osler.errors import OutputExists, StorageError

__all__ = [
    "case_seed",
    "csv_text",
    "empty_folder",
    "nothing",
    "put_bytes",
    "put_text",
    "uid",
    "write_answers",
    "write_truth",
]

_PER_DATASET = 10_000  # case seeds of data sets with different seeds never meet
_TRUTH_VERSION = 1


def case_seed(seed: int, number: int) -> int:
    """The seed of case ``number`` (from 0) of the data set with ``seed``; also what its patient is numbered by."""
    return seed * _PER_DATASET + number


def uid(*parts: object) -> str:
    """A UID under 2.25 (one number of 128 bits) that depends on nothing but ``parts``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def nothing() -> None:
    """What is done after each case when nobody asked for more."""


def empty_folder(folder: str | Path) -> Path:
    """The folder, made where it was missing.

    Raises:
        OutputExists: when it holds something.
        StorageError: when it cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputExists(f"{folder} is not empty", remedy="choose another folder or empty it")
    except OSError as error:
        raise StorageError.of(error, folder) from error
    return folder


def put_bytes(path: Path, data: bytes) -> None:
    """Write a file; its folder is made where it was missing.

    Raises:
        StorageError: when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise StorageError.of(error, path) from error


def put_text(path: Path, text: str) -> None:
    """Write a file as UTF-8, as ``put_bytes``."""
    put_bytes(path, text.encode())


def csv_text(rows: Sequence[Mapping[str, str]]) -> str:
    """A table with the columns of the first row, lines ending in a line feed."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_answers(
    folder: Path,
    phantom: str,
    seed: int,
    *,
    rows: Sequence[Mapping[str, str]],
    truth: Mapping[str, Mapping[str, Any]],
    labels: Mapping[int, str] | None = None,
) -> None:
    """Write ``manifest.csv``, ``truth.json`` and, where masks have names, ``labels.json``.

    Args:
        folder: the data set's.
        phantom: which kind it is of.
        seed: the data set's.
        rows: of the manifest, all with the same columns.
        truth: what is true, by case name; values that JSON has.
        labels: mask values and their names.

    Raises:
        StorageError: when they cannot be written.
    """
    put_text(folder / "manifest.csv", csv_text(rows))
    write_truth(folder, phantom, seed, truth)
    if labels is not None:
        put_text(folder / "labels.json", json.dumps({str(v): n for v, n in labels.items()}, indent=2) + "\n")


def write_truth(folder: Path, phantom: str, seed: int, cases: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``truth.json``: what is true by case name, values that JSON has."""
    whole = {"version": _TRUTH_VERSION, "phantom": phantom, "seed": seed, "cases": cases}
    put_text(folder / "truth.json", json.dumps(whole, indent=1) + "\n")
