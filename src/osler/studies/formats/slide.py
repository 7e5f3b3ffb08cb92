"""Whole slides: pyramidal TIFF as far as tifffile reads it (SVS, NDPI, SCN, BIF, QPTIFF, OME-TIFF, generic).

Rules:
- A slide is a pyramid of levels, 0 the finest. Only the tiles that a region touches are read and decoded.
- Positions and sizes are in pixels of the level that is read, 0-based, x along a row and y down.
- Microns per pixel come from the vendor's description (Aperio, OME), else from the resolution tags, where they are
  between 0.02 and 20: what else stands there is a printer's. Where there are none the spacing is unknown.
- ``read`` takes the level in ``index``. A level of more than 64 million pixels is refused: read regions of it.
- A series with depth or time is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import NoneChosen, Unreadable, Unsuitable, UsageError
from osler.studies.formats import _bytes
from osler.studies.formats._tiff import check_segments, open_whole
from osler.studies.formats.base import as_labels, has_suffix, peek, reading
from osler.studies.geometry import PICTURE_AFFINE, Array
from osler.studies.image import Image, Source

__all__ = ["NAME", "SUFFIXES", "Level", "Slide", "open_slide", "read", "read_labels", "sniff"]

NAME: str = "slide"
SUFFIXES: tuple[str, ...] = (".svs", ".ndpi", ".scn", ".bif", ".qptiff")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_PIXELS = 64_000_000
_MOST_REGION = 256_000_000
_MICRONS_PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # inch, centimetre
_PLAUSIBLE = (0.02, 20.0)
_MICRONS = {"": 1.0, "µm": 1.0, "um": 1.0, "mm": 1000.0, "nm": 1e-3, "cm": 10_000.0}


@dataclass(frozen=True)
class Level:
    """One size of a slide.

    Args:
        width, height: pixels.
        downsample: how many pixels of level 0 one pixel of this one covers, along x and y.
        mpp: microns per pixel along x and y, None when not known.
    """

    width: int
    height: int
    downsample: tuple[float, float]
    mpp: tuple[float, float] | None


@dataclass(frozen=True)
class Slide:
    """A whole slide on the disk; nothing of its pixels is in memory.

    Args:
        path: the file.
        levels: finest first.
        channels: 3 for colour, 1 for grey, more for fluorescence.
    """

    path: Path
    levels: tuple[Level, ...]
    channels: int

    def read_region(self, x: int, y: int, width: int, height: int, *, level: int = 0) -> Image:
        """A rectangle of a level as (C, I, J).

        Args:
            x, y: its upper left pixel, 0-based, in pixels of ``level``.
            width, height: its size in pixels of ``level``.
            level: 0 is the finest.

        Returns:
            Pixels with their spacing in mm; the affine places them on the slide, so that regions fit together.

        Raises:
            UsageError: when there is no such level, or the region leaves it or is larger than 256 million pixels.
            Unreadable: when a tile is damaged.
        """
        size = self._level(level)
        inside = 0 <= x < x + width <= size.width and 0 <= y < y + height <= size.height
        if not inside or width * height > _MOST_REGION:
            raise UsageError(
                f"the region {width}×{height} at ({x}, {y}) is not in level {level} of {self.path.name}, "
                f"{size.width}×{size.height}, or too large",
                remedy=f"choose one inside, of at most {_MOST_REGION // 10**6} million pixels",
            )
        with reading(self.path, "a whole slide"):
            rows = _region(self.path, level, (y, x, height, width))
        return self._image(rows, size, x, y)

    def read_level(self, level: int) -> Image:
        """A whole level; arguments and errors as ``read_region``."""
        size = self._level(level)
        return self.read_region(0, 0, size.width, size.height, level=level)

    def _level(self, level: int) -> Level:
        if not 0 <= level < len(self.levels):
            raise UsageError(f"{self.path} has no level {level}", remedy=f"choose one from 0 to {len(self.levels) - 1}")
        return self.levels[level]

    def _image(self, rows: Array, size: Level, x: int, y: int) -> Image:
        steps = np.array(size.mpp) / 1000 if size.mpp else np.array(size.downsample)
        affine = PICTURE_AFFINE.copy()
        affine[:3, :2] *= steps
        # the centre of a pixel that covers d pixels of level 0 lies (d - 1) / 2 of them from its first
        fine = steps / np.array(size.downsample)
        shift = (np.array(size.downsample) - 1) / 2 * fine + np.array([x, y]) * steps
        affine[:3, 3] = PICTURE_AFFINE[:3, :2] @ shift
        return Image(
            np.moveaxis(rows, -1, 0).swapaxes(1, 2),
            affine,
            modality="SM",
            spacing_known=size.mpp is not None,
            orientation_known=False,
            source=Source(paths=(self.path,), format=NAME),
        )


def sniff(path: Path) -> bool:
    """Whether the name is a scanner's, or it is a TIFF in tiles with smaller copies of its first page."""
    if has_suffix(path, SUFFIXES):
        return True
    if not has_suffix(path, (".tif", ".tiff")) or peek(path, 4) not in _TIFF:
        return False
    try:
        with reading(path, "a TIFF"):
            return _is_pyramid(path)
    except Unreadable:  # a damaged picture, which its own format reports
        return False


def open_slide(path: str | Path) -> Slide:
    """The levels of a whole slide, without reading pixels.

    Raises:
        Unreadable: when it is no TIFF, or damaged.
        Unsuitable: when it has depth or time.
    """
    path = Path(path)
    with reading(path, "a whole slide"), open_whole(path) as file:
        series = file.series[0]
        first = _shape_of(series)
        mpp = _microns(file, series)
        levels = []
        for level in series.levels:
            height, width, _ = _shape_of(level)
            downsample = (first[1] / width, first[0] / height)
            scaled = None if mpp is None else (mpp[0] * downsample[0], mpp[1] * downsample[1])
            levels.append(Level(width, height, downsample, scaled))
        return Slide(path, tuple(levels), first[2])


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read level ``index`` (0 when it is small enough) as (C, I, J).

    Raises:
        Unreadable: damaged, or no TIFF.
        Unsuitable: when the level has more than 64 million pixels, or the slide depth or time.
        UsageError: when there is no such level.
    """
    slide = open_slide(path)
    size = slide._level(index or 0)
    if size.width * size.height > _MOST_PIXELS:
        fitting = [n for n, one in enumerate(slide.levels) if one.width * one.height <= _MOST_PIXELS]
        remedy = f"choose a level with index={fitting[0]}, or read" if fitting else "read"
        raise (NoneChosen if index is None and fitting else Unsuitable)(
            f"{path} has {size.width}×{size.height} pixels in level {index or 0}, too many to read at once",
            remedy=f"{remedy} regions with open_slide",
        )
    return slide.read_level(index or 0)


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a level of a pyramid of label numbers; see ``as_labels``."""
    return as_labels(read(path, index=index), path)


def _is_pyramid(path: Path) -> bool:
    with open_whole(path) as file:
        page: Any = file.pages[0]
        if not page.is_tiled:
            return False
        return (
            bool(page.subifds)
            or any(one.is_reduced for one in list[Any](file.pages)[1:])
            or len(file.series[0].levels) > 1
        )


def _shape_of(series: Any) -> tuple[int, int, int]:
    """(height, width, channels) of a level.

    Raises:
        Unsuitable: for axes that are neither rows, columns nor channels.
    """
    sizes = dict(zip(series.axes, series.shape, strict=True))
    height, width = sizes.pop("Y"), sizes.pop("X")
    channels = sizes.pop("S", 1) * sizes.pop("C", 1)
    if any(size > 1 for size in sizes.values()):
        raise Unsuitable(
            f"{series.parent.filename} has the axes {series.axes}, and a slide has no depth and no time",
            remedy="save one plane of it",
        )
    return int(height), int(width), int(channels)


def _microns(file: Any, series: Any) -> tuple[float, float] | None:
    """Microns per pixel of level 0 along x and y."""
    page = series.keyframe
    aperio = re.search(r"\bMPP\s*=\s*([0-9.]+)", page.description or "")
    if aperio:
        return float(aperio[1]), float(aperio[1])
    found = _of_ome(file.ome_metadata) if file.is_ome else None
    return found or _of_resolution(page)


def _of_ome(text: str | None) -> tuple[float, float] | None:
    microns = []
    for axis in "XY":
        size = re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', text or "")
        unit = re.search(rf'PhysicalSize{axis}Unit="([^"]*)"', text or "")
        factor = _MICRONS.get((unit[1] if unit else "").replace("μ", "µ"))
        if size is None or factor is None or float(size[1]) <= 0:
            return None
        microns.append(float(size[1]) * factor)
    return microns[0], microns[1]


def _of_resolution(page: Any) -> tuple[float, float] | None:
    microns = []
    unit = page.tags.get("ResolutionUnit")
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        factor = _MICRONS_PER_UNIT.get(int(unit.value)) if unit else None
        if tag is None or factor is None or 0 in tag.value:
            return None
        microns.append(factor * tag.value[1] / tag.value[0])
    plausible = all(_PLAUSIBLE[0] <= one <= _PLAUSIBLE[1] for one in microns)
    return (microns[0], microns[1]) if plausible else None


def _region(path: Path, level: int, box: tuple[int, int, int, int]) -> Array:
    """(height, width, C) of the box (y, x, height, width)."""
    with open_whole(path) as file:
        series = file.series[0].levels[level]
        planes = [page for page in series.pages if page is not None]
        taken = sum(box[2] * box[3] * _bytes_of_pixel(page.keyframe) for page in planes)
        _bytes.check_bomb(path, taken, path.stat().st_size)
        parts = [_plane(page, box, path) for page in planes]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _bytes_of_pixel(key: Any) -> int:
    return int(key.samplesperpixel) * -(-int(key.bitspersample) // 8)


def _plane(page: Any, box: tuple[int, int, int, int], path: Path) -> Array:
    """(height, width, samples) of one page, decoding only the tiles (or strips) that the box touches."""
    y, x, height, width = box
    key = page.keyframe
    check_segments(key, path)
    separate = key.planarconfig == 2 and key.samplesperpixel > 1
    planes = key.samplesperpixel if separate else 1
    tables = {"jpegtables": key.jpegtables, "jpegheader": key.jpegheader}
    chosen = list(_touched(key, box, planes))
    offsets, counts = page.dataoffsets, page.databytecounts
    if max(chosen, default=-1) >= len(offsets):
        raise Unreadable(f"{path} has fewer tiles than its size needs", remedy="copy or export it again")
    out = np.full((planes, height, width, key.samplesperpixel // planes), key.nodata, key.dtype)
    for place in chosen:
        if not counts[place]:
            continue  # a tile that the scanner left out
        page.parent.filehandle.seek(offsets[place])
        data = page.parent.filehandle.read(counts[place])
        if len(data) < counts[place]:
            raise Unreadable(f"{path} is cut off inside a tile", remedy="copy or export it again")
        segment, (plane, _, top, left, _), shape = key.decode(data, place, **tables)
        if segment is None:
            continue
        rows = slice(max(y, top), min(y + height, top + shape[1]))
        columns = slice(max(x, left), min(x + width, left + shape[2]))
        out[plane, rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = segment[
            0, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    return np.moveaxis(out[..., 0], 0, -1) if separate else out[0]


def _touched(key: Any, box: tuple[int, int, int, int], planes: int) -> Iterator[int]:
    """The numbers of the tiles that a box touches."""
    y, x, height, width = box
    tile_height = key.tilelength if key.is_tiled else key.rowsperstrip
    tile_width = key.tilewidth if key.is_tiled else key.imagewidth
    across, down = -(-key.imagewidth // tile_width), -(-key.imagelength // tile_height)
    for plane in range(planes):
        for row in range(y // tile_height, (y + height - 1) // tile_height + 1):
            for column in range(x // tile_width, (x + width - 1) // tile_width + 1):
                yield (plane * down + row) * across + column
