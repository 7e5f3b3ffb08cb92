"""NIfTI-1 and NIfTI-2: single files (``.nii``, ``.nii.gz``) and pairs (``.hdr`` or ``.hdr.gz`` with ``.img``).

Rules:
- An image is always 3D here: a 2D NIfTI or one slice is ``(C, I, J, 1)``. A fourth (or fifth) axis becomes channels;
  ``index`` takes one volume of the fourth, ``read_frames`` each of them.
- Where the voxels lie: see ``_nifti_geometry``. With both codes 0 the header says nothing about the place: the spacing
  is used, the centre of the volume put at 0, and ``orientation_known`` is False.
- Voxels keep their stored dtype unless the header scales them (``scl_slope``, ``scl_inter``); scaled ones are float32.
- Analyze 7.5, which says neither where left is nor how its values are scaled, and CIFTI-2 are refused.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import Unreadable, Unsuitable, UsageError
from osler.studies.formats import _bytes
from osler.studies.formats._planes import StoredPlanes, volume_of
from osler.studies.formats._volumes import Volumes, as_channels, is_sheared, only_real, without_alpha
from osler.studies.formats.base import as_labels, has_suffix, peek, reading
from osler.studies.frames import Frames
from osler.studies.geometry import Array
from osler.studies.image import Image, Source
from osler.studies.volume import ImageLike, Volume, stand_in

__all__ = [
    "NAME",
    "SUFFIXES",
    "WRITES",
    "encode",
    "header_of",
    "open_volume",
    "read",
    "read_frames",
    "read_grid",
    "read_labels",
    "sniff",
]

NAME: str = "nifti"
SUFFIXES: tuple[str, ...] = (".nii", ".nii.gz", ".hdr", ".hdr.gz")
WRITES: tuple[str, ...] = (".nii", ".nii.gz")
_GZIP_LEVEL = 4
_HEAD = 2**16  # bytes: far more than a header takes, compressed or not
_LONGEST = 32767  # voxels along an axis that NIfTI-1 can count
_CIFTI = range(3000, 3100)  # intent codes


def sniff(path: Path) -> bool:
    """Whether the name ends in ``.nii`` or ``.nii.gz``, or it is the ``.hdr`` of a pair (Analyze's too)."""
    if has_suffix(path, (".nii", ".nii.gz")):
        return True
    if not has_suffix(path, (".hdr", ".hdr.gz")):
        return False
    try:
        return _version(_head(path)) > 0 or path.stat().st_size == 0
    except (OSError, EOFError, zlib.error):
        return True  # reading says what is wrong with it


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a volume as (C, I, J, K) with its affine to RAS+ mm; ``index`` chooses one of a 4D file.

    Raises:
        Unreadable: damaged, truncated, or not NIfTI.
        GeometryError: when the header does not say where the voxels lie, or says two things.
        Unsuitable: several volumes of several channels, and none was chosen.
        UsageError: when there is no such volume.
    """
    with reading(path, "a NIfTI file"):
        return _read(path).image(index)


def open_volume(path: Path, *, key: str | None = None, index: int | None = None) -> Volume | None:
    """A volume of one channel, to be read as its planes are asked for; None for any other file. As ``read``."""
    if index is not None:
        return None
    with reading(path, "a NIfTI file"):
        from osler.studies.formats._nifti_geometry import affine_of

        header, unrepaired = _header(path, _head(path))
        data = _data_file(path)
        layout = _layout(header, data, path)
        if layout.dtype.names is not None or layout.axes[3:] != (1, 1):
            return None
        affine, located = affine_of(unrepaired, path)
        scaling = _scaling(header)
        shown = layout.dtype.newbyteorder("=") if scaling is None else np.dtype(np.float32)
        source = Source(paths=(path,) if data == path else (path, data), format=NAME)
        like = Volumes(stand_in(layout.axes, shown), affine, source, orientation_known=located).image()
    shape = layout.axes[:3]
    stored = StoredPlanes(
        path, "a NIfTI file", data, 0, layout.offset, layout.compressed, layout.dtype,
        (shape[0], shape[1], shape[2]), partial(_scaled, scaling=scaling),
    )  # fmt: skip
    return volume_of(like, stored, partial(read, path))


def read_frames(path: Path, *, start: int = 0, stop: int | None = None, step: int = 1) -> Frames:
    """Read the volumes of a 4D file, each as (C, I, J, K); errors as ``read``."""
    with reading(path, "a NIfTI file"):
        return _read(path).frames(start, stop, step)


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a mask; see ``as_labels``."""
    return as_labels(read(path, index=index), path)


def encode(image: Image, suffix: str) -> bytes:
    """The bytes of a NIfTI file; pixels (C, I, J) are written as one slice, channels as the fourth axis.

    NIfTI-1, or NIfTI-2 when an axis is longer than NIfTI-1 can count. An image whose orientation is not known gets the
    codes 0, and only its spacing is kept. A sheared affine is only in the sform: a qform cannot hold it.

    Raises:
        UsageError: for a dtype that NIfTI does not have.
    """
    channels = as_channels(image)  # (I, J[, K], C)
    volume = channels if image.dimensions == 3 else channels[:, :, None]
    voxels = _storable(volume[..., 0] if volume.shape[-1] == 1 else volume)
    data = _empty(image, voxels).to_bytes()
    # mtime 0: the same image gives the same bytes.
    return gzip.compress(data, compresslevel=_GZIP_LEVEL, mtime=0) if suffix.endswith(".gz") else data


def header_of(image: ImageLike, dtype: np.dtype[Any]) -> bytes:
    """What ``encode`` writes before the voxels of a volume of one channel on the grid of ``image``.

    Args:
        image: 3D.
        dtype: of the voxels; integers of at most 32 bits.
    """
    voxels = np.zeros((1,) * 3, dtype)
    file = _empty(image, voxels, long=max(image.shape) > _LONGEST)
    head = file.to_bytes()[: -voxels.nbytes]
    size = file.header.sizeof_hdr
    header = type(file.header)(head[:size])
    header.set_data_shape(image.shape)
    return bytes(header.binaryblock) + bytes(head[size:])


def _empty(image: ImageLike, voxels: Array, *, long: bool = False) -> Any:
    """nibabel's image of voxels in the place of ``image``."""
    import nibabel

    kind: Any = nibabel.Nifti2Image if long or max(voxels.shape) > _LONGEST else nibabel.Nifti1Image
    file = kind(voxels, None, dtype=voxels.dtype)
    file.header.set_zooms((*(image.spacing), 1.0, 1.0)[: voxels.ndim])
    if image.orientation_known:
        file.set_sform(image.affine, code=1)
        if not is_sheared(image.affine):
            file.set_qform(image.affine, code=1)
    file.header.set_xyzt_units("mm")
    return file


def read_grid(path: Path) -> tuple[tuple[int, ...], Array | None]:
    """Shape (I, J, K) and affine to RAS+ mm (None when the header does not say it), from the header alone.

    Raises:
        Unreadable, GeometryError: as ``read``.
    """
    with reading(path, "a NIfTI file"):
        from osler.studies.formats._nifti_geometry import affine_of

        header, unrepaired = _header(path, _head(path))
        affine, located = affine_of(unrepaired, path)
        return tuple(int(side) for side in (*header.get_data_shape(), 1, 1, 1)[:3]), affine if located else None


def _read(path: Path) -> Volumes:
    from osler.studies.formats._nifti_geometry import affine_of, times_of

    header, unrepaired = _header(path, _head(path))
    data = _data_file(path)
    voxels = _scaled(_stored(_layout(header, data, path), data, path), _scaling(header))
    affine, located = affine_of(unrepaired, path)
    paths = (path,) if data == path else (path, data)
    source = Source(paths=paths, format=NAME)
    return Volumes(voxels, affine, source, orientation_known=located, times_s=times_of(header, voxels.shape[3]))


def _head(path: Path) -> bytes:
    """The first 540 bytes, decompressed; fewer when there are no more.

    Raises:
        OSError, EOFError, zlib.error: when they cannot be decompressed.
    """
    data = peek(path, _HEAD)
    if not path.name.lower().endswith(".gz"):
        return data[:540]
    if data[:2] != b"\x1f\x8b":
        raise gzip.BadGzipFile("Not a gzipped file")
    inflater = zlib.decompressobj(31)  # of the first bytes only: what follows may be long
    head = inflater.decompress(data, 540)
    if len(head) < 348 and not inflater.eof:
        raise EOFError
    return head


def _version(head: bytes) -> int:
    """1 or 2 by the size that a header begins with, 0 for neither."""
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    return 2 if 540 in sizes else 1 if 348 in sizes else 0


def _header(path: Path, head: bytes) -> tuple[Any, Any]:
    """nibabel's header, and the same before nibabel repaired what it could (a handedness that is neither, say)."""
    import nibabel

    version = _version(head)
    kind: Any = nibabel.Nifti2Header if version == 2 else nibabel.Nifti1Header
    size = 540 if version == 2 else 348
    if len(head) < size or not version:
        raise Unreadable(f"{path} has no whole NIfTI header", remedy="export it again as NIfTI")
    magic = head[4:8] if version == 2 else head[344:348]
    if magic[:2] not in (b"n+", b"ni"):
        raise Unreadable(
            f"{path} is Analyze 7.5 or damaged: it says neither where left is nor how its values are scaled",
            remedy="convert it to NIfTI with the software that wrote it",
        )
    if (magic[:2] == b"ni") != has_suffix(path, (".hdr", ".hdr.gz")):
        raise Unreadable(
            f"{path} has the header of {'a pair' if magic[:2] == b'ni' else 'a single file'}, and its name says else",
            remedy="name pairs .hdr and .img, single files .nii",
        )
    try:
        header = kind(head[:size], check=True)
    except (nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError) as error:
        raise Unreadable(f"{path} has a damaged NIfTI header: {error}", remedy="export it again as NIfTI") from error
    if int(header["intent_code"]) in _CIFTI:
        raise Unreadable(f"{path} is CIFTI-2 (connectivity), which holds no image", remedy="give the volume itself")
    return header, kind(head[:size], check=False)


def _data_file(path: Path) -> Path:
    """The file itself, or the ``.img`` of a pair."""
    if not has_suffix(path, (".hdr", ".hdr.gz")):
        return path
    stem = path.name.lower().removesuffix(".gz").removesuffix(".hdr")
    stem = path.name[: len(stem)]
    names = [
        stem + suffix for suffix in (".img", ".img.gz", ".IMG", ".IMG.gz") if (path.parent / (stem + suffix)).is_file()
    ]
    if not names:
        raise Unreadable(f"{path} is one half of a pair, and {stem}.img is not there", remedy="copy both files")
    return _bytes.beside(path, names[0])


@dataclass(frozen=True)
class _Layout:
    """How the voxels lie in their file: ``axes`` (I, J, K, T, V), ``size`` and ``offset`` in bytes."""

    dtype: np.dtype[Any]
    axes: tuple[int, ...]
    size: int
    offset: int
    compressed: bool


def _layout(header: Any, data: Path, path: Path) -> _Layout:
    """What the header announces, after looking whether the file can hold it."""
    dtype, shape = header.get_data_dtype(), tuple(int(side) for side in header.get_data_shape())
    if dtype.names is None:
        only_real(dtype, path)
    axes = (*shape, *(1,) * (5 - len(shape)))
    if len(shape) < 1 or min(shape) < 1 or any(side > 1 for side in axes[5:]):
        raise Unreadable(
            f"{path} has axes {shape}; a study has two or three, one for time and one for channels",
            remedy="split it into volumes",
        )
    size, offset = _bytes.count_bytes(shape, dtype), max(0, int(header.get_data_offset()))
    scaled = _bytes.count_bytes(shape, np.dtype(np.float32)) if _scaling(header) else 0
    compressed = data.name.lower().endswith(".gz")
    stored = data.stat().st_size
    _bytes.check_size(path, size + offset, stored, "gzip" if compressed else "raw")
    _bytes.check_bomb(path, size + scaled, stored)
    return _Layout(dtype, axes[:5], size, offset, compressed)


def _stored(layout: _Layout, data: Path, path: Path) -> Array:
    """(I, J, K, T, V) as stored."""
    with data.open("rb") as file:
        if layout.compressed:
            buffer = _bytes.inflate(file, layout.size, path, "gzip", layout.offset)
        else:
            _bytes.skip(file, layout.offset, path)
            buffer = _bytes.fill(file, layout.size, path)
    if layout.dtype.names is None:
        return _bytes.to_array(buffer, layout.dtype, layout.axes)
    return _colours(buffer, len(layout.dtype.names), layout.axes, path)


def _colours(buffer: bytearray, count: int, axes: tuple[int, ...], path: Path) -> Array:
    """NIfTI's RGB24 and RGBA32 to a last axis of three."""
    if axes[4] > 1:
        raise Unsuitable(f"{path} holds several colours in one voxel", remedy="split it into volumes")
    colours = np.moveaxis(_bytes.to_array(buffer, np.dtype(np.uint8), (count, *axes[:4])), 0, -1)
    return without_alpha(colours, path) if count == 4 else colours


def _scaling(header: Any) -> tuple[float, float] | None:
    """Slope and intercept of the values; None when they are as stored."""
    slope, intercept = header.get_slope_inter()
    return None if slope is None or (slope == 1 and intercept == 0) else (slope, intercept)


def _scaled(voxels: Array, scaling: tuple[float, float] | None) -> Array:
    """After ``scl_slope`` and ``scl_inter``, plane by plane so that double precision is only needed for one."""
    if scaling is None:
        return voxels
    slope, intercept = scaling
    result = np.empty(voxels.shape, np.float32, order="F")
    for place in np.ndindex(voxels.shape[2:]):
        result[(..., *place)] = voxels[(..., *place)] * np.float64(slope) + np.float64(intercept)
    return result


def _storable(voxels: Array) -> Array:
    """The same values in a dtype that NIfTI has and that other tools read."""
    dtype = voxels.dtype
    if dtype.kind == "b":
        return voxels.astype(np.uint8)
    if dtype == np.float16:
        return voxels.astype(np.float32)
    if dtype in (np.int64, np.uint64) and np.abs(voxels).max(initial=0) < 2**31:
        return voxels.astype(np.int32)
    if dtype.kind not in "iuf":
        raise UsageError(f"NIfTI cannot hold {dtype} values", remedy="convert them to integers or floats")
    return voxels
