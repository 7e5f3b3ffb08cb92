"""COCO annotation files: images, categories, and shapes as polygons or run lengths (https://cocodataset.org/#format-data).

A mask made of a file has the categories' ids as its values; where a category has the id 0, which in a mask is the
background, every value is the id plus 1.
"""

from __future__ import annotations

import json
import mmap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import DatasetError, Unsuitable
from osler.studies.geometry import Array

__all__ = ["CocoFile", "CocoImage", "decode_runs", "fill_polygon", "is_annotation_file", "load", "looks_like_coco"]

_LARGEST = 2 << 30  # bytes
_HIGHEST = 2**31 - 1  # id of a category, which a mask must hold
_MOST_PIXELS = 1 << 27  # of one image
_KEYS = (b'"images"', b'"annotations"', b'"categories"')


@dataclass(frozen=True)
class CocoImage:
    """One image of a file: columns are its width, rows its height."""

    id: str
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class CocoFile:
    """A parsed file.

    Args:
        path: where it lies.
        images: by id.
        categories: name by the value that the category has in a mask.
        shapes: per image id, pairs of value and shape (a list of polygons, or run lengths with their size).
        boxes: per image id, the values of annotations that have a box and no shape.
    """

    path: Path
    images: Mapping[str, CocoImage]
    categories: Mapping[int, str]
    shapes: Mapping[str, Sequence[tuple[int, Any]]]
    boxes: Mapping[str, Sequence[int]]

    def values_in(self, image_id: str) -> frozenset[int]:
        """The values that occur in an image's mask (0 left out)."""
        return frozenset(value for value, _ in self.shapes.get(image_id, ()))

    def shape_of(self, image_id: str) -> tuple[int, int]:
        """(I, J): width and height in pixels.

        Raises:
            Unsuitable: when the file does not list the image.
        """
        if image_id not in self.images:
            raise Unsuitable(f"{self.path} has no image with id {image_id}", remedy="check the manifest's mask column")
        image = self.images[image_id]
        return image.width, image.height

    def masks_of(self, image_id: str) -> Iterator[tuple[int, Array]]:
        """Value and (rows, columns) bool of each category that an image shows, by value.

        Raises:
            Unsuitable: when a shape is damaged.
        """
        image = self.images[image_id]
        by_value: dict[int, list[Any]] = defaultdict(list)
        for value, shape in self.shapes.get(image_id, ()):
            by_value[value].append(shape)
        for value in sorted(by_value):
            inside = np.zeros((image.height, image.width), bool)
            for shape in by_value[value]:
                inside |= self._rows(shape, image)
            yield value, inside

    def _rows(self, shape: Any, image: CocoImage) -> Array:
        try:
            if isinstance(shape, dict):
                return _from_runs(shape, image)
            inside = np.zeros((image.height, image.width), bool)
            for polygon in shape:
                inside |= fill_polygon(np.asarray(polygon, float).reshape(-1, 2), image.height, image.width)
            return inside
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise Unsuitable(
                f"{self.path.name} has a damaged shape on {image.file_name}: {error}",
                remedy="repair or remove that annotation",
            ) from error


def is_annotation_file(path: Path) -> bool:
    """Whether a mask's path is a COCO file (by its suffix)."""
    return path.suffix.lower() == ".json"


def looks_like_coco(path: Path) -> bool:
    """Whether a file names images, annotations and categories; it is searched, not parsed."""
    if path.suffix.lower() != ".json" or not path.is_file() or not 0 < path.stat().st_size <= _LARGEST:
        return False
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(key) >= 0 for key in _KEYS)
    except OSError:
        return False


def load(path: Path) -> CocoFile:
    """Parse a file; the last few stay in memory.

    Raises:
        DatasetError: when it is no JSON, a size or id is missing, or an annotation names an image or category that
            the file does not list.
    """
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)  # training, validation and test
def _load(path: Path, _modified: int) -> CocoFile:
    if path.stat().st_size > _LARGEST:
        raise DatasetError(f"{path.name} has more than {_LARGEST >> 30} GiB", remedy="export it in parts")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{path.name} is no JSON: {error}", remedy="export it again") from error
    try:
        return _parse(path, content)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DatasetError(
            f"{path.name} is no COCO file: {error!r} is missing or wrong", remedy="export it again"
        ) from error


def _parse(path: Path, content: Any) -> CocoFile:
    images = {
        str(one["id"]): CocoImage(str(one["id"]), str(one["file_name"]), int(one["width"]), int(one["height"]))
        for one in content["images"]
    }
    shift = int(any(int(one["id"]) == 0 for one in content["categories"]))
    categories = {int(one["id"]) + shift: str(one["name"]) for one in content["categories"]}
    if not all(0 < value <= _HIGHEST for value in categories):
        raise ValueError(f"a category whose id is not from 0 to {_HIGHEST}")
    for listed in images.values():
        if min(listed.width, listed.height) < 1 or listed.width * listed.height > _MOST_PIXELS:
            raise ValueError(f"the size {listed.width}×{listed.height} of {listed.file_name[:100]}")
    shapes: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    boxes: dict[str, list[int]] = defaultdict(list)
    for one in content["annotations"]:
        image, value = str(one["image_id"]), int(one["category_id"]) + shift
        if image not in images or value not in categories:
            raise DatasetError(
                f"{path.name}: annotation {one.get('id')} is of image {image} and category {one['category_id']}, "
                "which the file does not list both",
                remedy="export it again",
            )
        if one.get("segmentation"):
            shapes[image].append((value, one["segmentation"]))
        else:
            boxes[image].append(value)
    return CocoFile(path, images, categories, dict(shapes), dict(boxes))


def fill_polygon(points: Array, height: int, width: int) -> Array:
    """The pixels whose centres lie inside a polygon (even-odd rule).

    Args:
        points: (N, 2) of x (columns) and y (rows); the centre of the first pixel is at (0.5, 0.5).
        height, width: of the picture in pixels; what lies outside it is cut off.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: for fewer than three points, or points that are not finite.
    """
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError("a polygon has at least three points, each a finite number")
    crossed = np.zeros((height, width + 1), bool)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        low, high = (y0, y1) if y0 < y1 else (y1, y0)
        first, last = max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5)))
        if first >= last:
            continue
        rows = np.arange(first, last)
        x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        columns = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
        crossed[rows, columns] ^= True  # an edge crosses a row once
    inside: Array = np.logical_xor.accumulate(crossed[:, :width], axis=1)
    return inside


def decode_runs(counts: str | bytes | Sequence[int]) -> Array:
    """Lengths of alternating runs, of background first: as they are, or out of COCO's compressed text.

    The text holds 5 bits of a number per character (from "0" on, lowest first, the 6th bit says that more follow), and
    from the fourth number on the difference to the last but one.
    """
    if not isinstance(counts, str | bytes):
        return np.asarray(counts, np.int64)
    data = counts.encode("ascii") if isinstance(counts, str) else counts
    runs: list[int] = []
    number, bits = 0, 0
    for byte in data:
        code = byte - 48
        number |= (code & 0x1F) << bits
        bits += 5
        if code & 0x20:
            continue
        if code & 0x10:  # negative
            number -= 1 << bits
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number, bits = 0, 0
    if bits:
        raise ValueError("the run lengths end in the middle of a number")
    return np.asarray(runs, np.int64)


def _from_runs(shape: Mapping[str, Any], image: CocoImage) -> Array:
    """Runs go down the columns, one column after the other."""
    height, width = (int(n) for n in shape["size"])
    if (height, width) != (image.height, image.width):
        raise ValueError(f"its size is {width}×{height}, and the image's {image.width}×{image.height}")
    runs = decode_runs(shape["counts"])
    if (runs < 0).any() or runs.sum() != height * width:
        raise ValueError(f"its runs cover {runs.sum()} pixels, and the image has {height * width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T
