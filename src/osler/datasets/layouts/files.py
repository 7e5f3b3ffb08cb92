"""Images on disk: which files and folders are one image each, what they are called, which are channels of one case."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from osler.datasets.manifest import ImageRef, Split
from osler.errors import DatasetError, StudyError

__all__ = [
    "LOSSY",
    "SPLIT_FOLDERS",
    "Case",
    "Item",
    "by_channels",
    "files_by_name",
    "find_images",
    "has_images",
    "image_suffix",
    "natural",
    "reference",
    "short_names",
    "split_folders",
    "subfolders",
    "visible",
]

_RASTERS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_VOLUMES = (".nii.gz", ".nii")
_DICOM = (".dcm", ".dicom", ".ima")
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


@dataclass(frozen=True)
class Item:
    """One image: a file, or a folder that holds one DICOM series.

    ``name`` is its path below the folder that was searched, without extension, with "/" between the parts.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Case:
    """One case: its images by channel name."""

    name: str
    images: dict[str, Path]


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


def image_suffix(name: str) -> str:
    """The extension of an image file in lower case (``.nii.gz`` counts as one), "" for any other file."""
    lower = name.lower()
    return next((suffix for suffix in _VOLUMES + _RASTERS + _DICOM if lower.endswith(suffix)), "")


def _is_dicom(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in _DICOM:
        return True
    if suffix and not suffix[1:].isdigit():  # names that are UIDs end in digits, exports of PACS often have no suffix
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


@cache
def _series_uid(path: Path) -> str:
    from osler.studies.formats._dicom_header import read_header

    try:
        header = read_header(path)
    except StudyError:
        return ""  # the reader will say what is wrong with it
    return str(header.get("SeriesInstanceUID", ""))


def _is_series(files: Sequence[Path]) -> bool:
    """Whether DICOM files of one folder are slices of one series rather than images of their own."""
    return len(files) > 1 and _series_uid(files[0]) == _series_uid(files[-1])


def _items_of(folder: Path, files: Sequence[Path]) -> list[Path]:
    images = [f for f in files if image_suffix(f.name) and not _is_dicom(f)]
    dicom = [f for f in files if _is_dicom(f)]
    return images + ([folder] if _is_series(dicom) else dicom)


def _walk(folder: Path) -> Iterable[tuple[Path, list[Path]]]:
    seen = set()
    for parent, folders, _ in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:  # links in circles have no end
            folders[:] = []
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [f for f in folders if not f.startswith((".", "__MACOSX"))]
        here = Path(parent)
        yield here, [p for p in visible(here) if p.is_file()]


def has_images(folder: Path) -> bool:
    """Whether there is an image anywhere in ``folder``; stops at the first."""
    return folder.is_dir() and any(image_suffix(f.name) or _is_dicom(f) for _, files in _walk(folder) for f in files)


def find_images(folder: Path) -> list[Item]:
    """Every image in ``folder`` and below, in natural order; a DICOM series is one image."""
    items = []
    for here, files in _walk(folder):
        for path in _items_of(here, files):
            relative = path.relative_to(folder).as_posix() if path != folder else folder.name
            items.append(Item(path, relative if path.is_dir() else _stem(relative)))
    return sorted(items, key=lambda item: natural(item.name))


def files_by_name(folder: Path) -> dict[str, list[Path]]:
    """Every image file in ``folder`` and below, by its name."""
    found: dict[str, list[Path]] = defaultdict(list)
    for _, files in _walk(folder):
        for file in files:
            if image_suffix(file.name):
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
    groups: dict[str, dict[str, Path]] = defaultdict(dict)
    for item, match in zip(items, parts, strict=True):
        if match:
            groups[match[1]][match[2]] = item.path
    numbers = {tuple(sorted(group)) for group in groups.values()}
    expected = tuple(f"{n:04d}" for n in range(len(next(iter(numbers))))) if len(numbers) == 1 else None
    if not all(parts) or len(groups) < _FEWEST_CASES or numbers != {expected} or len(expected or ()) > _MOST_CHANNELS:
        return [Case(item.name, {"image": item.path}) for item in items]
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


def reference(path: Path, root: Path) -> ImageRef:
    """A reference to ``path``, relative to ``root`` where it lies below it."""
    return ImageRef(path=path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path.absolute()))
