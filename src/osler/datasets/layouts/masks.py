"""Checks of images against their masks, from headers where these say enough, in parallel threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from osler.datasets import coco
from osler.datasets.layouts.files import LOSSY, image_suffix
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.mask_sources import values_of
from osler.errors import DatasetError, GridMismatch, StudyError
from osler.studies.files import kind_of_file
from osler.studies.formats import dicom, label_format, metaimage, nrrd
from osler.studies.formats.base import reading
from osler.studies.formats.nifti import read_grid
from osler.studies.geometry import Array, spacing_of

__all__ = ["Grid", "all_values", "check_grids", "grid_mismatch", "grid_of", "refuse_lossy"]

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_MOST_VALUES = 64
_MOST_TOLD = 20  # cases in one error
_THREADS = 8


def refuse_lossy(masks: Sequence[Path]) -> None:
    """Raises:
    DatasetError: when a mask is a JPEG, whose compression changes values.
    """
    lossy = [m for m in masks if image_suffix(m.name) in LOSSY]
    if lossy:
        raise DatasetError(
            f"{len(lossy)} masks are JPEG files, whose compression changes label values ({lossy[0].name})",
            remedy="save the masks as PNG, TIFF or NIfTI from where they were drawn",
        )


def all_values(root: Path, masks: Sequence[ImageRef]) -> frozenset[int]:
    """The values that occur in any of the masks, whose paths are relative to ``root``.

    Raises:
        DatasetError: when there are so many that these are pictures and not masks.
    """
    found: set[int] = set()
    with ThreadPoolExecutor(_THREADS) as pool:
        for ref, values in zip(masks, pool.map(lambda one: values_of(root, one), masks), strict=True):
            found |= values
            if len(found) > _MOST_VALUES:
                raise DatasetError(
                    f"the masks hold more than {_MOST_VALUES} different values (up to {Path(ref.path).name}), "
                    "so they look like pictures rather than labels",
                    remedy="save masks with one whole number per label, without smoothing of their edges",
                )
    return frozenset(found)


def check_grids(manifest: Manifest) -> None:
    """Every mask must lie on the grid of its image, and every channel too, as far as headers tell.

    Raises:
        GridMismatch: naming all cases for which that is not so.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        problems = [p for p in pool.map(lambda record: _mismatch(manifest, record), manifest.records) if p]
    if problems:
        count = "" if len(problems) == 1 else f"{len(problems)} of {len(manifest.records)} masks do not fit: "
        rest = len(problems) - _MOST_TOLD
        raise GridMismatch(
            count + "; ".join(problems[:_MOST_TOLD]) + (f"; and {rest} more" if rest > 0 else ""),
            remedy="export each mask on the grid of its image (same size and position); osler inspect lists all faults",
        )


def _mismatch(manifest: Manifest, record: Record) -> str:
    """In words how a mask and the channels of its image differ; "" when they do not."""
    if record.mask is None:
        return ""
    masks = [grid_of(manifest.root / path, record.mask.key) for path in record.mask.paths]
    found = []
    for channel, ref in record.images.items():
        image = grid_of(manifest.root / ref.path, ref.key)
        whose = "its image" if len(record.images) == 1 else f"channel {channel}"
        found += [problem for mask in masks if (problem := grid_mismatch(image, mask, whose=whose))]
    return f"the mask of {record.name} {', '.join(dict.fromkeys(found))}" if found else ""


def grid_mismatch(image: Grid | None, mask: Grid | None, *, tolerance: float = 1.0, whose: str = "its image") -> str:
    """How a mask's grid differs from its image's, in words; "" when it does not, or a header does not tell.

    Args:
        image, mask: their grids.
        tolerance: voxels that corners may lie apart.
        whose: what the sentence calls the image.
    """
    if mask is None or image is None:
        return ""
    if _trimmed(mask[0]) != _trimmed(image[0]):
        return f"has {_size(mask[0])} voxels and {whose} {_size(image[0])}"
    distance = _largest_distance(image, mask)
    return f"lies up to {distance:.2g} voxels away from {whose}" if distance > tolerance else ""


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A volume of one slice as that slice: formats differ in which of the two they write."""
    return shape[:2] if shape[2:] == (1,) else shape


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


Grid = tuple[tuple[int, ...], Array | None]
"""Shape (I, J[, K]) and affine; None for a picture's."""


def grid_of(path: Path, key: str | None = None) -> Grid | None:
    """Shape and affine from a header, or of an image (its id is the key) in a COCO file.

    None when it takes more than a header, or the file cannot be opened: the reader will say what is wrong with it.
    """
    if coco.is_annotation_file(path):
        return coco.load(path).shape_of(key or ""), None
    suffix = image_suffix(path.name)
    if suffix in (".nii", ".nii.gz"):
        return _nifti_grid(path)
    if suffix in _PICTURES:
        return _picture_grid(path)
    reader = (
        nrrd.read_grid if suffix in nrrd.SUFFIXES else metaimage.read_grid if suffix in metaimage.SUFFIXES else None
    )
    try:
        if reader is not None:
            return reader(path)
        is_dicom = path.is_dir() or (not suffix and kind_of_file(path) == "dicom") or suffix in dicom.SUFFIXES
        return dicom.read_grid(path, key) if is_dicom and label_format(path) is None else None
    except StudyError:
        return None


def _nifti_grid(path: Path) -> Grid | None:
    try:
        return read_grid(path)
    except StudyError:
        return None


def _picture_grid(path: Path) -> Grid | None:
    import PIL.Image

    try:
        with reading(path, "a picture"), PIL.Image.open(path) as file:
            size, turned = file.size, file.getexif().get(274, 1) in (5, 6, 7, 8)
    except StudyError:
        return None
    return (size[1], size[0]) if turned else size, None


def _largest_distance(image: Grid, mask: Grid) -> float:
    """How far, in the image's voxels, the corners of two grids of one shape lie apart; 0 where a place is unknown."""
    if image[1] is None or mask[1] is None:
        return 0.0
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in (*image[0], 1)[:3]])).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
    apart = ((image[1] - mask[1]) @ homogeneous)[:3]
    return float(np.linalg.norm(apart, axis=0).max() / min(spacing_of(image[1])))
