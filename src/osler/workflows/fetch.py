"""Fetch a public data set: licence first, then the file, checked, unpacked, ready for ``osler inspect``."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.datasets.public import PUBLIC_SETS, PublicSet, find_public_set
from osler.datasets.public.download import download
from osler.datasets.public.unpack import unpack_tar
from osler.errors import OutputExists, StorageError
from osler.progress import CancelToken, Progress, Silent

__all__ = ["SOURCE_FILE", "FetchResult", "fetch", "list_public_sets"]

SOURCE_FILE = "SOURCE.json"
"""What a fetched folder says of itself: name, URL, MD5, licence, citation, date, and its files with their sizes."""
_WORK = ".osler-fetch"
_VERSION = 1


@dataclass(frozen=True)
class FetchResult:
    """Where a set lies now. ``already`` when it was there, whole, before."""

    chosen: PublicSet
    folder: Path
    files: Sequence[Path]
    already: bool

    def summary(self) -> list[str]:
        """Lines for a person."""
        verb = "was there already, whole" if self.already else "fetched and checked"
        lines = [f"{self.chosen.name}: {verb}: {len(self.files)} files in {self.folder}", f"  {self.chosen.terms}"]
        return [*lines, f"  cite: {self.chosen.cite}", f"  next: osler inspect {self.folder}"]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "name": self.chosen.name,
            "folder": self.folder,
            "files": len(self.files),
            "already": self.already,
            "url": self.chosen.url,
            "md5": self.chosen.md5,
            "licence": self.chosen.licence,
            "licence_url": self.chosen.licence_url,
            "cite": self.chosen.cite,
        }


def list_public_sets() -> tuple[list[str], list[dict[str, str]]]:
    """Every set: lines for a person, and rows for a machine."""
    lines: list[str] = []
    family = ""
    for one in PUBLIC_SETS:
        if one.family != family:
            family = one.family
            lines += ["", f"{family} ({one.cite})"] if lines else [f"{family} ({one.cite})"]
        lines.append(f"  {one.name:<22} {one.licence:<13} {one.about}")
    rows = [
        {"name": s.name, "family": s.family, "about": s.about, "licence": s.licence, "url": s.url, "md5": s.md5}
        for s in PUBLIC_SETS
    ]
    return lines, rows


def fetch(
    name: str | PublicSet,
    output: str | Path | None = None,
    *,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    pause_s: float = 2.0,
) -> FetchResult:
    """Fetch a public data set into a folder that ``open_dataset`` opens.

    A download that was stopped, or broke off, goes on where it was. A set that is there already is only checked.

    Args:
        name: of a set (``list_public_sets``), or a set of your own.
        output: the folder; ``data/<name>`` when None.
        progress: gets the licence in a line, then the stages "fetch" and "unpack", in MB.
        cancel: looked at between pieces; what was fetched stays.
        pause_s: seconds before a second try when the server breaks off.

    Raises:
        Unknown: when there is no such set.
        OutputExists: when the folder holds other files.
        DownloadError: when the server does not give the file, or it is not the published one.
        StorageError: when the disk is full or not writable.
        Cancelled: when asked to stop.
    """
    progress, cancel = progress or Silent(), cancel or CancelToken()
    chosen = name if isinstance(name, PublicSet) else find_public_set(name)
    folder = Path(output) if output is not None else Path("data") / chosen.name
    progress.say(f"{chosen.name} ({chosen.family}): {chosen.about}")
    progress.say(f"{chosen.terms}; cite {chosen.cite}")
    there = _there(chosen, folder)
    if there is not None:
        return FetchResult(chosen, folder, there, already=True)
    work = folder / _WORK
    _check_free(folder)
    spare = 2.05 if chosen.unpack else 1.0  # an archive and what comes out of it
    file = download(chosen, work, progress=progress, cancel=cancel, pause_s=pause_s, spare=spare)
    progress.finish("fetch")
    files = [file]
    if chosen.unpack:
        unpacked = work / "unpacked"
        unpack_tar(file, unpacked, progress=progress, cancel=cancel)
        files = sorted(unpacked.iterdir())
    return FetchResult(chosen, folder, _settle(chosen, folder, files), already=False)


def _settle(chosen: PublicSet, folder: Path, tops: Sequence[Path]) -> list[Path]:
    """Move what was fetched from the work folder to its place; ``SOURCE.json`` comes last: with it all is there."""
    try:
        for top in tops:
            target = folder / top.name
            if target.is_dir():
                shutil.rmtree(target)  # of an attempt that was stopped right here
            top.replace(target)
        placed = [folder / top.name for top in tops]
        files = sorted(p for top in placed for p in ([top] if top.is_file() else top.rglob("*")) if p.is_file())
        about = {
            "schema_version": _VERSION,
            "name": chosen.name,
            "url": chosen.url,
            "md5": chosen.md5,
            "licence": chosen.licence,
            "licence_url": chosen.licence_url,
            "cite": chosen.cite,
            "fetched": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "files": {file.relative_to(folder).as_posix(): file.stat().st_size for file in files},
        }
        part = folder / f".{SOURCE_FILE}.part"
        part.write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        part.replace(folder / SOURCE_FILE)
        shutil.rmtree(folder / _WORK)
    except OSError as error:
        raise StorageError(
            f"cannot write into {folder}: {error.strerror}", remedy="free space or give another --output"
        ) from error
    return files


def _there(chosen: PublicSet, folder: Path) -> list[Path] | None:
    """The files of the set, when the folder holds all of them with their sizes and, of one file, its MD5."""
    try:
        about = json.loads((folder / SOURCE_FILE).read_text("utf-8"))
        sizes: dict[str, int] = about["files"]
        whole = about["md5"] == chosen.md5 and all((folder / n).stat().st_size == size for n, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    files = [folder / name for name in sizes]
    return files if whole and (chosen.unpack or _md5(files[0]) == chosen.md5) else None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _check_free(folder: Path) -> None:
    """A folder that is new, empty, or begun by this command."""
    if not folder.exists() or (folder / _WORK).is_dir() or (folder / SOURCE_FILE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise OutputExists(f"{folder} exists already and holds something else", remedy="give another --output")
