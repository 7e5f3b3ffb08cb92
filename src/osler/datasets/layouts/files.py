"""Images on disk: which files and folders are one image each, what they are called, which are channels of one case.

What is an image is for ``studies.files`` to say, so that every layout takes every format that is read.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from osler.datasets.manifest import ImageRef, Split
from osler.errors import DatasetError
from osler.studies.files import DicomPlace, dicom_places, image_suffix, kind_of_file, walk
from osler.studies.formats import label_format
from osler.studies.formats.dicom_index import DicomIndex, index_files, is_identifier

__all__ = [
    "LOSSY",
    "SPLIT_FOLDERS",
    "Case",
    "Item",
    "by_channels",
    "check_text",
    "files_by_name",
    "find_images",
    "has_images",
    "image_suffix",
    "is_series_folder",
    "natural",
    "patients_of",
    "pseudonymous",
    "read_text",
    "reference",
    "short_names",
    "split_folders",
    "subfolders",
    "visible",
]

LOSSY = (".jpg", ".jpeg")
SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
_CHANNEL = re.compile(r"^(.+)_(\d{4})$")
_MOST_CHANNELS = 8
_FEWEST_CASES = 5
_LONGEST_TEXT = 64 << 20


@dataclass(frozen=True)
class Item:
    """One image: a file, or a folder that holds one DICOM series.

    Args:
        path: of the file or folder.
        name: its path below the folder that was searched, without extension, with "/" between the parts.
        key: which image of it, where the path holds several (DICOM).
        patient: a digest of the PatientID of a DICOM image; "" when nothing says who it is.
    """

    path: Path
    name: str
    key: str | None = None
    patient: str = ""


@dataclass(frozen=True)
class Case:
    """One case: its images by channel name."""

    name: str
    images: dict[str, Item]

    @property
    def patient(self) -> str:
        """Whose images these are, when they say so and agree; else ""."""
        patients = {item.patient for item in self.images.values()}
        return patients.pop() if len(patients) == 1 else ""


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """A sort key by which "img2" comes before "img10"."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part)


def visible(folder: Path) -> list[Path]:
    """What lies in ``folder`` in natural order, without hidden files and what operating systems leave behind."""
    found = (p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX")) and p.name not in _LITTER)
    return sorted(found, key=lambda p: natural(p.name))


_LITTER = {"Thumbs.db", "desktop.ini"}


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in ``folder``, in natural order."""
    return [p for p in visible(folder) if p.is_dir()] if folder.is_dir() else []


def is_series_folder(folder: Path) -> bool:
    """Whether a folder directly holds the slices of one DICOM series and nothing else that is an image.

    Quick: only the first and the last header are read.
    """
    files = [p for p in visible(folder) if kind_of_file(p)]
    if len(files) < 2 or any(kind_of_file(p) != "dicom" for p in files) or any(map(has_images, subfolders(folder))):
        return False
    ends = index_files((files[0], files[-1]))
    return len(ends.series) == 1 and all(image.kind == "stack" for image in ends.images)


def _walk(folder: Path) -> Iterable[tuple[Path, list[Path]]]:
    return ((here, [file for file in files if file.name not in _LITTER]) for here, files in walk(folder))


def has_images(folder: Path) -> bool:
    """Whether there is an image (or a DICOM file) anywhere in ``folder``; stops at the first."""
    return folder.is_dir() and any(kind_of_file(f) in ("image", "dicom") for _, files in _walk(folder) for f in files)


def find_images(folder: Path, *, masks: bool = False) -> list[Item]:
    """Every image in ``folder`` and below, in natural order; a DICOM series is one image.

    Args:
        folder: where to look.
        masks: whether these are masks, so that DICOM SEG and RTSTRUCT count too.
    """
    items, dicom = [], []
    for _, files in _walk(folder):
        for file in files:
            kind = kind_of_file(file)
            if kind == "image":
                items.append(Item(file, _stem(_below(file, folder))))
            elif kind == "dicom":
                dicom.append(file)
    return sorted([*items, *_dicom_items(dicom, folder, masks=masks)], key=lambda item: natural(item.name))


def _dicom_items(files: Sequence[Path], root: Path, *, masks: bool) -> Iterable[Item]:
    for index in _indexes(files):
        for places in dicom_places(index).values():
            yield from (_item_of(place, root) for place in places)
        for file in index.others:
            if masks and label_format(file) is not None:
                yield Item(file, _stem(_below(file, root)))


def _indexes(files: Sequence[Path]) -> Iterable[DicomIndex]:
    """Of all files together, as a series may lie in several folders; a folder with copies of another one's by itself,
    so that copies are cases, which inspection finds, and are not dropped without a word."""
    whole = index_files(files) if files else None
    if whole is None:
        return
    stacks = [image.stack for image in whole.images if image.stack is not None]
    copies = {left.path.parent for one in stacks for kept, left in one.copies if left.path.parent != kept.path.parent}
    yield index_files([file for file in files if file.parent not in copies]) if copies else whole
    for folder in sorted(copies):
        yield index_files([file for file in files if file.parent == folder])


def _item_of(place: DicomPlace, root: Path) -> Item:
    path, key = place.path, place.key
    if path == root and place.file is not None:  # alone in the folder that was searched: no name of its own
        path, key = place.file, None
    if path.is_dir():
        above = _below(path.parent, root) if path != root else "."
        name = place.name if above == "." else f"{above}/{place.name}"
    else:
        name = f"{_stem(_below(path, root))}{f'-{key}' if key else ''}"
    return Item(path, name, key, place.patient)


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def files_by_name(folder: Path) -> dict[str, list[Path]]:
    """Every image file in ``folder`` and below, by its name."""
    found: dict[str, list[Path]] = defaultdict(list)
    for _, files in _walk(folder):
        for file in files:
            if kind_of_file(file) in ("image", "dicom"):
                found[file.name].append(file)
    return found


def _stem(name: str) -> str:
    suffix = image_suffix(name)
    return name[: -len(suffix)] if suffix else name


def split_folders(folder: Path) -> dict[Path, Split] | None:
    """The folders of given splits when ``folder`` holds those and nothing else that has images; None otherwise."""
    folders = subfolders(folder)
    if not any(f.name.lower() in SPLIT_FOLDERS for f in folders):
        return None
    if any(f.name.lower() not in SPLIT_FOLDERS and has_images(f) for f in folders):
        return None
    found = {f: SPLIT_FOLDERS[f.name.lower()] for f in folders if f.name.lower() in SPLIT_FOLDERS}
    return found if "train" in found.values() else None


def by_channels(items: Sequence[Item]) -> list[Case]:
    """Group ``name_0000``, ``name_0001`` into one case with channels "0000", "0001"; other names stay one case each.

    Names are taken for channels only when every name ends so, every case has the same numbers, these count up from
    0000, are eight at most, and there are five cases or more: anything else is a numbering of images.
    """
    parts = [_CHANNEL.match(item.name) for item in items]
    groups: dict[str, dict[str, Item]] = defaultdict(dict)
    for item, match in zip(items, parts, strict=True):
        if match:
            groups[match[1]][match[2]] = item
    numbers = {tuple(sorted(group)) for group in groups.values()}
    expected = tuple(f"{n:04d}" for n in range(len(next(iter(numbers))))) if len(numbers) == 1 else None
    if not all(parts) or len(groups) < _FEWEST_CASES or numbers != {expected} or len(expected or ()) > _MOST_CHANNELS:
        return [Case(item.name, {"image": item}) for item in items]
    if expected == ("0000",):
        return [Case(name, {"image": group["0000"]}) for name, group in groups.items()]
    return [Case(name, dict(sorted(group.items()))) for name, group in groups.items()]


def short_names(names: Sequence[str]) -> list[str]:
    """A name per case, safe as a file name: path parts joined by "-".

    Raises:
        DatasetError: when two cases have one name (``a.png`` beside ``a.jpg``).
    """
    joined = [re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "case" for name in names]
    twice = [name for name, count in Counter(joined).items() if count > 1]
    if twice:
        raise DatasetError(
            f"two cases are both called {twice[0]!r}", remedy="rename one of them, or remove it if it is a copy"
        )
    return joined


def reference(path: Path | Item, root: Path) -> ImageRef:
    """A reference to a file or an image, relative to ``root`` where it lies below it."""
    key = path.key if isinstance(path, Item) else None
    path = path.path if isinstance(path, Item) else path
    below = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path.absolute())
    return ImageRef(path=below, key=key)


def patients_of(cases: Sequence[Case]) -> list[str | None]:
    """A patient per case, None where no header names one."""
    return [case.patient or None for case in cases]


def pseudonymous(name: str, path: Path, patient: str) -> str:
    """A case's name in which a folder that is called as its patient is called by the digest.

    Args:
        name: made of folders' names.
        path: of the case's image.
        patient: its digest; "" when unknown.
    """
    for part in path.parts if patient else ():
        if is_identifier(part, patient):
            name = re.sub(rf"(?<![^-/]){re.escape(part)}(?![^-/])", patient, name)
    return name


def check_text(path: Path) -> None:
    """Before a list or an annotation is read.

    Raises:
        DatasetError: when it is no file (a pipe would be waited for without end) or has more than 64 MiB.
    """
    if not path.is_file():
        raise DatasetError(f"{path.name} is no file", remedy="replace it by a text file")
    if path.stat().st_size > _LONGEST_TEXT:
        raise DatasetError(f"{path.name} has more than {_LONGEST_TEXT >> 20} MiB", remedy="check what it holds")


def read_text(path: Path) -> str:
    """A list in UTF-8, whole.

    Raises:
        DatasetError: as ``check_text``, and when it cannot be read as text.
    """
    check_text(path)
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read: {error}", remedy="save it as UTF-8 text") from error
