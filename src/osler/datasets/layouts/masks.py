"""Checks of images against their masks, from headers where these say enough, in parallel threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from osler.datasets.layouts.files import LOSSY, image_suffix
from osler.datasets.manifest import Manifest, Record
from osler.errors import DatasetError, GridMismatch
from osler.studies.formats import read_labels
from osler.studies.geometry import Array, spacing_of

__all__ = ["all_values", "check_grids", "refuse_lossy", "values_in"]

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


def values_in(path: Path) -> frozenset[int]:
    """The values that occur in a mask, 0 included.

    Raises:
        StudyError: when it cannot be read or holds no whole numbers.
    """
    return _values_in(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=100_000)  # layouts ask for the names of values, splits for their presence
def _values_in(path: Path, _modified: int) -> frozenset[int]:
    array = read_labels(path).array
    if array.dtype in (np.uint8, np.uint16):  # counting is much faster than sorting
        return frozenset(np.flatnonzero(np.bincount(array.ravel())).tolist())
    return frozenset(np.unique(array).tolist())


def all_values(masks: Sequence[Path]) -> frozenset[int]:
    """The values that occur in any of the masks.

    Raises:
        DatasetError: when there are so many that these are pictures and not masks.
    """
    found: set[int] = set()
    with ThreadPoolExecutor(_THREADS) as pool:
        for path, values in zip(masks, pool.map(values_in, masks), strict=True):
            found |= values
            if len(found) > _MOST_VALUES:
                raise DatasetError(
                    f"the masks hold more than {_MOST_VALUES} different values (up to {path.name}), "
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
    mask = None if record.mask is None else _grid_of(manifest.root / record.mask.path)
    if mask is None:
        return ""
    found = []
    for channel, ref in record.images.items():
        image = _grid_of(manifest.root / ref.path)
        if image is None:
            continue
        whose = "its image" if len(record.images) == 1 else f"channel {channel}"
        if mask[0] != image[0]:
            found.append(f"has {_size(mask[0])} voxels and {whose} {_size(image[0])}")
        elif (distance := _largest_distance(image, mask)) > 1:
            found.append(f"lies up to {distance:.0f} voxels away from {whose}")
    return f"the mask of {record.name} {', '.join(found)}" if found else ""


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


_Grid = tuple[tuple[int, ...], Array | None]


def _grid_of(path: Path) -> _Grid | None:
    """Shape (I, J[, K]) and affine (None for pictures) from a header; None when it takes more than a header.

    A file that cannot be opened here gives None: the reader will say what is wrong with it.
    """
    suffix = image_suffix(path.name)
    if path.is_dir():
        return None
    if suffix in (".nii", ".nii.gz"):
        return _nifti_grid(path)
    return _picture_grid(path) if suffix and not suffix.startswith((".d", ".i")) else None


def _nifti_grid(path: Path) -> _Grid | None:
    import nibabel

    try:
        file: Any = nibabel.load(path)
    except (OSError, EOFError, ValueError, nibabel.filebasedimages.ImageFileError):
        return None
    shape = (*file.shape, 1)[:3]
    header = file.header
    located = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
    return tuple(int(n) for n in shape), np.asarray(file.affine, float) if located else None


def _picture_grid(path: Path) -> _Grid | None:
    import PIL.Image

    try:
        with PIL.Image.open(path) as file:
            size, turned = file.size, file.getexif().get(274, 1) in (5, 6, 7, 8)
    except (OSError, ValueError, SyntaxError):
        return None
    return (size[1], size[0]) if turned else size, None


def _largest_distance(image: _Grid, mask: _Grid) -> float:
    """How far, in the image's voxels, the corners of two grids of one shape lie apart; 0 where a place is unknown."""
    if image[1] is None or mask[1] is None:
        return 0.0
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image[0]])).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
    apart = ((image[1] - mask[1]) @ homogeneous)[:3]
    return float(np.linalg.norm(apart, axis=0).max() / min(spacing_of(image[1])))
