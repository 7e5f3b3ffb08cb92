"""Films: GIF, and MP4, MOV and AVI with the extra ``clips``.

MP4 is decoded by OpenCV, whose wheels carry an LGPL build of FFmpeg; those of PyAV, decord2 and imageio-ffmpeg carry
x264 and x265, which are GPL.

Rules:
- A frame is a picture, ``(C, I, J)``, upright. Frames whose channels differ by at most 3 levels are grey; when one of
  those that are read is in colour, all are.
- ``index`` takes a frame, ``read_frames`` a range of them with their times. Frames are counted by decoding: seeking in
  a compressed film is not exact.
- A film that ends more than two frames before its announced end is refused. Films carry no checksums: a flipped bit can
  go unnoticed.
- A film is never a mask.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import NoneChosen, Unreadable, Unsuitable
from osler.extras import require
from osler.studies.formats import _bytes, _tiff
from osler.studies.formats._volumes import chosen_frame, frame_range
from osler.studies.formats.base import has_suffix, peek, reading
from osler.studies.frames import Frames
from osler.studies.geometry import Array
from osler.studies.image import Image, Source

__all__ = ["NAME", "SUFFIXES", "count_frames", "read", "read_frames", "read_labels", "sniff"]

NAME: str = "clip"
SUFFIXES: tuple[str, ...] = (".gif", ".mp4", ".m4v", ".mov", ".avi")
_MOST_BYTES = 2 * 2**30
_TINT = 3  # levels; compressed grey comes back with its channels up to so much apart, green the nearest to it
_MOST_BOXES = 100_000  # a streamed film has one for each second or so
_COPIES = 13  # bytes for a pixel of a GIF's frame while it is decoded: its index, and three times its colour
_END = 2**16  # bytes: some programs fill files up with zeros
_LOST = 2  # frames that an edit list may hide at the end


def sniff(path: Path) -> bool:
    """Whether the name ends in a film's suffix."""
    return has_suffix(path, SUFFIXES)


def count_frames(path: str | Path) -> int:
    """How many frames the file announces.

    Raises:
        Unreadable: when it is no film.
        MissingExtra: for MP4 without the extra.
    """
    path = Path(path)
    with reading(path, "a film"):
        if _is_gif(path):
            with _open_gif(path) as file:
                return int(file.n_frames)
        with _open_film(path) as (_, count):
            return count


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read frame ``index`` as (C, I, J).

    Raises:
        Unreadable: damaged, cut off, or no film.
        NoneChosen: when it has several frames and none was chosen.
        UsageError: when there is no such frame.
        MissingExtra: for MP4 without the extra.
    """
    count = count_frames(path)
    if index is None and count > 1:
        raise NoneChosen(
            f"{path} is a film of {count} frames",
            remedy=f"choose one with index=0 to {count - 1}, or read them with read_frames",
        )
    place = chosen_frame(path, count, index or 0)
    return read_frames(path, start=place, stop=place + 1).images[0]


def read_frames(path: Path, *, start: int = 0, stop: int | None = None, step: int = 1) -> Frames:
    """Read a range of frames, with the second at which each is shown.

    Raises:
        Unreadable, UsageError, MissingExtra: as ``read``.
        Unsuitable: when the frames together need more than 2 GiB.
    """
    with reading(path, "a film"):
        count = count_frames(path)
        places = frame_range(path, count, start, stop, step)
        decode = _gif_frames if _is_gif(path) else _film_frames
        pictures: list[Array] = []
        times: list[float] = []
        for rows, time in decode(path, places):
            if pictures and rows.shape != pictures[0].shape:
                raise Unreadable(f"{path} changes its size from frame to frame", remedy="export it again in one size")
            pictures.append(rows)
            times.append(time)
            _check_memory(path, rows, len(places))
    if not pictures:
        raise Unreadable(f"{path} is cut off before its first frame", remedy="copy or export it again")
    grey = all(_is_grey(rows) for rows in pictures)
    return Frames(tuple(_image(rows[..., 1:2] if grey else rows, path) for rows in pictures), tuple(times))


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Always refused.

    Raises:
        Unsuitable: the compression of films changes labels.
    """
    raise Unsuitable(f"{path} is a film, and films are no masks", remedy="save masks as PNG, TIFF or NIfTI")


def _is_gif(path: Path) -> bool:
    return has_suffix(path, (".gif",)) or peek(path, 4) == b"GIF8"


def _is_grey(rows: Array) -> bool:
    return bool((np.abs(np.diff(rows.astype(np.int16), axis=-1)) <= _TINT).all())


def _check_memory(path: Path, rows: Array, count: int) -> None:
    if rows.nbytes * count > _MOST_BYTES:
        raise Unsuitable(
            f"{path} needs {rows.nbytes * count / 2**30:.1f} GiB for {count} frames",
            remedy="read fewer: give start, stop or step",
        )


def _image(rows: Array, path: Path) -> Image:
    source = Source(paths=(path,), format=NAME)
    return Image(np.transpose(rows), spacing_known=False, orientation_known=False, source=source)


def _open_gif(path: Path) -> Any:
    import PIL.Image

    if not _tail(path).rstrip(b"\0").endswith(b";"):  # Pillow would count the frames that are there
        raise Unreadable(f"{path} is cut off: its end is not there", remedy="copy or export it again")
    try:
        return PIL.Image.open(path, formats=("GIF",))
    except PIL.Image.DecompressionBombError as error:
        raise Unreadable(f"{path} announces more pixels than a film has", remedy="export it again") from error


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END))
        return file.read()


def _gif_frames(path: Path, places: range) -> Iterator[tuple[Array, float]]:
    """(rows, columns, 3) and seconds; a frame without a duration is shown for 0.1 s, as browsers do."""
    with _open_gif(path) as file:
        # Frames lie on the screen of the film, however small they are: each is a whole picture.
        pixels, stored = file.width * file.height, path.stat().st_size
        _bytes.check_bomb(path, pixels * _COPIES, stored)
        _bytes.check_bomb(path, pixels * 3 * (places[-1] + 1), stored)
        time = 0.0
        for place in range(places[-1] + 1):
            file.seek(place)
            if file.width * file.height > pixels:
                raise Unreadable(f"{path} has a frame that reaches beyond its screen", remedy="export it again")
            file.load()
            if place in places:
                yield _tiff.lay_on_black(np.asarray(file.convert("RGBA")), path), time
            time += (file.info.get("duration") or 100) / 1000


def _opencv(path: Path) -> Any:
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what is wrong is said in the error, not on the terminal
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    return require("cv2", extra="clips", purpose=f"reading {path.name}")


@contextmanager
def _open_film(path: Path) -> Iterator[tuple[Any, int]]:
    """OpenCV's reader and the announced number of frames."""
    _check_whole(path)
    cv2 = _opencv(path)
    film = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        count = int(film.get(cv2.CAP_PROP_FRAME_COUNT)) if film.isOpened() else 0
        if count < 1:
            raise Unreadable(
                f"{path} cannot be decoded: it is damaged, cut off, or of a rare kind", remedy="export it as H.264 MP4"
            )
        yield film, count
    finally:
        film.release()


def _check_whole(path: Path) -> None:
    """That a film is MP4, MOV or AVI and that its boxes fill the file, before FFmpeg, which conceals gaps, sees it.

    Among what FFmpeg reads by content are also lists of other files.

    Raises:
        Unreadable: when it is neither, or a box goes on behind the end.
    """
    head, size, place = peek(path, 12), path.stat().st_size, 0
    is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if head[4:8] != b"ftyp" and not is_avi:
        raise Unreadable(f"{path} does not begin as MP4, MOV or AVI do", remedy="export it again as MP4")
    with path.open("rb") as file:
        boxes = 0
        while place + 8 <= size and boxes < _MOST_BOXES:
            file.seek(place)
            box = file.read(16)
            place += _length_of(box, is_avi, size - place)
            boxes += 1
    if boxes == _MOST_BOXES:
        raise Unreadable(f"{path} is cut into more than {_MOST_BOXES:,} boxes", remedy="export it again as MP4")
    if place > size:
        raise Unreadable(f"{path} is cut off: {place - size:,} bytes are missing", remedy="copy or export it again")


def _length_of(box: bytes, is_avi: bool, rest: int) -> int:
    """Bytes of a RIFF chunk (rounded up to even) or of an MP4 box, at least 8."""
    if is_avi:
        length = int.from_bytes(box[4:8], "little") + 8
        return length + length % 2
    length = int.from_bytes(box[:4], "big")
    if length == 0:  # to the end of the file
        return rest
    return max(8, int.from_bytes(box[8:16], "big") if length == 1 else length)


def _film_frames(path: Path, places: range) -> Iterator[tuple[Array, float]]:
    """(rows, columns, 3) and seconds."""
    position = _opencv(path).CAP_PROP_POS_MSEC
    with _open_film(path) as (film, count):
        for place in range(places[-1] + 1):
            if not film.grab():
                if place < count - _LOST:
                    raise Unreadable(
                        f"{path} is cut off after {place} of {count} frames", remedy="copy or export it again"
                    )
                return
            if place in places:
                ok, rows = film.retrieve()
                if not ok:
                    raise Unreadable(f"frame {place} of {path} cannot be decoded", remedy="export it again")
                yield np.ascontiguousarray(rows[..., ::-1]), film.get(position) / 1000
