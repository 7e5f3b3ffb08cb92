"""What is a study's file: the one answer that finding studies and every layout of data sets share.

Rules:
- A file is an image by the suffix of a format that is read, or by its first bytes where the suffix says nothing (DICOM
  from a PACS, NRRD); the data half of a pair (``.img``, ``.raw``, ``.zraw``) is not, its header is.
- DICOM files are images by what their headers say (``dicom_index``): a series that is alone in its folder is that
  folder, an image among others a file, anything else a folder with a key. What is no image (SEG, RTSTRUCT, SR) is none.
- Signals are never images.
- What ``osler predict`` wrote is known by its names and places (``is_result``): it lies beside studies often enough.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from osler.studies.formats import FORMATS, SIGNAL_FORMATS, dicom, sniff
from osler.studies.formats.base import stem_of
from osler.studies.formats.dicom_index import DicomImage, DicomIndex, DicomSeries

__all__ = [
    "JOURNAL",
    "RESULTS",
    "DicomPlace",
    "FileKind",
    "dicom_places",
    "holds_signal",
    "image_suffix",
    "is_result",
    "kind_of_file",
    "walk",
]

FileKind = Literal["image", "dicom", "signal", ""]

JOURNAL = "finished.jsonl"
"""In the output of a run over many studies; results of a study lie in a folder beside it."""
RESULTS = ("findings.json", "mask.nii.gz", "mask.png", "overlay.png")
"""Of a study; the first of them is written last."""

_SUFFIXES = tuple(sorted({suffix for one in FORMATS for suffix in one.SUFFIXES}, key=len, reverse=True))
_UNDECIDED = (".hdr", ".hdr.gz", *dicom.SUFFIXES)  # Analyze's suffix is that of other software too
_SIGNALS = frozenset(one.NAME for one in SIGNAL_FORMATS)


@dataclass(frozen=True)
class DicomPlace:
    """One DICOM image: what it is called in its folder, and how ``read_image`` finds it.

    Args:
        name: of the folder, the file, or the folder with what tells it apart.
        path: a file or a folder.
        key: of ``read_image``, where the path holds more than this image.
        folder: where its first file lies.
        file: the only file, where it has one.
        patient: a digest; "" when the header names nobody.
    """

    name: str
    path: Path
    key: str | None
    folder: Path
    file: Path | None = None
    patient: str = ""


def image_suffix(name: str) -> str:
    """The extension of an image file in lower case (``.nii.gz`` counts as one), "" for any other name."""
    lower = name.lower()
    return next((suffix for suffix in _SUFFIXES if lower.endswith(suffix)), "")


def kind_of_file(path: Path) -> FileKind:
    """Whether a file is an image, a DICOM object (an image or not, as its header says), a signal, or nothing of these.

    A damaged file counts as what its name says. It is opened only where the suffix says nothing.
    """
    suffix = image_suffix(path.name)
    if path.name.startswith(".") or not path.is_file():
        return ""
    if suffix and suffix not in _UNDECIDED:
        return "image"
    found = sniff(path)
    if found is None or found == dicom.NAME:
        return "dicom" if found else ""
    return "signal" if found in _SIGNALS else "image"


def is_result(path: Path) -> bool:
    """Whether a file is part of what ``osler predict`` said of a study, and so no study."""
    folder = path.parent
    return path.name in RESULTS and (folder / RESULTS[0]).is_file() and (folder.parent / JOURNAL).is_file()


def holds_signal(path: Path) -> bool:
    """Whether a file is a recording: WFDB header, EDF, BDF, DICOM waveform."""
    return path.is_file() and any(one.sniff(path) for one in SIGNAL_FORMATS)


def walk(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Every folder from ``folder`` down with its files, without hidden ones and what archives leave behind.

    Links are followed, and each folder comes once: links may lead upward, or in circles.
    """
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)  # not its real path, which takes long to find in deep trees
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        here = Path(parent)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")) and _ends(here / name))
        yield here, [path for name in sorted(names) if not name.startswith(".") and (path := here / name).is_file()]


def _ends(folder: Path) -> bool:
    """Whether a folder is no link to one above it, which would lead out of where the walk began."""
    return not folder.is_symlink() or not Path(os.path.realpath(folder.parent)).is_relative_to(os.path.realpath(folder))


def dicom_places(index: DicomIndex) -> dict[Path, list[DicomPlace]]:
    """The images of an index by the folder of their first file, by name.

    Localizers beside a volume of their series are left out. A file that cannot be read is an image of its own, so that
    reading it says why, unless its folder holds one series: then it spoils that.
    """
    places: dict[Path, list[DicomPlace]] = defaultdict(list)
    holders = Counter(folder for series in index.series for folder in {file.parent for file in series.files})
    for file in index.unreadable:
        if holders[file.parent] != 1:
            patient = f"patient-{index.refused[file]}" if file in index.refused else ""
            places[file.parent].append(DicomPlace(stem_of(file), file, None, file.parent, file, patient))
    for series in index.series:
        volumes = [image for image in series.images if not image.localizer] or list(series.images)
        for image in volumes:
            alone = len(series.images) == 1 or volumes == [image]
            place = _placed(image, series, holders, alone=alone)
            places[place.folder].append(place)
    places = {folder: _distinct(several) for folder, several in places.items()}
    return {folder: sorted(several, key=lambda one: str(one.path)) for folder, several in places.items()}


def _distinct(places: Sequence[DicomPlace]) -> list[DicomPlace]:
    """With the image's own digits behind names that occur twice: series of two patients may share all else."""
    counts = Counter((place.path, place.name.lower()) for place in places)
    return [
        replace(place, name=f"{place.name}-{place.key.replace(':', '-')}")
        if place.key and counts[place.path, place.name.lower()] > 1
        else place
        for place in places
    ]


def _placed(image: DicomImage, series: DicomSeries, holders: Mapping[Path, int], *, alone: bool) -> DicomPlace:
    folders = {file.parent for file in image.files}
    folder = next(iter(folders)) if len(folders) == 1 else Path(os.path.commonpath(folders))
    name, path, key = _name_and_path(image, series, holders, folder, alone=alone and len(folders) == 1)
    header = next(iter(image.headers.values()))
    known = header.get("PatientID") or header.get("PatientName")
    only = image.files[0] if len(image.files) == 1 else None
    return DicomPlace(name, path, key, image.files[0].parent, only, f"patient-{series.patient}" if known else "")


def _name_and_path(
    image: DicomImage, series: DicomSeries, holders: Mapping[Path, int], folder: Path, *, alone: bool
) -> tuple[str, Path, str | None]:
    """How an image is named and read: by its folder, its file, or a folder and a key."""
    if len(image.files) == 1 and (image.stack is None or len(series.files) == 1 or len(image.stack.slices) == 1):
        file = image.files[0]
        if len(series.images) == 1 and holders[folder] == 1 and image.headers[file].get("SeriesInstanceUID"):
            return folder.resolve().name, folder, None
        if len(series.images) == 1 or len(series.files) > 1:
            return stem_of(file), file, None
        return f"{stem_of(file)}-{image.label}", file, image.key
    name = folder.resolve().name
    if alone and holders[folder] == 1:
        return name, folder, None
    number = f"series{series.number}" if series.number is not None else series.id
    shared = max(holders[file.parent] for file in image.files) > 1
    parts = [name, *([number] if shared else []), *([image.label] if image.label and not alone else [])]
    return "-".join(parts), folder, image.key
