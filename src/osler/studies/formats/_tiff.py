"""Pages of a TIFF as rows of pixels, with the rules for transparency, palettes and orientation in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import Unreadable, Unsuitable
from osler.studies.formats import _bytes
from osler.studies.geometry import Array

__all__ = ["ORIENTATION", "decode_page", "lay_on_black", "open_pages", "upright"]

ORIENTATION = 274  # the tag of EXIF and TIFF
_PREMULTIPLIED, _ALPHA = 1, 2  # values of ExtraSamples


@contextmanager
def open_pages(path: Path) -> Iterator[list[Any]]:
    """The pages of a TIFF that are pictures of their own, not smaller copies of others."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        pages: list[Any] = list(file.pages)
        yield [page for page in pages if not page.is_reduced] or pages


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
        rows = colour if (alpha == opaque).all() else _times(colour, alpha / opaque)
    return rows[..., 0] if rows.shape[-1] == 1 else rows


def _times(colour: Array, share: Array) -> Array:
    laid = colour * share
    return np.asarray((np.rint(laid) if colour.dtype.kind in "iu" else laid).astype(colour.dtype))


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
    bits = int(np.prod(page.shape, dtype=object)) * int(page.bitspersample)
    _bytes.check_size(path, bits // 8, path.stat().st_size, method)


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
