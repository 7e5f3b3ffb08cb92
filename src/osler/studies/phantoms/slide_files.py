"""Pyramidal tiled TIFF: the full picture in tiles, and each half of it as a reduced image in its sub-directories."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from osler.studies.geometry import Array
from osler.studies.phantoms.files import put_bytes

__all__ = ["write_mask", "write_slide"]

_TILE = (256, 256)
_SMALLEST_LEVEL = 256


def write_slide(rows: Array, path: Path, *, pixel: float, quality: int, text: str) -> None:
    """Write a slide; the same arguments give the same bytes.

    Args:
        rows: (rows, columns, 3) uint8.
        path: ends in ``.tif``.
        pixel: µm.
        quality: of JPEG, 1 to 100.
        text: the description.

    Raises:
        StorageError: when it cannot be written.
    """
    import tifffile

    levels = [rows]
    while min(levels[-1].shape[:2]) > _SMALLEST_LEVEL:
        levels.append(_halved(levels[-1]))
    buffer = io.BytesIO()
    common: dict[str, Any] = {
        "tile": _TILE,
        "photometric": "rgb",
        "compression": "jpeg",
        "compressionargs": {"level": quality},
    }
    with tifffile.TiffWriter(buffer) as file:
        for number, level in enumerate(levels):
            per_centimetre = 10_000 / (pixel * 2**number)
            file.write(
                level,
                **common,
                resolution=(per_centimetre, per_centimetre),
                resolutionunit="CENTIMETER",
                description=text if number == 0 else None,
                subifds=len(levels) - 1 if number == 0 else None,
                subfiletype=0 if number == 0 else 1,
                metadata=None,
                software=False,
            )
    put_bytes(path, buffer.getvalue())


def write_mask(rows: Array, path: Path) -> None:
    """Write label values (rows, columns), uint8, in tiles without loss.

    Raises:
        StorageError: when it cannot be written.
    """
    import tifffile

    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer, rows, tile=_TILE, photometric="minisblack", compression="zlib", metadata=None, software=False
    )
    put_bytes(path, buffer.getvalue())


def _halved(rows: Array) -> Array:
    """Means of 2×2 pixels; a last odd row or column is left out."""
    height, width = rows.shape[0] // 2 * 2, rows.shape[1] // 2 * 2
    four = rows[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).astype(np.uint16)
    return np.asarray(((four.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8))
