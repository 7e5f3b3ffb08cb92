"""Fetch one file so that nothing is lost: a stopped download goes on where it was, and the MD5 decides in the end.

pooch checks the hash and puts the file into place; it cannot resume, so the transfer is ours: the part stays beside
the target, the rest is asked for by ``Range``, with ``If-Range`` so that a file that changed meanwhile begins anew.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from osler.datasets.public.base import PublicSet
from osler.errors import DownloadError, StorageError
from osler.progress import CancelToken, Progress

if TYPE_CHECKING:
    from requests import Response

__all__ = ["Transfer", "download"]

_CHUNK = 1 << 16  # what a connection that breaks off can lose: a piece is written when it is whole
_MB = 1e6
_TIMEOUT_S = (20.0, 60.0)  # to connect; between two pieces
_TRIES = 5
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


def download(
    chosen: PublicSet,
    folder: Path,
    *,
    progress: Progress,
    cancel: CancelToken,
    pause_s: float = 2.0,
    spare: float = 1.0,
) -> Path:
    """Fetch the file of a set into ``folder``.

    Args:
        chosen: which.
        folder: made when missing; the part stays here when this is stopped.
        progress: gets the stage "fetch", in MB, and a line for the server that is asked and for each further try.
        cancel: looked at between pieces.
        pause_s: seconds before the second try; each further one waits twice as long.
        spare: how many times the file's size must be free on the disk.

    Returns:
        The file, whose MD5 is right.

    Raises:
        DownloadError: when the server refuses or breaks off again and again (the part stays), or the MD5 is wrong
            (the part goes).
        StorageError: when the disk is full (the part stays).
        Cancelled: the part stays.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")  # what it would say, the progress says
    transfer = Transfer(folder / f"{chosen.file}.part", progress, cancel, pause_s, spare)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = pooch.retrieve(
            chosen.url, known_hash=f"md5:{chosen.md5}", fname=chosen.file, path=folder, downloader=transfer
        )
    except ValueError as error:  # pooch's word for a wrong hash
        transfer.forget()
        raise DownloadError(
            f"{chosen.file} is not the file that was published (its MD5 is not {chosen.md5}), so it was removed",
            remedy="run the command again; if it happens again, a proxy or the server changes the file",
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot write into {folder}: {error.strerror}",
            remedy="free space or give another --output; what was fetched stays, and the same command goes on",
        ) from error
    transfer.forget()
    return Path(found)


class Transfer:
    """pooch's downloader: called with a URL and the file to fill.

    Args:
        part: where what was fetched so far lies; ``<part>.json`` beside it says of which version of which URL.
        progress, cancel, pause_s, spare: as ``download``.
    """

    def __init__(self, part: Path, progress: Progress, cancel: CancelToken, pause_s: float, spare: float) -> None:
        self.part = part
        self._note = part.with_name(f"{part.name}.json")
        self._progress = progress
        self._cancel = cancel
        self._pause_s = pause_s
        self._spare = spare
        self._begun = False

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        """Fetch ``url`` and put it at ``output_file``."""
        self._fetch(url)
        target = Path(output_file)
        target.unlink(missing_ok=True)
        try:
            os.link(self.part, target)  # a kill while the hash is checked then loses nothing
        except OSError:
            self.part.replace(target)

    def forget(self) -> None:
        """Remove the part."""
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _fetch(self, url: str) -> None:
        from requests import RequestException

        failures = 0
        server = urlsplit(url).netloc
        self._progress.say(f"asking {server} for {self.part.name.removesuffix('.part')}")
        while True:
            before = self._size()
            try:
                if self._once(url):
                    return
                reason = "the connection ended early"
            except RequestException as error:
                reason = _reason(error)
            failures = 0 if self._size() > before else failures + 1
            if failures >= _TRIES:
                raise DownloadError(
                    f"{url} cannot be fetched after {_TRIES} tries: {reason}",
                    remedy="check the network (and HTTPS_PROXY behind a proxy); the same command goes on where it was",
                )
            pause = self._pause_s * 2**failures
            attempt = f"try {failures + 1} of {_TRIES}" if failures else "going on from there"
            self._progress.say(f"{server}: {reason}; asked again in {pause:.0f} s ({attempt})")
            self._wait(pause)

    def _once(self, url: str) -> bool:
        """One request; True when the file is complete."""
        import requests

        headers = {"Accept-Encoding": "identity", **self._range(url)}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            if response.status_code == 416:  # nothing is left to send, or the part is longer than the file
                return self._beyond(response)
            if response.status_code in _BUSY:
                raise requests.ConnectionError(f"the server answers {response.status_code} {response.reason}")
            if response.status_code not in (200, 206):
                raise DownloadError(
                    f"{url}: the server answers {response.status_code} {response.reason}",
                    remedy="the file may have moved: see osler fetch --list, or fetch it by hand",
                )
            offset = self._offset(response)
            total = None if _length(response) is None else offset + (_length(response) or 0)
            self._check_space(total, offset)
            self._remember(url, response)
            self._show(total, offset)
            self._store(response, offset)
            return total is None or self._size() == total

    def _range(self, url: str) -> dict[str, str]:
        """Headers that ask for the rest, when there is a part of this URL."""
        size = self._size()
        note = self._noted()
        if not size or note.get("url") != url:
            return {}
        validator = {"If-Range": note["validator"]} if note.get("validator") else {}
        return {"Range": f"bytes={size}-", **validator}

    def _offset(self, response: Response) -> int:
        """Where the answer begins in the file; it is the whole file unless it says otherwise."""
        if response.status_code != 206:
            return 0
        begin = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        if not begin.isdigit() or int(begin) > self._size():
            self.forget()
            raise DownloadError(
                f"{response.url}: the server sends another range than it was asked for", remedy="run the command again"
            )
        return int(begin)

    def _beyond(self, response: Response) -> bool:
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if total.isdigit() and int(total) == self._size():
            return True
        self.forget()
        return False

    def _store(self, response: Response, offset: int) -> None:
        with self.part.open("r+b" if self.part.exists() else "wb") as file:
            file.truncate(offset)
            file.seek(offset)
            for piece in response.iter_content(_CHUNK):
                file.write(piece)
                self._progress.advance("fetch", len(piece) / _MB)
                self._cancel.raise_if_cancelled()

    def _check_space(self, total: int | None, offset: int) -> None:
        if total is None:
            return
        needed = total * self._spare - offset
        free = shutil.disk_usage(self.part.parent).free
        if needed > free:
            raise StorageError(
                f"{self.part.parent} has {free / _MB:,.0f} MB free, and {needed / _MB:,.0f} MB are needed",
                remedy="free space or give another --output",
            )

    def _show(self, total: int | None, offset: int) -> None:
        if self._begun:
            return
        if offset:
            of = f" of {total / _MB:,.0f}" if total else ""
            self._progress.say(f"going on at {offset / _MB:,.0f}{of} MB")
        self._progress.start("fetch", None if total is None else (total - offset) / _MB, "MB")
        self._begun = True

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._cancel.raise_if_cancelled()
            time.sleep(min(0.1, seconds))

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _noted(self) -> dict[str, str]:
        try:
            content = json.loads(self._note.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _remember(self, url: str, response: Response) -> None:
        note = {"url": url, "validator": _validator(response.headers)}
        self._note.write_text(json.dumps(note), "utf-8")


def _length(response: Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _validator(headers: Mapping[str, str]) -> str:
    """A strong ETag, else the time of change: what ``If-Range`` may hold (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _reason(error: Exception) -> str:
    """The innermost cause, short."""
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return " ".join(str(inner).split())[:160].rstrip(".") or type(inner).__name__
