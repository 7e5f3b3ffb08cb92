"""Which patients, studies, series and images lie in a tree of DICOM files, from their headers alone.

Rules:
- Files of one patient, StudyInstanceUID and SeriesInstanceUID are one series, wherever they lie. Where the UID is
  empty, those of one folder with one series number, modality and frame of reference are.
- When folders share a series and hold other pictures at the same places, the UIDs were not unique: each folder is a
  series of its own, and that is said. The same objects in two folders are copies, and count once.
- A series gives one image per stack of slices (``_dicom_stacks``), per file without a position in the patient, and per
  film. Objects that are no images are listed with what they are, files that cannot be read with the reason.
- Nothing that identifies leaves: keys are digests of UIDs.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from osler.errors import GeometryError, StudyError, Unreadable
from osler.studies.formats._dicom_geometry import Slice, slices_of
from osler.studies.formats._dicom_header import Header, is_dicom, read_header
from osler.studies.formats._dicom_stacks import Stack, stacks_of
from osler.studies.formats.base import reading

__all__ = [
    "DicomImage",
    "DicomIndex",
    "DicomSeries",
    "index_files",
    "index_folder",
    "is_identifier",
    "kind_of_object",
]

Kind = Literal["stack", "picture", "film"]
_THREADS = 4
_SEGMENTATIONS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation Storage",
    "1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage",
}
_NO_PIXELS = ("1.2.840.10008.5.1.4.1.1.4.2", "1.2.840.10008.5.1.4.1.1.66.5")  # spectroscopy, surfaces
_SLICES = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("2", "4", "128"))  # CT, MR and PET Image Storage
_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, eq=False)
class DicomImage:
    """One image that can be read.

    Args:
        key: names it within its folder: digits of the series, with ``:label`` when the series has several.
        kind: slices with a place in the patient, one picture without, or a film (frames without places).
        headers: of its files, by path.
        stack: of ``kind`` "stack" only.
        notes: what a user should know about how it was found.
    """

    key: str
    kind: Kind
    headers: dict[Path, Header] = field(repr=False)
    stack: Stack | None = None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Its files, by name."""
        return tuple(self.headers)

    @property
    def label(self) -> str:
        """What tells it from the other images of its series; "" when there is no other."""
        return self.key.partition(":")[2]

    @property
    def localizer(self) -> bool:
        """Whether it is a scout image."""
        return self.stack is not None and self.stack.localizer

    def describe(self) -> str:
        """For messages, without anything that identifies."""
        if self.stack is not None:
            return self.stack.describe()
        one = next(iter(self.headers.values()))
        frames = f" of {one.frames} frames" if self.kind == "film" else ""
        return f"{self.kind}{frames} {one.get('Columns')}×{one.get('Rows')}"


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """One series.

    Args:
        id: ten hex digits from its UIDs; so are ``patient`` and ``study``.
        modality: "CT", "MR" ...
        number: SeriesNumber, when there is one.
        images: what it holds.
        problem: why none of its stacks may be read, or "".
    """

    id: str
    patient: str
    study: str
    modality: str
    number: int | None
    images: tuple[DicomImage, ...]
    problem: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of all images, each once, by name."""
        return tuple(sorted({file for image in self.images for file in image.files}))


@dataclass(frozen=True, eq=False)
class DicomIndex:
    """What a tree holds.

    Args:
        series: in the order of their first files.
        others: what each file that is DICOM but no image is ("RT Structure Set").
        unreadable: the reason for each file that looks like DICOM and cannot be read.
        refused: the patient's digest of each of those whose header could be read and names one.
    """

    series: tuple[DicomSeries, ...]
    others: dict[Path, str]
    unreadable: dict[Path, StudyError]
    refused: dict[Path, str] = field(default_factory=dict)

    @property
    def patients(self) -> int:
        """How many different patients there are."""
        return len({one.patient for one in self.series})

    @property
    def studies(self) -> int:
        """How many different studies there are."""
        return len({(one.patient, one.study) for one in self.series})

    @property
    def images(self) -> tuple[DicomImage, ...]:
        """The images of all series."""
        return tuple(image for one in self.series for image in one.images)


def index_folder(folder: Path, *, below: bool = True, threads: int = _THREADS) -> DicomIndex:
    """Index the DICOM files of a folder; a second call is quick while no file changes.

    Args:
        folder: where to look.
        below: whether to look into its folders too; links to folders above have been seen and end there.
        threads: how many files are read at a time.
    """
    files = tuple(_walk(folder) if below else _directly(folder))
    return _indexed(files, tuple(_signature(file) for file in files), threads)


def index_files(files: Iterable[Path], *, threads: int = _THREADS) -> DicomIndex:
    """Index files that a caller has found; those that are no DICOM are passed over."""
    chosen = tuple(files)
    return _indexed(chosen, tuple(_signature(file) for file in chosen), threads)


def is_identifier(text: str, patient: str) -> bool:
    """Whether ``text``, such as a folder's name, is the PatientID (or name) that the digest ``patient`` stands for."""
    return patient.removeprefix("patient-") == _digest(text)


def kind_of_object(header: Header) -> str:
    """What an object that is no image is, e.g. "RT Structure Set Storage"; "" for images."""
    uid = str(header.get("SOPClassUID") or header.get("MediaStorageSOPClassUID") or "")
    if header.is_image and uid not in (*_SEGMENTATIONS, *_NO_PIXELS) and header.get("Modality") != "SEG":
        return ""
    if uid == _DIRECTORY:
        return "index of a medium (DICOMDIR)"
    import pydicom  # whole: another thread may be at it, and who begins with a part of it sees the other's half

    name = _SEGMENTATIONS.get(uid) or (pydicom.uid.UID(uid).name if uid else "")
    modality = header.get("Modality")
    if not name or name == uid:
        return f"object without pixels of modality {modality}" if modality else "object without pixels"
    return name


def _walk(folder: Path) -> Iterator[Path]:
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)  # not its real path, which takes long to find in deep trees
        if (status.st_dev, status.st_ino) in seen:
            folders[:] = []
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent) / name for name in sorted(names) if not name.startswith("."))


def _directly(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_file(entry))
    return (folder / name for name in names if not name.startswith("."))


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def _signature(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:  # a link to nowhere; reading it gives the reason
        return (-1, -1)
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=4)
def _indexed(files: tuple[Path, ...], signature: tuple[tuple[int, int], ...], threads: int) -> DicomIndex:
    headers: dict[Path, Header] = {}
    slices: dict[Path, list[Slice]] = {}
    others: dict[Path, str] = {}
    unreadable: dict[Path, StudyError] = {}
    refused: dict[Path, str] = {}
    for file, result in zip(files, _in_threads(files, threads), strict=True):
        if isinstance(result, _Refusal):
            unreadable[file] = result.reason
            refused |= {file: result.patient} if result.patient else {}
        elif isinstance(result, str):
            others[file] = result
        elif result is not None:
            headers[file], slices[file] = result
    return DicomIndex(tuple(_series(headers, slices)), others, unreadable, refused)


@dataclass(frozen=True)
class _Refusal:
    reason: StudyError
    patient: str


_Found = tuple[Header, list[Slice]] | _Refusal | str | None


def _in_threads(files: Sequence[Path], threads: int) -> Iterator[_Found]:
    if len(files) < 2 or threads < 2:
        yield from map(_look, files)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="osler-dicom") as pool:
        yield from pool.map(_look, files, chunksize=16)


def _look(file: Path) -> _Found:
    """Header and slices of an image; the reason, the kind of object, or None for a file that is no DICOM."""
    if not is_dicom(file):
        return None
    header = None
    try:
        header = read_header(file)
        kind = kind_of_object(header)
        if kind and "Image Storage" in kind:
            raise Unreadable(f"{file} has no pixels, although it is a {kind}", remedy="export it again from its source")
        if kind:
            return kind
        with reading(file, "a DICOM file"):
            slices = slices_of(header)
        if slices and len(slices) != header.frames:
            raise GeometryError(
                f"{file} holds {header.frames} frames and a position for {len(slices)} of them, so they are no volume",
                remedy="repair the header at its source",
            )
    except StudyError as error:
        patient = "" if header is None else _patient_of(header)
        return _Refusal(error, _digest(patient) if patient else "")
    return header, slices


def _series(headers: dict[Path, Header], slices: dict[Path, list[Slice]]) -> Iterator[DicomSeries]:
    groups: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    for path, header in headers.items():
        groups[_series_key(header)].append(path)
    for key, paths in groups.items():
        parts, note = _by_folder(paths, slices)
        for part in parts:
            extra = (str(part[0].parent),) if len(parts) > 1 else ()
            yield _one_series((*key, *extra), part, headers, slices, note)


def _series_key(header: Header) -> tuple[str, ...]:
    patient = _patient_of(header)
    study, series = str(header.get("StudyInstanceUID", "")), str(header.get("SeriesInstanceUID", ""))
    if series:
        return patient, study, series
    rest = (header.get(name, "") for name in ("SeriesNumber", "Modality", "FrameOfReferenceUID"))
    return patient, study, "", str(header.path.parent), *map(str, rest)


def _patient_of(header: Header) -> str:
    return str(header.get("PatientID") or header.get("PatientName") or "")


def _by_folder(paths: Sequence[Path], slices: dict[Path, list[Slice]]) -> tuple[list[list[Path]], str]:
    """The files of a series, in parts by folder when two folders hold different objects at one place."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    if len(folders) == 1:
        return [list(paths)], ""
    holders: dict[tuple[object, ...], set[tuple[Path, str]]] = defaultdict(set)
    for path in paths:
        for one in slices[path]:
            where = (one.shape, *one.position.round(2).tolist(), *one.directions.ravel().round(3).tolist())
            holders[where].add((path.parent, one.uid))
    for several in holders.values():
        if len({folder for folder, _ in several}) > 1 and (
            len({uid for _, uid in several}) > 1 or any(not uid for _, uid in several)
        ):
            return list(folders.values()), f"{len(folders)} folders share its UIDs and are taken as series of their own"
    return [list(paths)], ""


def _one_series(
    key: tuple[str, ...], paths: Sequence[Path], headers: dict[Path, Header], slices: dict[Path, list[Slice]], note: str
) -> DicomSeries:
    first = headers[paths[0]]
    name = _digest(*key)
    placed = [one for path in paths for one in slices[path]]
    images = []
    notes = tuple(filter(None, (note, _uid_note(key, placed))))
    for stack in stacks_of(placed) if placed else []:
        own = {one.path for one in (*stack.slices, *(left for _, left in stack.copies))}
        found = {path: headers[path] for path in paths if path in own}
        suffix = f":{stack.label}" if stack.label else ""
        images.append(DicomImage(name + suffix, "stack", found, stack, (*notes, *stack.notes)))
    alone = [path for path in paths if not slices[path]]
    lost = _lost([path for path in alone if headers[path].get("SOPClassUID") in _SLICES])
    for number, path in enumerate(alone):
        kind: Kind = "picture" if headers[path].frames == 1 else "film"
        said = (*notes, lost) if lost and headers[path].get("SOPClassUID") in _SLICES else notes
        images.append(DicomImage(f"{name}:image{number + 1}", kind, {path: headers[path]}, None, said))
    if len(images) == 1:
        images = [replace(images[0], key=name)]
    number = first.get("SeriesNumber")
    return DicomSeries(
        name,
        _digest(key[0]),
        _digest(key[0], key[1]),
        str(first.get("Modality", "")),
        None if number is None else int(number),
        tuple(images),
        _problem(placed, alone, headers),
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:10]


def _uid_note(key: tuple[str, ...], placed: Sequence[Slice]) -> str:
    if not key[2]:
        return "its SeriesInstanceUID is empty: the files of one folder are taken as one series"
    seen: dict[tuple[str, int], Slice] = {}
    for one in placed:
        twin = seen.setdefault((one.uid, one.place), one)
        if one.uid and abs(twin.position - one.position).max() > 0:
            return "its SOPInstanceUIDs are not unique: slices are told apart by their places"
    return ""


def _lost(paths: Sequence[Path]) -> str:
    """What is lost of slices (objects of CT, MR and PET) that do not say where they lie."""
    if not paths:
        return ""
    what = "ImagePositionPatient or ImageOrientationPatient is missing"
    if len(paths) == 1:
        return f"{what}: the slice has no place in the patient and is a picture"
    return f"{what}: the {len(paths)} slices of the series cannot be put together and are pictures"


def _problem(placed: Sequence[Slice], alone: Sequence[Path], headers: dict[Path, Header]) -> str:
    """Files like the slices, but without a place, may be slices that a stack lacks."""
    if not placed:
        return ""
    kinds = {(headers[one.path].get("SOPClassUID"), one.shape) for one in placed}
    count = 0
    for path in alone:
        header = headers[path]
        count += (header.get("SOPClassUID"), (header.get("Rows"), header.get("Columns"))) in kinds
    if not count:
        return ""
    total = len({one.path for one in placed}) + len(alone)
    return f"it has {total} images and a position for {total - count}, so slices may be missing"
