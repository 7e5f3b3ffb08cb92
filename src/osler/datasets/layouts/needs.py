"""``Seen`` and ``Need``: what lies at a path, and what a layout asks of it, so that the nearest one can be named."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from osler.datasets.layouts.files import image_suffix, natural
from osler.studies.files import kind_of_file
from osler.studies.formats import dicom

__all__ = ["DICOM", "Need", "Seen", "look"]

DICOM = "DICOM without suffix"
"""What stands for a suffix of such files."""
_MOST_FILES = 20_000
_MOST_FOLDERS = 8


@dataclass(frozen=True)
class Seen:
    """What lies in a folder and below.

    Args:
        files: how many files of each suffix (lower case; "" for those without).
        folders: per folder (its path below the one that was looked at, "." for itself) the suffixes in it and the
            first file's name.
        names: the names of all files and folders, in lower case.
        more: whether there was more than was looked at.
    """

    files: Mapping[str, int]
    folders: Mapping[str, tuple[Mapping[str, int], str]]
    names: frozenset[str]
    more: bool = False

    @property
    def images(self) -> int:
        """How many image files there are."""
        return sum(count for suffix, count in self.files.items() if suffix == DICOM or image_suffix(f"x{suffix}"))

    def has(self, *suffixes: str) -> bool:
        """Whether there is a file with one of the suffixes."""
        return any(self.files.get(suffix) for suffix in suffixes)

    @property
    def dicom(self) -> bool:
        """Whether there are DICOM files, with a suffix or without."""
        return self.has(DICOM, *dicom.SUFFIXES)

    def named(self, *names: str) -> bool:
        """Whether a file or folder has one of the names (in lower case)."""
        return not self.names.isdisjoint(names)

    def __str__(self) -> str:
        """Counts by suffix per folder, with one file's name: "annotations: 289 .xml (a.xml ...); images: ..."."""
        parts = []
        for name, (counts, example) in list(self.folders.items())[:_MOST_FOLDERS]:
            listed = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in _most(counts))
            parts.append((f"{name}: " if name != "." else "") + listed + (f" ({example} ...)" if name != "." else ""))
        hidden = len(self.folders) - _MOST_FOLDERS
        return "; ".join(parts) + (f"; and {hidden} folders more" if hidden > 0 else "")


@dataclass(frozen=True)
class Need:
    """One thing that a layout asks for: in words that finish "it lacks", and whether it is there."""

    what: str
    met: Callable[[Seen], bool]


def look(path: Path) -> Seen:
    """Count what lies in ``path`` (a folder) and below; stops after 20,000 files."""
    files: Counter[str] = Counter()
    folders: dict[str, tuple[Mapping[str, int], str]] = {}
    names: set[str] = set()
    for parent, below, here in os.walk(path):
        below[:] = sorted((f for f in below if not f.startswith((".", "__MACOSX"))), key=natural)
        shown = sorted((f for f in here if not f.startswith(".")), key=natural)
        counts = Counter(_suffix(name) for name in shown)
        bare = next((name for name in shown if not _suffix(name)), None)
        if bare is not None and kind_of_file(Path(parent) / bare) == "dicom":  # the others are taken for the same
            counts[DICOM] += counts.pop("")
        files += counts
        names |= {name.lower() for name in (*shown, *below)}
        if counts:
            folders[os.path.relpath(parent, path)] = (counts, shown[0])
        if files.total() > _MOST_FILES:
            return Seen(files, folders, frozenset(names), more=True)
    return Seen(files, folders, frozenset(names))


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return Counter(counts).most_common(3)


def _suffix(name: str) -> str:
    suffix = image_suffix(name) or Path(name).suffix.lower()
    return "" if suffix[1:].isdigit() else suffix  # the end of a UID is no suffix
