"""Compiled graphs on disk, so that the next process need not compile them again.

CACHE/graphs/<key>.blob    what the engine exported, then its SHA-256

A file is written beside its place and moved there, so one that is there was written to its end. What was damaged since,
or belongs to somebody else, is not used: the graph is compiled as if there were none. The key holds all that the
compiled graph depends on, so nothing has to be invalidated; the files that were not used for longest go first.

What is fetched lies in the system's file cache and is not copied: the first touch of 57 MB of new memory took 0.1 s.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from osler.cache import cache_folder
from osler.studies.geometry import Array

__all__ = ["digest_of", "discard", "fetch", "keep", "key_of"]

_SUFFIX = ".blob"
_DIGEST_BYTES = 32
_MOST_BYTES = 1 << 30
_FOREIGN = 0o022  # written by others than its owner


def digest_of(*files: Path) -> str:
    """SHA-256 of files, one after the other; one that is not there counts as empty."""
    digest = hashlib.sha256()
    for path in files:
        with suppress(FileNotFoundError), path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        digest.update(b"\0")
    return digest.hexdigest()


def key_of(facts: Mapping[str, object]) -> str:
    """The name of a compiled graph, from everything that it depends on."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def fetch(key: str) -> Array | None:
    """What was kept under ``key``, (n,) uint8; None when there is nothing, or nothing that is whole and the user's own.

    It is the file itself, mapped; what is written to it stays with this process.
    """
    path = _place(key)
    if path is None:
        return None
    try:
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            if facts.st_uid != os.geteuid() or facts.st_mode & _FOREIGN:
                return None
            content = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))
    except (OSError, ValueError):  # none, an empty one, or a cache that cannot be read: the graph is compiled
        return None
    blob, expected = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(blob).digest() != expected:
        discard(key)
        return None
    with suppress(OSError):
        os.utime(path)  # the files used last stay longest
    return np.frombuffer(blob, np.uint8)


def keep(key: str, blob: bytes) -> None:
    """Keep what the engine exported; a place that cannot be written costs the next process a moment and nothing else.

    Args:
        key: from ``key_of``.
        blob: as the engine takes it back.
    """
    path = _place(key)
    if path is None or len(blob) > _MOST_BYTES // 2:
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
            stream.write(blob)
            stream.write(hashlib.sha256(blob).digest())
        part.replace(path)
        _make_room(path.parent)
    except OSError:
        with suppress(OSError):
            part.unlink()


def discard(key: str) -> None:
    """Forget what was kept under ``key``."""
    path = _place(key)
    if path is not None:
        with suppress(OSError):
            path.unlink()


def _place(key: str) -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "graphs" / f"{key}{_SUFFIX}"


def _make_room(folder: Path) -> None:
    """Take away the files that were not used for longest, and what a killed process left, until the rest fits."""
    found = []
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # another process makes room too
            facts = path.stat()
            found.append((facts.st_mtime, facts.st_size, path))
    room = _MOST_BYTES
    for _, size, path in sorted(found, reverse=True):
        room -= size
        if room < 0:
            path.unlink(missing_ok=True)
