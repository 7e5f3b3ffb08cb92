"""Structures of DICOM SEG and RTSTRUCT files as parts of a mask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from osler.datasets.manifest import Layer
from osler.errors import Unsuitable
from osler.studies.formats import label_format
from osler.studies.formats.base import LabelFormat
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.structures import StructureSet

__all__ = ["joined", "numbers_in", "structure_reader", "structures_in"]

_ONE_REGION = 0.1
"""Share of the smaller of two structures of one label that may lie in the other, when they come from two files."""


def structures_in(path: Path) -> StructureSet:
    """What a SEG or RTSTRUCT holds.

    Raises:
        StudyError: when it is neither, or damaged.
    """
    return _format(path).read_structures(path)


def numbers_in(path: Path) -> frozenset[int]:
    """The numbers of the structures that are drawn; a file is read once while it does not change.

    Raises:
        StudyError: when it cannot be read.
    """
    return _numbers_in(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=10_000)
def _numbers_in(path: Path, _modified: int) -> frozenset[int]:
    return _format(path).numbers_in(path)


def structure_reader(root: Path, onto: Image) -> Callable[[Layer], Array]:
    """From a layer to its voxels, (*spatial) bool on the grid of ``onto``; each file is parsed once."""
    opened: dict[str, Callable[[int], Array]] = {}

    def read(layer: Layer) -> Array:
        path = root / layer.path
        if layer.structure is None:
            raise Unsuitable(
                f"{path} lies beside DICOM structures and names none", remedy="name the structure, as '#structure=1'"
            )
        if layer.path not in opened:
            opened[layer.path] = _format(path).read_masks(path, onto=onto)
        return opened[layer.path](layer.structure)

    return read


def joined(read: Callable[[Layer], Array], layers: Sequence[Layer]) -> Array:
    """All parts of one label together.

    Raises:
        Unsuitable: when two files hold the same thing (two readers, two versions): which of them is meant is not known.
    """
    whole = read(layers[0])
    files: dict[str, Array] = {layers[0].path: whole}
    for layer in layers[1:]:
        mask = read(layer)
        for path, other in files.items():
            shared, smaller = np.count_nonzero(mask & other), min(np.count_nonzero(mask), np.count_nonzero(other))
            if path != layer.path and shared > _ONE_REGION * smaller:
                raise Unsuitable(
                    f"{layer.path} and {path} hold the same label and overlap in {shared} voxels, as two readers' work",
                    remedy="keep one of the two files, or give their labels different names",
                )
        files[layer.path] = files[layer.path] | mask if layer.path in files else mask
        whole = whole | mask
    return whole


def _format(path: Path) -> LabelFormat:
    found = label_format(path)
    if found is None:
        raise Unsuitable(f"{path} is no DICOM SEG or RTSTRUCT", remedy="give one, or a mask of another format")
    return found
