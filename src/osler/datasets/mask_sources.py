"""Masks from wherever they lie: one file, a file per label, or the shapes of a COCO file.

Where the parts of one mask overlap, a voxel has the label that is the smaller in this case, so that what lies within
something else (a tumour in its organ) is never lost, whatever the order. How much overlaps is counted, never hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from osler.datasets import coco
from osler.datasets.manifest import ImageRef, Layer
from osler.datasets.preparation import grid_difference
from osler.datasets.reordered import laid_onto
from osler.datasets.structures import joined, numbers_in, structure_reader
from osler.errors import Unsuitable
from osler.studies.formats import label_format, read_labels
from osler.studies.geometry import Array
from osler.studies.image import Image, Source

__all__ = ["OVERLAP_NOTE", "ComposedMask", "compose_mask", "paint", "values_of"]


OVERLAP_NOTE = "where labels overlap, the smaller one of the case has the voxel; osler inspect counts them"
"""What a layout whose masks lie in parts says of them."""


@dataclass(frozen=True)
class ComposedMask:
    """A mask with the values of its labels, and how many voxels two of them claim (lower value first)."""

    image: Image
    overlaps: Mapping[tuple[int, int], int] = field(default_factory=dict)


def compose_mask(root: Path, ref: ImageRef, *, onto: Image | None = None) -> ComposedMask:
    """Read a mask.

    Args:
        root: what relative paths are relative to.
        ref: a file, files per label (``layers``), or an image's shapes in a COCO file (``key`` is its id there).
        onto: the image that the mask is of; DICOM SEG and RTSTRUCT are laid onto its grid, and a file that covers the
            same voxels with its axes in another order is put into that of the image, which its notes say.

    Raises:
        StudyError: when a part cannot be read, is no mask, or lies on another grid than the others.
    """
    composed = _composed(root, ref, onto)
    return composed if onto is None else replace(composed, image=laid_onto(composed.image, onto))


def _composed(root: Path, ref: ImageRef, onto: Image | None) -> ComposedMask:
    path = root / ref.path
    if any(layer.structure is not None for layer in ref.layers):
        return _of_structures(root, ref.layers, onto)
    if ref.layers:
        return _of_layers(root, ref.layers)
    if coco.is_annotation_file(path):
        return _of_shapes(path, ref.key or "")
    return ComposedMask(read_labels(path, key=ref.key, index=ref.index, onto=onto))


def values_of(root: Path, ref: ImageRef) -> frozenset[int]:
    """The values that occur in a mask, 0 included.

    Raises:
        StudyError: when it cannot be read or is no mask.
    """
    path = root / ref.path
    if coco.is_annotation_file(path):
        return coco.load(path).values_in(ref.key or "") | {0}
    if ref.layers:
        present = {layer.value for layer in ref.layers if _is_drawn(root / layer.path, layer.structure)}
        return frozenset(present | {0})
    return _values_in_file(path, ref.key, ref.index)


def _is_drawn(path: Path, structure: int | None) -> bool:
    if structure is None:
        return bool(_values_in_file(path) - {0})
    return structure in numbers_in(path)


def _values_in_file(path: Path, key: str | None = None, index: int | None = None) -> frozenset[int]:
    return _values(path, key, index, path.stat().st_mtime_ns)


@lru_cache(maxsize=100_000)  # layouts ask for the names of values, splits for their presence
def _values(path: Path, key: str | None, index: int | None, _modified: int) -> frozenset[int]:
    found = label_format(path) if key is None else None
    if found is not None:  # contours have values before they have a grid
        return found.numbers_in(path) | {0}
    array = read_labels(path, key=key, index=index).array
    if array.dtype in (np.uint8, np.uint16):  # counting is much faster than sorting
        return frozenset(np.flatnonzero(np.bincount(array.ravel())).tolist())
    return frozenset(np.unique(array).tolist())


def paint(
    parts: Iterator[tuple[int, Array]], shape: tuple[int, ...], highest: int
) -> tuple[Array, dict[tuple[int, int], int]]:
    """Lay the parts of a mask over one another: of those that claim a voxel the smallest has it.

    Args:
        parts: value (each once) and (*shape) bool of every label.
        shape: of the mask.
        highest: the largest of the values.

    Returns:
        (*shape) of the smallest unsigned dtype that holds the values, and the voxels claimed by two, by value.
    """
    painted = np.zeros(shape, np.min_scalar_type(highest))
    sizes: dict[int, int] = {}
    overlaps: dict[tuple[int, int], int] = {}
    for value, inside in parts:
        size = int(np.count_nonzero(inside))
        before = painted[inside]
        taken = np.full(before.shape, value, painted.dtype)
        for other in np.unique(before[before != 0]).tolist():
            here = before == other
            overlaps[min(value, other), max(value, other)] = int(np.count_nonzero(here))
            if (sizes[other], other) < (size, value):
                taken[here] = other
        painted[inside] = taken
        sizes[value] = size
    return painted, overlaps


def _of_layers(root: Path, layers: Sequence[Layer]) -> ComposedMask:
    ordered = sorted(layers, key=lambda layer: layer.value)
    first = read_labels(root / ordered[0].path)

    def parts() -> Iterator[tuple[int, Array]]:
        for value, files in groupby(ordered, key=lambda layer: layer.value):
            masks = [_inside(root / file.path, first) for file in files]
            yield value, np.logical_or.reduce(masks)

    painted, overlaps = paint(parts(), first.array.shape[1:], ordered[-1].value)
    paths = tuple(root / layer.path for layer in ordered)
    return ComposedMask(replace(first, array=painted[None], source=replace(first.source, paths=paths)), overlaps)


def _of_structures(root: Path, layers: Sequence[Layer], onto: Image | None) -> ComposedMask:
    if onto is None:
        raise Unsuitable(
            f"{root / layers[0].path} can only be read with the image that it is of", remedy="read the whole case"
        )
    ordered = sorted(layers, key=lambda layer: layer.value)
    read = structure_reader(root, onto)

    def parts() -> Iterator[tuple[int, Array]]:
        for value, group in groupby(ordered, key=lambda layer: layer.value):
            yield value, joined(read, list(group))

    painted, overlaps = paint(parts(), onto.shape, ordered[-1].value)
    source = Source(tuple(root / path for path in dict.fromkeys(layer.path for layer in layers)), "dicom")
    mask = replace(onto, array=painted[None], units="", window=None, source=source)
    return ComposedMask(mask, overlaps)


def _inside(path: Path, first: Image) -> Array:
    """(*spatial) bool: where a file of one label has it."""
    image = laid_onto(read_labels(path), first)
    difference = grid_difference(first, image)
    if difference:
        raise Unsuitable(
            f"{path} lies on another grid than the other masks of its case: {difference}",
            remedy="export them on one grid",
        )
    values = np.unique(image.array)
    if np.count_nonzero(values) > 1:
        shown = ", ".join(str(v) for v in values[:6])
        raise Unsuitable(
            f"{path} should mark one label and holds the values {shown}", remedy="save one label per file, 0 elsewhere"
        )
    inside: Array = image.array[0] != 0
    return inside


def _of_shapes(path: Path, image_id: str) -> ComposedMask:
    file = coco.load(path)
    shape = file.shape_of(image_id)
    parts = ((value, inside.T) for value, inside in file.masks_of(image_id))  # (rows, columns) to (I, J)
    painted, overlaps = paint(parts, shape, max(file.categories, default=1))
    source = Source(paths=(path,), format="coco")
    return ComposedMask(Image(painted[None], spacing_known=False, source=source, orientation_known=False), overlaps)
