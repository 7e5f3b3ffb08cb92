"""The one error tree of Osler.

OslerError
├── UsageError            what was asked for cannot be done as asked (exit 2)
│   ├── PathNotFound
│   ├── OutputExists
│   ├── MissingExtra      an optional library is not installed
│   └── Unknown           a name that is on no list
├── StudyError            one study cannot be used; others can go on (exit 1)
│   ├── Unreadable
│   ├── GeometryError
│   └── Unsuitable        readable, but not what the model or task needs
│       └── NoneChosen    a file of several images, none of which was named
├── DatasetError          the dataset as a whole cannot be used
│   ├── UnknownLayout
│   ├── NoLabels
│   ├── TooFew            classes, patients or cases
│   └── GridMismatch      image and mask lie on different grids
├── PlanError
├── ModelError            a model folder that is damaged, newer, or for another task
├── DownloadError         a file that a server does not give, or that is not the published one
├── StorageError          the disk is full or fails
│   └── NotWritable       a place that cannot be written at all (exit 2)
└── Cancelled             the user asked to stop
"""

from __future__ import annotations

import errno
from pathlib import Path

__all__ = [
    "Cancelled",
    "DatasetError",
    "DownloadError",
    "GeometryError",
    "GridMismatch",
    "MissingExtra",
    "ModelError",
    "NoLabels",
    "NoneChosen",
    "NotWritable",
    "OslerError",
    "OutputExists",
    "PathNotFound",
    "PlanError",
    "StorageError",
    "StudyError",
    "TooFew",
    "Unknown",
    "UnknownLayout",
    "Unreadable",
    "Unsuitable",
    "UsageError",
]


_LONGEST, _TAIL = 10_000, 500  # characters


class OslerError(Exception):
    """Something that a user can act on.

    Args:
        problem: which argument or file, the rule, and the value received; one sentence without a full stop.
        remedy: what to do about it; one sentence without a full stop.
    """

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem = problem = _bounded(problem)
        self.remedy = remedy
        super().__init__(f"{problem}. {remedy}." if remedy else f"{problem}.")

    def __reduce__(self) -> tuple[object, ...]:  # keeps the remedy when an error crosses a process
        return (_rebuild, (type(self), self.problem, self.remedy))


def _bounded(text: str) -> str:
    """Without its middle when it is longer than any path: what a damaged file says is quoted, and may be megabytes."""
    left_out = len(text) - _LONGEST
    if left_out <= 0:
        return text
    return f"{text[: _LONGEST - _TAIL]} [{left_out:,} characters] {text[-_TAIL:]}"


def _rebuild(kind: type[OslerError], problem: str, remedy: str) -> OslerError:
    return kind(problem, remedy=remedy)


class UsageError(OslerError):
    """What was asked for cannot be done as asked."""


class PathNotFound(UsageError):
    """A path that does not exist."""


class OutputExists(UsageError):
    """An output that would be overwritten."""


class MissingExtra(UsageError):
    """An optional library that is not installed; the remedy is the install command."""


class Unknown(UsageError):
    """A name that is on no list; the remedy lists the names."""


class StudyError(OslerError):
    """One study cannot be used; the others can go on."""


class Unreadable(StudyError):
    """A file that is truncated, damaged or of no known format."""


class GeometryError(StudyError):
    """Geometry that is missing, inconsistent or ambiguous."""


class Unsuitable(StudyError):
    """A readable study that is not what the model or the task needs."""


class NoneChosen(Unsuitable):
    """A file of several images (pages, frames, levels), of which none was named."""


class DatasetError(OslerError):
    """The dataset as a whole cannot be used."""


class UnknownLayout(DatasetError):
    """A folder whose layout is not recognised."""


class NoLabels(DatasetError):
    """A dataset without answers to learn from."""


class TooFew(DatasetError):
    """Too few classes, patients or cases for what was asked."""


class GridMismatch(DatasetError):
    """An image and its mask lie on different grids."""


class PlanError(OslerError):
    """A plan that cannot be made or an override that does not fit."""


class ModelError(OslerError):
    """A model folder that is damaged, newer than this Osler, or for another task."""


class DownloadError(OslerError):
    """A file that a server does not give, or that is not the published one."""


class StorageError(OslerError):
    """The disk is full or fails, or the place is not writable."""

    @classmethod
    def of(cls, error: OSError, path: str | Path) -> StorageError:
        """What the system said about writing ``path``, in words."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageError(
                f"the disk is full at {path}", remedy="free some space or give another --output, and run it again"
            )
        reason = _REASONS.get(error.errno or 0)
        if reason is None:
            return StorageError(
                f"cannot write {path}: {error.strerror}", remedy="check the disk, or give another place"
            )
        return NotWritable(f"cannot write {path}: {reason}", remedy="give another --output, or change what is there")


class NotWritable(StorageError):
    """A place that cannot be written at all: no permission, a read-only or virtual file system, a file in the way."""


_REASONS = {
    errno.EACCES: "there is no permission to write there",
    errno.EPERM: "there is no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOENT: "no file or folder can be made there",  # what virtual file systems such as /proc answer
    errno.ENOTDIR: "a part of this path is a file",
    errno.EEXIST: "there is a file of this name",
    errno.EISDIR: "there is a folder of this name",
    errno.ENAMETOOLONG: "the name is too long",
}


class Cancelled(OslerError):
    """The user asked to stop."""
