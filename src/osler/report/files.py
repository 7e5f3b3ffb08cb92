"""What a prediction leaves on disk: a folder per study and one table.

OUT/<study>/findings.json     written last: a folder with it is whole
OUT/<study>/mask.nii.gz       masks of volumes and DICOM images; mask.png for pictures
OUT/<study>/overlay.png
OUT/summary.csv               a row per study, also of those that failed
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from osler.errors import NotWritable, OutputExists, StorageError
from osler.findings.finding import Findings
from osler.report.mask_file import MaskFile
from osler.studies.files import RESULTS
from osler.studies.formats import write_image
from osler.studies.geometry import Array
from osler.studies.volume import ImageLike, alike

__all__ = ["SummaryRow", "ensure_free", "mask_name", "output_folder", "put", "write_study", "write_summary"]

_PICTURES = {"raster", "npz"}
_FIXED = ("study", "status", "seconds", "peak_mb")
_NOTE = "note"


@dataclass(frozen=True)
class SummaryRow:
    """One study's row. ``status`` is ``ok`` or ``failed: <reason>``; ``cells`` are the columns of the task; ``note`` is
    what the user should check."""

    study: str
    status: str
    seconds: float
    peak_mb: float
    cells: Mapping[str, str | float] = field(default_factory=dict)
    note: str = ""


def ensure_free(output: Path, studies: Iterable[str], *, force: bool) -> None:
    """Look before any work is done whether something would be overwritten.

    Raises:
        OutputExists: naming the first study (or the summary) whose result exists, unless ``force``.
    """
    if force:
        return
    for study in studies:
        if any((output / study / name).exists() for name in RESULTS):
            raise OutputExists(
                f"{output / study} holds results already",
                remedy="give another --output, or --force to overwrite; --continue goes on with a run that was stopped",
            )
    if (output / "summary.csv").exists():
        raise OutputExists(
            f"{output / 'summary.csv'} exists already", remedy="give another --output, or --force to overwrite"
        )


@contextmanager
def output_folder(output: Path | None) -> Iterator[None]:
    """Make a folder for what is done meanwhile; when that fails, the folders that were made and are empty go again.

    Args:
        output: with its parents; None makes nothing.

    Raises:
        StorageError: before anything is done, when ``output`` cannot be a writable folder.
    """
    if output is None:
        yield
        return
    made = [folder for folder in (output, *output.parents) if not folder.exists()]  # the deepest first
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError.of(error, output) from error
    if not os.access(output, os.W_OK):
        raise NotWritable(
            f"cannot write {output}: there is no permission to write there", remedy="give another --output"
        )
    try:
        yield
    except BaseException:
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def mask_name(image: ImageLike) -> str:
    """``mask.png`` for pictures, which have no geometry; ``mask.nii.gz`` for everything else."""
    return "mask.png" if image.dimensions == 2 and image.source.format in _PICTURES else "mask.nii.gz"


def write_study(
    folder: Path,
    findings: Findings,
    *,
    image: ImageLike,
    mask: Array | MaskFile | None = None,
    overlay: bytes | None = None,
) -> tuple[Path, ...]:
    """Write one study's results; each file appears whole or not at all, ``findings.json`` last.

    Results of an earlier run are removed first, so that none stays beside those of another model.

    Args:
        folder: ``OUT/<study>``; made when missing. Files in it that are not results stay untouched.
        findings: what was seen.
        image: the source image, whose grid and geometry the mask gets.
        mask: source shape (I, J[, K]), the data set's values; or a finished file of it, which gets its name now.
        overlay: the bytes of a PNG.

    Returns:
        The files written.

    Raises:
        StorageError: when the disk is full or the place not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in RESULTS:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError.of(error, folder) from error
    written = []
    if mask is not None:
        written.append(folder / mask_name(image))
        if isinstance(mask, MaskFile):
            mask.place(written[-1])
        else:
            write_image(alike(image, mask[None], units="", window=None), written[-1], overwrite=True)
    if overlay is not None:
        written.append(folder / "overlay.png")
        put(written[-1], overlay)
    written.append(folder / "findings.json")
    put(written[-1], findings.model_dump_json(indent=1).encode())
    return tuple(written)


def write_summary(path: Path, rows: Sequence[SummaryRow], *, columns: Sequence[str] = ()) -> None:
    """Write ``summary.csv``: the fixed columns, then the task's in the order in which studies bring them.

    ``columns`` are the task's where no study brings any because all failed. The last column is ``note`` where there is
    one to make.

    Raises:
        StorageError: when the disk is full or the place not writable.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row.cells)) or columns
    noted = any(row.note for row in rows)
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow([*_FIXED, *columns, *([_NOTE] if noted else [])])
    for row in rows:
        fixed = [row.study, " ".join(row.status.split()), f"{row.seconds:.3f}", f"{row.peak_mb:.0f}"]
        cells = [_cell(row.cells.get(column, "")) for column in columns]
        table.writerow([*fixed, *cells, *([row.note] if noted else [])])
    put(path, stream.getvalue().encode())


def put(path: Path, data: bytes) -> None:
    """Write a file so that it is seen whole or not at all.

    Raises:
        StorageError: when the disk is full or the place not writable.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError.of(error, path) from error


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else str(round(value, 6))
