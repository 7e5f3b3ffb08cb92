"""Pictures: PNG, JPEG, BMP, TIFF.

Rules:
- ``(C, I, J)``: I runs along a row of the picture, J down. 8 and 16 bit and float (TIFF) keep their dtype.
- Colour has C = 3; a colour picture whose three channels are equal everywhere is grey, C = 1. A TIFF may have more.
- Transparency is dropped where it is fully opaque; otherwise the picture is laid on black.
- The EXIF (or TIFF) orientation is applied.
- Of a TIFF of several pages, or an animated PNG, ``index`` takes one and ``read_frames`` each.
- Spacing and orientation are unknown (``PICTURE_AFFINE``): resolutions written in pictures are those of a printer.
- As a mask: a palette gives its indices, grey of 2 or 4 bits its own values, equal channels give one, black and white
  gives 0 and 1. JPEG is refused.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import NoneChosen, Unreadable, Unsuitable, UsageError
from osler.studies.formats import _bytes, _tiff
from osler.studies.formats._volumes import chosen_frame, frame_range
from osler.studies.formats.base import as_labels, has_suffix, peek, reading
from osler.studies.frames import Frames
from osler.studies.geometry import Array
from osler.studies.image import Image, Source

__all__ = ["NAME", "SUFFIXES", "WRITES", "encode", "is_grey", "read", "read_frames", "read_labels", "sniff"]

NAME: str = "raster"
SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
WRITES: tuple[str, ...] = (".png", ".tif", ".tiff")
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_METHODS = {"PNG": "zlib", "JPEG": "jpeg", "MPO": "jpeg", "BMP": "zlib"}  # BMP's run lengths make 255 of 2 bytes
_END = 2**16  # bytes in which a PNG must say that it ends
_COPIES = 3  # of its pixels, that are in memory at some time


def sniff(path: Path) -> bool:
    """Whether the name ends in a picture's suffix."""
    return has_suffix(path, SUFFIXES)


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a picture, or page ``index`` of several, as (C, I, J).

    Raises:
        Unreadable: damaged, truncated, or no picture.
        NoneChosen: several pages, of which none was chosen.
        Unsuitable: a TIFF whose fourth channel may or may not be transparency.
        UsageError: when there is no such page.
    """
    with reading(path, "a picture"):
        return _to_image(_page(path, index, labels=False), path)


def read_frames(path: Path, *, start: int = 0, stop: int | None = None, step: int = 1) -> Frames:
    """Read the pages of a TIFF or of an animated PNG; when one is in colour, all are. Errors as ``read``."""
    with reading(path, "a picture"):
        pages = _pages(path, start, stop, step)
        grey = all(is_grey(rows) for rows in pages)
        images = [
            _to_image(rows, path) if grey else _to_image(_coloured(rows), path, keep_colour=True) for rows in pages
        ]
        if len({image.shape for image in images}) > 1:
            raise Unsuitable(f"{path} has pages of several sizes", remedy="read them one by one with index=N")
        return Frames(tuple(images))


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a mask as (1, I, J).

    Raises:
        Unreadable: as ``read``.
        Unsuitable: a JPEG, a picture in colour, or values that are not whole.
    """
    if peek(path, 2) == b"\xff\xd8":
        raise Unsuitable(
            f"{path} is a JPEG, whose compression changes label values", remedy="save masks as PNG, TIFF or NIfTI"
        )
    with reading(path, "a picture"):
        image = _to_image(_page(path, index, labels=True), path)
    if image.array.shape[0] != 1:
        raise Unsuitable(
            f"{path} is in colour, and colours have no label numbers",
            remedy="save the mask as grey or palette PNG whose values are the label numbers",
        )
    return as_labels(image, path)


def encode(image: Image, suffix: str) -> bytes:
    """The bytes of a PNG or TIFF; the affine is not kept.

    Raises:
        UsageError: for a volume, or a dtype that the format does not have.
    """
    array = image.array.astype(np.uint8) if image.array.dtype == bool else image.array
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise UsageError(f"an image of shape {array.shape} is not a picture", remedy="write it as .nii.gz")
    rows = np.ascontiguousarray(np.transpose(array[0] if array.shape[0] == 1 else array))
    return _encode_tiff(rows) if suffix.startswith(".tif") else _encode_png(rows)


def is_grey(rows: Array) -> bool:
    """Whether (rows, columns[, channels]) is grey: one channel, or three that are equal everywhere."""
    if rows.ndim == 2 or rows.shape[-1] == 1:
        return True
    return rows.shape[-1] == 3 and bool((rows[..., :1] == rows[..., 1:]).all())


def _encode_png(rows: Array) -> bytes:
    import imagecodecs

    if rows.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"PNG cannot hold {rows.dtype} values", remedy="write it as .tif or .nii.gz")
    return bytes(imagecodecs.png_encode(rows))


def _encode_tiff(rows: Array) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    photometric = "rgb" if rows.ndim == 3 else "minisblack"
    tifffile.imwrite(
        buffer, rows, photometric=photometric, compression="zlib", metadata=None, software=False, datetime=None
    )
    return buffer.getvalue()


def _to_image(rows: Array, path: Path, *, keep_colour: bool = False) -> Image:
    """(rows, columns[, C]) to an ``Image``; equal channels become one unless ``keep_colour``."""
    if rows.ndim == 3 and not keep_colour and is_grey(rows):
        rows = rows[..., 0]
    channels_first = np.transpose(rows[..., None] if rows.ndim == 2 else rows)
    source = Source(paths=(path,), format=NAME)
    return Image(channels_first, spacing_known=False, source=source, orientation_known=False)


def _coloured(rows: Array) -> Array:
    return np.repeat(rows[..., None], 3, axis=-1) if rows.ndim == 2 else rows


def _page(path: Path, index: int | None, *, labels: bool) -> Array:
    """(rows, columns) or (rows, columns, C), upright, without alpha."""
    if peek(path, 4) in _TIFF:
        with _tiff.open_pages(path) as pages:
            return _tiff.decode_page(pages[_choice(path, len(pages), index, "pages")], path, labels=labels)
    head = peek(path, 26)
    if head.startswith(_PNG) and head[24:25] == b"\x10" and head[25] != 0:
        _choice(path, 1, index, "pages")
        return _tiff.lay_on_black(_deep_png(path, head), path)
    return _decode_pillow(path, index, labels=labels)


def _choice(path: Path, count: int, index: int | None, kind: str) -> int:
    if index is not None:
        return chosen_frame(path, count, index)
    if count != 1:
        raise NoneChosen(
            f"{path} holds {count} {kind}, and a picture has one",
            remedy=f"choose one with index=0 to {count - 1}, or read them with read_frames",
        )
    return 0


def _pages(path: Path, start: int, stop: int | None, step: int) -> list[Array]:
    if peek(path, 4) in _TIFF:
        with _tiff.open_pages(path) as pages:
            places = frame_range(path, len(pages), start, stop, step)
            return [_tiff.decode_page(pages[place], path, labels=False) for place in places]
    count = _count_pillow(path)
    return [_page(path, place, labels=False) for place in frame_range(path, count, start, stop, step)]


def _deep_png(path: Path, head: bytes) -> Array:
    import imagecodecs  # Pillow would cut 16-bit colour and 16-bit transparency down to 8 bits

    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    _bytes.check_size(path, width * height * 8, path.stat().st_size, "zlib")
    return np.asarray(imagecodecs.png_decode(path.read_bytes()))


def _open_pillow(path: Path) -> Any:
    import PIL.Image

    try:
        return PIL.Image.open(path, formats=("PNG", "JPEG", "MPO", "BMP"))
    except PIL.Image.DecompressionBombError as error:
        raise Unreadable(
            f"{path} announces more pixels than a picture has", remedy="save it as a pyramidal TIFF, or smaller"
        ) from error


def _check_pixels(file: Any, path: Path, *, labels: bool) -> None:
    """Before pixels are decoded: that the file can hold them, and is no bomb."""
    shown = len(file.getbands())
    if not labels and (file.mode == "P" or "transparency" in file.info):
        shown = 4
    bits = peek(path, 26)[24] if file.format == "PNG" else 1 if file.format == "BMP" else 8  # of a pixel, at least
    stored = path.stat().st_size
    _bytes.check_size(path, file.width * file.height * bits // 8, stored, _METHODS[file.format])
    _bytes.check_bomb(path, file.width * file.height * shown * _COPIES, stored)


def _count_pillow(path: Path) -> int:
    with _open_pillow(path) as file:
        return _frames_in(file, path)


def _frames_in(file: Any, path: Path) -> int:
    """Frames of an animated PNG; the other pictures of an MPO are views and thumbnails."""
    frames = int(getattr(file, "n_frames", 1)) if file.format == "PNG" else 1
    if frames > 1:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _END))
            if b"IEND" not in stream.read():  # its first frames could be read
                raise Unreadable(f"{path} is cut off: its end is not there", remedy="copy or export it again")
    return frames


def _decode_pillow(path: Path, index: int | None, *, labels: bool) -> Array:
    with _open_pillow(path) as file:
        frames = _frames_in(file, path)
        place = _choice(path, frames, index, "frames (an animation)")
        _check_pixels(file, path, labels=labels)
        if place:
            file.seek(place)
        file.load()
        rows = _labels_of(file, path) if labels else _colours_of(file)
        rows = _tiff.upright(rows, int(file.getexif().get(_tiff.ORIENTATION, 1)))
    return _tiff.lay_on_black(rows, path)


def _labels_of(file: Any, path: Path) -> Array:
    rows = np.asarray(file)
    if file.mode == "1":
        return rows.astype(np.uint8)
    head = peek(path, 26)
    if file.format == "PNG" and head[25] == 0 and head[24] in (2, 4):  # Pillow spreads these over 0 to 255
        rows = rows // (255 // (2 ** head[24] - 1))
    return rows


def _colours_of(file: Any) -> Array:
    if file.mode == "1":
        return np.asarray(file.convert("L"))
    if file.mode == "P" or "transparency" in file.info:
        return np.asarray(file.convert("RGBA"))
    if file.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return np.asarray(file.convert("RGB"))
    return np.asarray(file)
