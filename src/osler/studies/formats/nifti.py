"""NIfTI-1 and NIfTI-2, single files (``.nii``, ``.nii.gz``).

Rules:
- An image is always 3D here: a 2D NIfTI or one slice is ``(C, I, J, 1)``. A fourth (or fifth) axis becomes channels.
- The affine is nibabel's choice: sform, else qform. Metre and micron headers become millimetres.
- Both codes 0: the header says nothing about the place. The spacing from ``pixdim`` is used with nibabel's base affine
  (voxel centre of the volume at 0, I grows to the left), and ``orientation_known`` is False.
- Voxels keep their stored dtype unless the header scales them (``scl_slope``, ``scl_inter``); scaled ones are float32.
"""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import Unreadable, UsageError
from osler.studies.formats.base import as_labels, has_suffix, reading
from osler.studies.geometry import Array
from osler.studies.image import Image, Source

if TYPE_CHECKING:
    import nibabel

__all__ = ["NAME", "SUFFIXES", "WRITES", "encode", "read", "read_labels", "sniff"]

NAME: str = "nifti"
SUFFIXES: tuple[str, ...] = (".nii", ".nii.gz")
WRITES: tuple[str, ...] = SUFFIXES
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: metre, millimetre, micron; 0 (unknown) is taken as mm
_GZIP_LEVEL = 4


def sniff(path: Path) -> bool:
    """Whether the name ends in ``.nii`` or ``.nii.gz``."""
    return has_suffix(path, SUFFIXES)


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a volume as (C, I, J, K) with its affine to RAS+ mm. ``key`` and ``index`` have no meaning here.

    Raises:
        Unreadable: damaged, truncated, or not NIfTI.
        GeometryError: when the affine is not finite or not invertible.
    """
    with reading(path, "a NIfTI file"):
        file = _load(path)
        header: Any = file.header
        array = _channels_first(np.asanyarray(file.dataobj), path)
        located = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
        affine = np.array(file.affine, dtype=np.float64)
        affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
        source = Source(paths=(path,), format=NAME)
        return Image(array, affine, source=source, orientation_known=located)


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a mask; see ``as_labels``."""
    return as_labels(read(path), path)


def encode(image: Image, suffix: str) -> bytes:
    """The bytes of a NIfTI-1 file; pixels (C, I, J) are written as one slice, channels as the fourth axis.

    Raises:
        UsageError: for a dtype that NIfTI does not have.
    """
    import nibabel

    array = image.array if image.array.ndim == 4 else image.array[..., None]
    voxels = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    file = nibabel.Nifti1Image(_storable(voxels), image.affine, dtype=_storable(voxels).dtype)
    base = file.header.get_base_affine()
    if not image.orientation_known and np.allclose(base, image.affine, atol=1e-4):
        code = 0  # the source said nothing about the place, and neither does the copy
    else:
        code = 1 if image.orientation_known else 2
    file.set_sform(image.affine, code=code)
    file.set_qform(image.affine, code=code, strip_shears=True)
    file.header.set_xyzt_units("mm")
    data = file.to_bytes()
    # mtime 0: the same image gives the same bytes.
    return gzip.compress(data, compresslevel=_GZIP_LEVEL, mtime=0) if suffix.endswith(".gz") else data


def _load(path: Path) -> nibabel.Nifti1Image:
    import nibabel

    data = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        data = gzip.decompress(data)  # to the end, so that the checksum is verified; nibabel stops before it
    is_second = int.from_bytes(data[:4], "little") == 540 or int.from_bytes(data[:4], "big") == 540
    kind = nibabel.Nifti2Image if is_second else nibabel.Nifti1Image
    try:
        file = kind.from_stream(io.BytesIO(data))
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise Unreadable(f"{path} is not a NIfTI file: {error}", remedy="export it again as NIfTI") from error
    except nibabel.wrapstruct.WrapStructError as error:
        raise Unreadable(f"{path} has a truncated or damaged NIfTI header", remedy="copy or export it again") from error
    _check_length(file.dataobj, len(data), path)
    return file


def _check_length(voxels: Any, length: int, path: Path) -> None:
    """Compare what the header promises with the bytes that there are."""
    needed = int(voxels.offset) + math.prod(voxels.shape) * int(voxels.dtype.itemsize)
    if length < needed:
        raise Unreadable(
            f"{path} is truncated: it holds {length} of the {needed} bytes that its header promises",
            remedy="copy or export it again",
        )


def _channels_first(voxels: Array, path: Path) -> Array:
    """(I, J), (I, J, K), (I, J, K, C) or (I, J, K, 1, C) to (C, I, J, K)."""
    if voxels.dtype.names:  # NIfTI's RGB24 and RGBA32
        voxels = np.stack([voxels[name] for name in voxels.dtype.names[:3]], axis=-1)
    if voxels.dtype.kind not in "iufb":
        raise Unreadable(f"{path} holds {voxels.dtype} values, and only real numbers can be used", remedy="convert it")
    if voxels.ndim == 5 and voxels.shape[3] == 1:
        voxels = voxels[:, :, :, 0]
    if not 2 <= voxels.ndim <= 4:
        raise Unreadable(
            f"{path} has axes {voxels.shape}; a study has two or three and one for channels",
            remedy="split it into volumes",
        )
    while voxels.ndim < 4:
        voxels = voxels[..., None]
    if voxels.dtype == np.float64:  # what nibabel makes of scaled integers; single precision is ample for images
        voxels = voxels.astype(np.float32)
    if not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    return np.moveaxis(voxels, -1, 0)


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
