"""What DICOM segmentations and RT structure sets share: the header, the grid they are drawn on, one mask of many.

A ``Grid`` is an image without its voxels. Indices are 0-based, in the order I, J, K; a 2D grid has K = 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError, Unknown, Unreadable, Unsuitable
from osler.studies.formats._dicom_header import is_dicom, read_header
from osler.studies.geometry import Array, check_affine
from osler.studies.image import Image, Source
from osler.studies.structures import Code, StructureSet

__all__ = [
    "MOST_VOXELS",
    "Canvas",
    "Grid",
    "check_frame_of_reference",
    "check_number",
    "check_readable",
    "check_size",
    "code_of",
    "grid_of",
    "sop_class",
    "text",
    "values_for",
]

MOST_VOXELS = 1 << 29
"""Voxels of one mask at most: 512 × 512 × 2,048. A header that asks for more is damaged, or needs a part of it."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where labels go.

    Args:
        shape: (I, J, K); K is 1 for a 2D image.
        affine: (4, 4), index to RAS+ mm.
        dimensions: 2 or 3.
        frame_of_reference: FrameOfReferenceUID; "" when the image has none (NIfTI).
        instances: SOPInstanceUID of each slice in the order of K; empty when they are not known or not one per slice.

    Raises:
        GeometryError: when the affine is not finite or not invertible.
    """

    shape: tuple[int, int, int]
    affine: Array
    dimensions: int
    frame_of_reference: str = ""
    instances: tuple[str, ...] = ()
    spacing_known: bool = True
    orientation_known: bool = True

    def __post_init__(self) -> None:
        check_affine(self.affine)

    def image(self, array: Array, path: Path, name: str) -> Image:
        """Channels (C, I, J, K) of this grid, read from ``path``, as an image (C, I, J[, K])."""
        return Image(
            array[..., 0] if self.dimensions == 2 else array,
            self.affine,
            modality="SEG" if name == "dicom-seg" else "RTSTRUCT",
            spacing_known=self.spacing_known,
            orientation_known=self.orientation_known,
            source=Source((path,), name, {"FrameOfReferenceUID": self.frame_of_reference}),
        )


def grid_of(image: Image) -> Grid:
    """The grid of an image."""
    uids = image.source.uids
    instances = uids.get("SOPInstanceUID", ())
    instances = instances if isinstance(instances, tuple) else (instances,)
    shape = (*image.shape, 1)[:3]
    distinct = len(set(instances)) == len(instances) == shape[2] and all(instances)
    return Grid(
        shape=(shape[0], shape[1], shape[2]),
        affine=image.affine,
        dimensions=image.dimensions,
        frame_of_reference=str(uids.get("FrameOfReferenceUID", "")),
        instances=instances if distinct else (),
        spacing_known=image.spacing_known,
        orientation_known=image.orientation_known,
    )


def check_size(shape: tuple[int, ...], path: Path) -> None:
    """Raises:
    Unsuitable: for a mask of more than ``MOST_VOXELS``.
    """
    size = 1
    for n in shape:
        size *= n
    if size > MOST_VOXELS:
        raise Unsuitable(
            f"{path} asks for a mask of {'×'.join(map(str, shape))} voxels, and {MOST_VOXELS:,} is the most",
            remedy="give a part of it, or a coarser resolution",
        )


def check_frame_of_reference(found: str, grid: Grid, path: Path) -> None:
    """Raises:
    GeometryError: when labels and image name different frames of reference.
    """
    if found and grid.frame_of_reference and found != grid.frame_of_reference:
        raise GeometryError(
            f"{path} and the image have different frames of reference, so their coordinates do not mean the same place",
            remedy="give the series that it was drawn on, or register the two first",
        )


def check_number(found: StructureSet, number: int, path: Path) -> int:
    """``number``, when a structure has it.

    Raises:
        Unknown: when none has.
    """
    numbers = [one.number for one in found.structures]
    if number not in numbers:
        shown = ", ".join(map(str, numbers[:20]))
        raise Unknown(f"{path} has no structure number {number}", remedy=f"its structures have the numbers {shown}")
    return number


def sop_class(path: Path) -> str:
    """The SOPClassUID of a DICOM file; "" for anything else, and for a damaged one."""
    if not is_dicom(path):
        return ""
    try:
        header = read_header(path)
    except Unreadable:
        return ""
    return str(header.get("SOPClassUID") or header.get("MediaStorageSOPClassUID") or "")


def text(data: Any, keyword: str) -> str:
    """A value as text without blanks at its ends; "" when it is absent or empty."""
    value = data.get(keyword)
    return "" if value is None else str(value).strip()


def code_of(data: Any, keyword: str) -> Code | None:
    """The first item of a code sequence; None when there is none or it has no value."""
    items = data.get(keyword)
    if not items:
        return None
    value = text(items[0], "CodeValue") or text(items[0], "LongCodeValue") or text(items[0], "URNCodeValue")
    if not value:
        return None
    return Code(value, text(items[0], "CodingSchemeDesignator"), text(items[0], "CodeMeaning"))


def values_for(found: StructureSet, key: str | None, path: Path) -> dict[int, int]:
    """Each structure's number by its number, or 1 by the numbers of those that are called ``key``.

    Raises:
        Unknown: when none is called so.
    """
    if key is None:
        return {one.number: one.number for one in found.structures}
    values = {one.number: 1 for one in found.structures if one.name == key}
    if not values:
        names = ", ".join(repr(one.name) for one in found.structures[:20])
        raise Unknown(f"{path} holds nothing called {key!r}", remedy=f"it holds {names}")
    return values


class Canvas:
    """One mask into which structures are drawn, region by region.

    Args:
        grid: of the mask.
        values: what the number of each structure becomes, above 0.
        found: the structures, for errors.
        path: named in errors.

    Raises:
        Unsuitable: when a value is below 1, or the mask would be larger than ``MOST_VOXELS``.
    """

    def __init__(self, grid: Grid, values: Mapping[int, int], found: StructureSet, path: Path) -> None:
        if min(values.values(), default=1) < 1:
            raise Unsuitable(f"{path} numbers a structure 0, which means background in a mask", remedy="renumber it")
        check_size(grid.shape, path)
        self.grid, self.values, self.path = grid, dict(values), path
        self.array = np.zeros(grid.shape, np.min_scalar_type(max(values.values(), default=1)))
        self._names = {one.number: one.name for one in found.structures}
        self._overlaps: Counter[tuple[int, int]] = Counter()

    def paint(self, number: int, region: Array, mask: Array) -> None:
        """Give a structure its voxels.

        Args:
            number: of the structure.
            region: a view of ``array``.
            mask: bool, of its shape.
        """
        value = self.values[number]
        there = region[mask]
        for other in np.unique(there[(there != 0) & (there != value)]).tolist():
            self._overlaps[number, other] += int(np.count_nonzero(there == other))
        region[mask] = value

    def image(self, name: str) -> Image:
        """The finished mask, (1, I, J[, K]).

        Raises:
            Unsuitable: when two structures of different values share voxels.
        """
        if self._overlaps:
            (number, value), voxels = self._overlaps.most_common(1)[0]
            other = next(self._names[n] for n, v in self.values.items() if v == value)
            raise Unsuitable(
                f"{self.path}: {self._names[number]!r} and {other!r} overlap in {voxels} voxels, and a mask has one "
                "label per voxel",
                remedy="read them one by one, by their names",
            )
        return self.grid.image(self.array[None], self.path, name)

    def mask(self) -> Array:
        """(I, J[, K]) bool: where anything is drawn."""
        inside: Array = self.array != 0
        return inside[..., 0] if self.grid.dimensions == 2 else inside


def check_readable(problem: str, path: Path, kind: str) -> None:
    """Raises:
    Unreadable: naming the file, when there is a problem.
    """
    if problem:
        raise Unreadable(f"{path} cannot be read as {kind}: {problem}", remedy="export it again")
