"""Pictures: PNG, JPEG, BMP, TIFF.

Rules:
- ``(C, I, J)``: I runs along a row of the picture, J down. 8 and 16 bit and float (TIFF) keep their dtype.
- Colour has C = 3; a colour picture whose three channels are equal everywhere is grey, C = 1.
- Transparency is dropped where it is fully opaque; otherwise the picture is laid on black.
- The EXIF (or TIFF) orientation is applied.
- Spacing and orientation are unknown (``PICTURE_AFFINE``): resolutions written in pictures are those of a printer.
- As a mask: a palette gives its indices, equal channels give one, black and white gives 0 and 1. JPEG is refused.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import Unreadable, Unsuitable, UsageError
from osler.studies.formats.base import as_labels, has_suffix, peek, reading
from osler.studies.geometry import Array
from osler.studies.image import Image, Source

__all__ = ["NAME", "SUFFIXES", "WRITES", "encode", "read", "read_labels", "sniff"]

NAME: str = "raster"
SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
WRITES: tuple[str, ...] = (".png", ".tif", ".tiff")
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_EXIF_ORIENTATION = 274


def sniff(path: Path) -> bool:
    """Whether the name ends in a picture's suffix."""
    return has_suffix(path, SUFFIXES)


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a picture as (C, I, J); ``key`` and ``index`` have no meaning here.

    Raises:
        Unreadable: damaged, truncated, several pages, or no picture.
    """
    with reading(path, "a picture"):
        rows = _without_alpha(_decode(path, labels=False))
    return _to_image(rows, path)


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
        rows = _without_alpha(_decode(path, labels=True))
    image = _to_image(rows, path)
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


def _to_image(rows: Array, path: Path) -> Image:
    """(rows, columns[, 3]) to an ``Image``; equal channels become one."""
    if rows.ndim == 3 and (rows[..., 0] == rows[..., 1]).all() and (rows[..., 0] == rows[..., 2]).all():
        rows = rows[..., 0]
    channels_first = np.transpose(rows[..., None] if rows.ndim == 2 else rows)
    source = Source(paths=(path,), format=NAME)
    with reading(path, "a picture"):
        return Image(channels_first, spacing_known=False, source=source, orientation_known=False)


def _decode(path: Path, *, labels: bool) -> Array:
    """(rows, columns) or (rows, columns, 2 to 4), upright; palettes stay indices when ``labels``."""
    head = peek(path, 26)
    if head.startswith(_TIFF):
        return _decode_tiff(path, labels=labels)
    if head.startswith(_PNG) and head[24] == 16 and head[25] != 0:
        import imagecodecs  # Pillow would cut 16-bit colour and 16-bit transparency down to 8 bits

        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    return _decode_pillow(path, labels=labels)


def _decode_pillow(path: Path, *, labels: bool) -> Array:
    import PIL.Image

    with PIL.Image.open(path, formats=("PNG", "JPEG", "MPO", "BMP")) as file:
        if file.format == "PNG" and getattr(file, "n_frames", 1) > 1:
            raise Unreadable(f"{path} is an animation", remedy="save one picture per file")
        file.load()
        rows = _labels_of(file) if labels else _colours_of(file)
        return _upright(rows, int(file.getexif().get(_EXIF_ORIENTATION, 1)))


def _labels_of(file: Any) -> Array:
    return np.asarray(file).astype(np.uint8) if file.mode == "1" else np.asarray(file)


def _colours_of(file: Any) -> Array:
    if file.mode == "1":
        return np.asarray(file.convert("L"))
    if file.mode == "P" or "transparency" in file.info:
        return np.asarray(file.convert("RGBA"))
    if file.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return np.asarray(file.convert("RGB"))
    return np.asarray(file)


def _decode_tiff(path: Path, *, labels: bool) -> Array:
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.pages) != 1:
            raise Unreadable(
                f"{path} holds {len(file.pages)} pages, and a picture has one", remedy="save one picture per file"
            )
        page: Any = file.pages[0]
        rows = page.asarray()
        if rows.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            rows = np.moveaxis(rows, 0, -1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and not (labels and rows.dtype != bool):
            rows = ~rows if rows.dtype.kind in "ub" else -rows
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not labels:
            rows = np.moveaxis(page.colormap, 0, -1)[rows]
        if rows.dtype == bool:
            rows = rows.astype(np.uint8) * (1 if labels else 255)
        orientation = page.tags.get(_EXIF_ORIENTATION)
        return _upright(rows, int(orientation.value) if orientation else 1)


def _upright(rows: Array, orientation: int) -> Array:
    """Apply EXIF orientation 1 to 8: first transposed (5 to 8), then flipped."""
    if orientation in (5, 6, 7, 8):
        rows = rows.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        rows = rows[::-1]
    if orientation in (2, 3, 6, 7):
        rows = rows[:, ::-1]
    return rows


def _without_alpha(rows: Array) -> Array:
    """(rows, columns) or (rows, columns, 3): transparency dropped if opaque, else laid on black."""
    if rows.ndim == 2:
        return rows
    if rows.ndim != 3 or rows.shape[-1] not in (1, 2, 3, 4):
        raise Unreadable(
            f"a picture has 1 to 4 channels, and this one has shape {rows.shape}", remedy="save it as grey or RGB"
        )
    if rows.shape[-1] in (2, 4):
        alpha = rows[..., -1:]
        opaque = np.iinfo(rows.dtype).max if rows.dtype.kind in "iu" else 1.0
        colour = rows[..., :-1]
        rows = colour if (alpha == opaque).all() else np.rint(colour * (alpha / opaque)).astype(rows.dtype)
    return rows[..., 0] if rows.shape[-1] == 1 else rows
