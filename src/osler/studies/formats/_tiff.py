"""Pages of a TIFF as rows of pixels, with the rules for transparency, palettes and orientation in one place."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import Unreadable, Unsuitable
from osler.studies.formats import _bytes
from osler.studies.geometry import Array

__all__ = ["ORIENTATION", "check_segments", "decode_page", "lay_on_black", "open_pages", "open_whole", "upright"]

ORIENTATION = 274  # the tag of EXIF and TIFF
_PREMULTIPLIED, _ALPHA = 1, 2  # values of ExtraSamples
_BYTES_OF_TYPE = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}  # of tags; others 1
_MOST_TAGS, _FAR = 4096, 2**62
_ROWS = 64
_COPIES = 3  # of its pixels, that are in memory at some time


@contextmanager
def open_pages(path: Path) -> Iterator[list[Any]]:
    """The pages of a TIFF that are pictures of their own, not smaller copies of others."""
    with open_whole(path) as file:
        pages: list[Any] = list(file.pages)
        yield [page for page in pages if not page.is_reduced] or pages


@contextmanager
def open_whole(path: Path) -> Iterator[Any]:
    """A TIFF as tifffile opens it, after a look at whether all of it is there: tifffile passes over pages that are not.

    Raises:
        Unreadable: when a page, its smaller copies or its data lie behind the end of the file.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        size, seen = file.filehandle.size, set()
        for page in file.pages:
            if page.offset in seen:  # tifffile would go round for ever
                raise Unreadable(f"{path} lists its pages in a circle", remedy="copy or export it again")
            seen.add(page.offset)
            directories = [int(offset) for offset in (page.offset, *(getattr(page, "subifds", None) or ()))]
            ends = [_end_of(file, offset) for offset in directories]
            if max(ends) > size:
                raise _cut_off(path)
            for one in (page, *(getattr(page, "pages", None) or ())):
                ends = [offset + count for offset, count in zip(one.dataoffsets, one.databytecounts, strict=False)]
                if max(ends, default=0) > size:
                    raise _cut_off(path)
        last = file.pages.next_page_offset
        if last is None or last + file.tiff.offsetsize > size or _number(file, last, file.tiff.offsetformat) != 0:
            raise _cut_off(path)
        yield file


def _end_of(file: Any, offset: int) -> int:
    """Where the list of tags at ``offset``, or the last of their values, ends; far away when it cannot be read."""
    count = _number(file, offset, file.tiff.tagnoformat)
    if count is None or count > _MOST_TAGS:
        return _FAR
    start, inline = offset + file.tiff.tagnosize, file.tiff.offsetsize
    end = start + count * file.tiff.tagsize + inline
    file.filehandle.seek(start)
    data = file.filehandle.read(count * file.tiff.tagsize)
    if len(data) < count * file.tiff.tagsize:
        return _FAR
    for tag in range(count):
        entry = data[tag * file.tiff.tagsize : (tag + 1) * file.tiff.tagsize]
        _, kind, values, place = struct.unpack(file.tiff.byteorder + ("HHQQ" if inline == 8 else "HHII"), entry)
        size = values * _BYTES_OF_TYPE.get(kind, 1)
        end = max(end, place + size) if size > inline else end
    return int(end)


def _number(file: Any, offset: int, form: str) -> int | None:
    size = struct.calcsize(form)
    file.filehandle.seek(offset)
    data = file.filehandle.read(size)
    return int(struct.unpack(form, data)[0]) if len(data) == size else None


def _cut_off(path: Path) -> Unreadable:
    return Unreadable(f"{path} is cut off: pages or tiles of it are not there", remedy="copy or export it again")


def decode_page(page: Any, path: Path, *, labels: bool) -> Array:
    """(rows, columns) or (rows, columns, channels), upright, without alpha; palettes stay indices when ``labels``.

    Raises:
        Unreadable: for inks and colour spaces that are not RGB, or a size that the file cannot hold.
        Unsuitable: when a fourth channel may or may not be transparency.
    """
    import tifffile

    kind = page.photometric
    _check(page, path)
    rows = page.asarray()
    if rows.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
        rows = np.moveaxis(rows, 0, -1)
    if kind == tifffile.PHOTOMETRIC.MINISWHITE and not (labels and rows.dtype != bool):
        rows = _inverted(rows, int(page.bitspersample))
    if kind == tifffile.PHOTOMETRIC.PALETTE and not labels:
        rows = np.moveaxis(page.colormap, 0, -1)[rows]
    if rows.dtype == bool:
        rows = rows.astype(np.uint8) * (1 if labels else 255)
    rows = _without_extra(rows, page, path)
    orientation = page.tags.get(ORIENTATION)
    return upright(rows, int(orientation.value) if orientation else 1)


def upright(rows: Array, orientation: int) -> Array:
    """Apply EXIF orientation 1 to 8: first transposed (5 to 8), then flipped."""
    if orientation in (5, 6, 7, 8):
        rows = rows.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        rows = rows[::-1]
    if orientation in (2, 3, 6, 7):
        rows = rows[:, ::-1]
    return rows


def lay_on_black(rows: Array, path: Path) -> Array:
    """(rows, columns[, 1 to 4]) to (rows, columns[, 3]): transparency dropped if opaque, else laid on black."""
    if rows.ndim == 2:
        return rows
    if rows.ndim != 3 or rows.shape[-1] not in (1, 2, 3, 4):
        raise Unreadable(
            f"{path} has the shape {rows.shape}, and a picture has 1 to 4 channels", remedy="save it as grey or RGB"
        )
    if rows.shape[-1] in (2, 4):
        alpha, colour = rows[..., -1:], rows[..., :-1]
        opaque = np.iinfo(rows.dtype).max if rows.dtype.kind in "iu" else 1.0
        rows = colour if (alpha == opaque).all() else _times(colour, alpha, opaque)
    return rows[..., 0] if rows.shape[-1] == 1 else rows


def _times(colour: Array, alpha: Array, opaque: float) -> Array:
    """Some rows at a time: shares are in double precision, and those of a whole picture may be gigabytes."""
    result = np.empty(colour.shape, colour.dtype)
    for start in range(0, len(colour), _ROWS):
        part = slice(start, start + _ROWS)
        laid = colour[part] * (alpha[part] / opaque)
        result[part] = np.rint(laid) if colour.dtype.kind in "iu" else laid
    return result


def _check(page: Any, path: Path) -> None:
    import tifffile

    known = (
        tifffile.PHOTOMETRIC.MINISWHITE,
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.RGB,
        tifffile.PHOTOMETRIC.PALETTE,
        tifffile.PHOTOMETRIC.MASK,
    )
    jpeg = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression in (
        tifffile.COMPRESSION.OJPEG,
        tifffile.COMPRESSION.JPEG,
    )
    if page.photometric not in known and not jpeg:
        name = getattr(page.photometric, "name", page.photometric)
        raise Unreadable(f"{path} has colours of the kind {name}", remedy="save it as grey or RGB")
    if page.compression == tifffile.COMPRESSION.NONE:
        method = "raw"
    elif page.compression in (tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE):
        method = "gzip"
    else:
        method = "bzip2"  # the widest limit; JPEG 2000 makes a blank page very small
    size, stored = int(np.prod(page.shape, dtype=object)) * int(page.bitspersample) // 8, path.stat().st_size
    _bytes.check_size(path, size, stored, method)
    _bytes.check_bomb(path, size * _COPIES, stored)
    check_segments(page, path)


def check_segments(page: Any, path: Path) -> None:
    """Refuse tiles or strips that unfold to far more than is stored: each is decoded as a whole.

    Raises:
        Unreadable: when they must be decompression bombs.
    """
    height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    width = page.tilewidth if page.is_tiled else page.imagewidth
    values = int(height) * int(width) * int(page.samplesperpixel)
    _bytes.check_bomb(path, values * -(-int(page.bitspersample) // 8) * _COPIES, path.stat().st_size)


def _inverted(rows: Array, bits: int) -> Array:
    if rows.dtype.kind == "u" and bits < rows.dtype.itemsize * 8:
        return np.asarray((2**bits - 1 - rows).astype(rows.dtype))
    return np.asarray(~rows if rows.dtype.kind in "iub" else -rows)


def _without_extra(rows: Array, page: Any, path: Path) -> Array:
    """Without the channels that the file names as alpha; other channels stay."""
    if rows.ndim == 2:
        return rows
    kinds = [int(kind) for kind in page.extrasamples]
    if not kinds:
        return rows
    if len(kinds) == 1 and kinds[0] == _PREMULTIPLIED:
        rest = rows[..., :-1]  # premultiplied colours lie on black already
        return rest[..., 0] if rest.shape[-1] == 1 else rest
    if len(kinds) == 1 and kinds[0] == _ALPHA:
        return lay_on_black(rows, path)
    if page.samplesperpixel - len(kinds) == 3:
        opaque = np.iinfo(rows.dtype).max if rows.dtype.kind in "iu" else 1.0
        if (rows[..., 3:] == opaque).all():
            return rows[..., :3]
        raise Unsuitable(
            f"{path} has RGB and {len(kinds)} more channels, and does not say what they are",
            remedy="save it as RGB, or mark the fourth channel as alpha",
        )
    return rows
