"""Unpack an archive that came from outside: only plain files, only below the folder, in one step."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from osler.errors import DownloadError, StorageError
from osler.progress import CancelToken, Progress

__all__ = ["unpack_tar"]

_CHUNK = 1 << 20
_MB = 1e6


def unpack_tar(archive: Path, folder: Path, *, progress: Progress, cancel: CancelToken) -> list[Path]:
    """Unpack the regular files of a ``.tar``, without the one folder that they all lie in and without hidden files.

    Args:
        archive: stays.
        folder: made anew: what was there from a stopped attempt goes.
        progress: gets the stage "unpack", in MB.
        cancel: looked at between pieces.

    Returns:
        The files, in the order of the archive.

    Raises:
        DownloadError: when the archive is damaged or names a place outside of it.
        StorageError: when the disk is full.
        Cancelled: when asked to stop.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            members = [(member, _parts(member.name)) for member in tar if member.isfile()]
            members = [(member, parts) for member, parts in members if not any(p.startswith(".") for p in parts)]
            shared = {parts[0] for _, parts in members}
            drop = 1 if len(shared) == 1 and all(len(parts) > 1 for _, parts in members) else 0
            progress.start("unpack", sum(member.size for member, _ in members) / _MB, "MB")
            files = []
            for member, parts in members:
                target = folder.joinpath(*parts[drop:])
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(tar, member, target, progress, cancel)
                files.append(target)
            progress.finish("unpack")
            return files
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DownloadError(f"{archive.name} cannot be unpacked: {error}", remedy="run the command again") from error
    except OSError as error:
        raise StorageError(
            f"cannot write into {folder.parent}: {error.strerror}", remedy="free space or give another --output"
        ) from error


def _parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    parts = tuple(part for part in path.parts if part != ".")
    if path.is_absolute() or ".." in parts or not parts:
        raise DownloadError(f"the archive names {name!r}, which lies outside of it", remedy="do not trust this file")
    return parts


def _copy(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, progress: Progress, cancel: CancelToken) -> None:
    with target.open("wb") as out:
        for piece in _pieces(tar, member):
            out.write(piece)
            progress.advance("unpack", len(piece) / _MB)
            cancel.raise_if_cancelled()


def _pieces(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = tar.extractfile(member)
    while stream is not None and (piece := stream.read(_CHUNK)):
        yield piece
