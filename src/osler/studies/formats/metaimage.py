"""MetaImage: ``.mha``, and ``.mhd`` with data files beside it.

Source: the MetaIO documentation (itk.org/Wiki/ITK/MetaIO) and, where it is silent, what ITK writes: world coordinates
are LPS, ``TransformMatrix`` gives the direction of one axis after the other, ``Offset`` the centre of the first voxel.

Rules:
- ``AnatomicalOrientation`` is not used, as in ITK: software does not agree on whether its letters name where an axis
  comes from or goes to. Only ``???`` counts: the orientation is unknown. So it is without a ``TransformMatrix``.
- No ``ElementSpacing`` (nor ``ElementSize``): the spacing is unknown.
- A fourth axis holds frames, ``ElementNumberOfChannels`` values of a voxel: see ``_volumes``.
- Data files lie in the folder of the header or below; others are refused.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from osler.errors import GeometryError, Unreadable, UsageError
from osler.studies.formats import _bytes
from osler.studies.formats._planes import StoredPlanes, volume_of
from osler.studies.formats._volumes import Volumes, as_channels, unplaced_affine
from osler.studies.formats.base import as_labels, has_suffix, reading
from osler.studies.frames import Frames
from osler.studies.geometry import LPS_TO_RAS, PICTURE_AFFINE, Array
from osler.studies.image import Image, Source
from osler.studies.volume import Volume, stand_in

__all__ = [
    "NAME",
    "SUFFIXES",
    "WRITES",
    "encode",
    "open_volume",
    "read",
    "read_frames",
    "read_grid",
    "read_labels",
    "sniff",
]

NAME: str = "metaimage"
SUFFIXES: tuple[str, ...] = (".mha", ".mhd")
WRITES: tuple[str, ...] = (".mha",)
_TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # MetaIO's long has 4 bytes on every machine
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_WRITTEN = {kind: name for name, kind in reversed(_TYPES.items())}
_ALIASES = {
    "position": "offset",
    "origin": "offset",
    "rotation": "transformmatrix",
    "orientation": "transformmatrix",
    "elementbyteordermsb": "binarydatabyteordermsb",
}
_MM_PER_UNIT = {"": 1.0, "?": 1.0, "mm": 1.0, "cm": 10.0, "um": 1e-3}
_MOST_LINES, _LONGEST_LINE = 10_000, 2**16
_ZLIB_LEVEL = 4


def sniff(path: Path) -> bool:
    """Whether the name ends in ``.mha`` or ``.mhd``."""
    return has_suffix(path, SUFFIXES)


def read(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a volume as (C, I, J, K), a picture as (C, I, J); ``index`` chooses a frame of a 4D file.

    Raises:
        Unreadable: damaged, truncated, not MetaImage, or data that are not there.
        GeometryError: when the header's geometry makes no sense.
        Unsuitable: several frames of several channels, and none was chosen.
        UsageError: when there is no such frame.
    """
    with reading(path, "a MetaImage file"):
        return _read(path).image(index)


def open_volume(path: Path, *, key: str | None = None, index: int | None = None) -> Volume | None:
    """An uncompressed volume of one channel in one file, to be read as its planes are asked for; None for any other.
    As ``read``."""
    with reading(path, "a MetaImage file"):
        fields, start = _parse(path)
        sizes, dtype, files = _sizes(fields, path), _dtype(fields, path), _data_files(fields, path)
        plain = _is_true(fields.get("binarydata", "True")) and not _is_true(fields.get("compresseddata", "False"))
        single = fields.get("elementnumberofchannels", "1") == "1" and len(files) == 1
        if index is not None or not plain or not single or len(sizes) != 3:
            return None
        data, start = files[0], start if files[0] == path else 0
        size, there = _bytes.count_bytes(sizes, dtype), data.stat().st_size
        _bytes.check_size(path, size, there, "text")
        _bytes.check_size(path, size, there - start, "raw")
        like = _volumes(fields, stand_in((1, *sizes), dtype.newbyteorder("=")), sizes, files, path).image()
        skip = int(fields.get("headersize", "0"))
        first = max(0, there - size) if skip < 0 else start + max(0, skip)
    shape = (sizes[0], sizes[1], sizes[2])
    stored = StoredPlanes(path, "a MetaImage file", data, first, 0, False, dtype, shape, _unchanged)
    return volume_of(like, stored, partial(read, path))


def _unchanged(voxels: Array) -> Array:
    return voxels


def read_frames(path: Path, *, start: int = 0, stop: int | None = None, step: int = 1) -> Frames:
    """Read the frames of a 4D file; errors as ``read``."""
    with reading(path, "a MetaImage file"):
        return _read(path).frames(start, stop, step)


def read_grid(path: Path) -> tuple[tuple[int, ...], Array | None]:
    """Shape (I, J[, K]) and affine, from the header; the affine is None when the spacing is unknown.

    Raises:
        StudyError: as ``read``.
    """
    with reading(path, "a MetaImage file"):
        fields, _ = _parse(path)
        sizes = _sizes(fields, path)
        affine, spacing_known, _ = _place(fields, sizes, path)
        return sizes[:3], affine if spacing_known else None


def read_labels(path: Path, *, key: str | None = None, index: int | None = None) -> Image:
    """Read a mask; see ``as_labels``."""
    return as_labels(read(path, index=index), path)


def encode(image: Image, suffix: str) -> bytes:
    """The bytes of an ``.mha`` file, compressed. A picture keeps its spacing; an unknown orientation stays unknown.

    Raises:
        UsageError: for a dtype that MetaImage does not have.
    """
    voxels = as_channels(image)
    if voxels.dtype in (bool, np.float16):
        voxels = voxels.astype(np.uint8 if voxels.dtype == bool else np.float32)
    name = _WRITTEN.get(voxels.dtype.str[1:])
    if name is None:
        raise UsageError(f"MetaImage cannot hold {voxels.dtype} values", remedy="convert them to integers or floats")
    little = np.moveaxis(voxels, -1, 0).astype(voxels.dtype.newbyteorder("<"), copy=False)  # values vary fastest
    data = zlib.compress(little.tobytes(order="F"), _ZLIB_LEVEL)
    lines = [
        "ObjectType = Image",
        f"NDims = {image.dimensions}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {len(data)}",
        *_place_lines(image),
        f"DimSize = {' '.join(str(side) for side in image.shape)}",
        *([f"ElementNumberOfChannels = {voxels.shape[-1]}"] if voxels.shape[-1] > 1 else []),
        f"ElementType = {name}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode() + data


def _place_lines(image: Image) -> list[str]:
    spacing = f"ElementSpacing = {_joined(image.spacing)}"
    if not image.spacing_known:
        return []
    if image.dimensions == 2:  # a matrix of two by two cannot place a slice in the patient
        return [spacing]
    affine = LPS_TO_RAS @ image.affine
    matrix = affine[:3, :3] / np.array(image.spacing)
    return [
        f"TransformMatrix = {_joined(matrix.T.ravel())}",
        f"Offset = {_joined(affine[:3, 3])}",
        "CenterOfRotation = 0 0 0",
        *([] if image.orientation_known else ["AnatomicalOrientation = ???"]),
        spacing,
    ]


def _joined(numbers: Array | tuple[float, ...]) -> str:
    return " ".join(repr(float(number)) for number in numbers)


def _read(path: Path) -> Volumes:
    fields, start = _parse(path)
    sizes = _sizes(fields, path)
    dtype = _dtype(fields, path)
    values = int(fields.get("elementnumberofchannels", "1"))
    if not 1 <= values <= 10_000:
        raise Unreadable(f"{path} has {values} channels", remedy="repair the header")
    files = _data_files(fields, path)
    return _volumes(fields, _samples(fields, files, start, dtype, (values, *sizes), path), sizes, files, path)


def _volumes(
    fields: Mapping[str, str], samples: Array, sizes: tuple[int, ...], files: list[Path], path: Path
) -> Volumes:
    """Samples (V, I, J[, K[, T]]) with their place."""
    voxels = np.moveaxis(samples, 0, -1)  # (I, J[, K[, T]], V)
    if len(sizes) < 4:
        voxels = np.expand_dims(voxels, len(sizes))
    affine, spacing_known, orientation_known = _place(fields, sizes, path)
    source = Source(paths=(path, *(one for one in files if one != path)), format=NAME)
    return Volumes(voxels, affine, source, spacing_known=spacing_known, orientation_known=orientation_known)


def _parse(path: Path) -> tuple[dict[str, str], int]:
    """The header by names in lower case, and where it ends; ``ElementDataFile`` is its last line."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for _ in range(_MOST_LINES):
            line = file.readline(_LONGEST_LINE).decode("utf-8", "replace")
            name, equals, value = line.partition("=")
            if not equals:
                raise Unreadable(
                    f"{path} has a header line that is no field: {line.strip()[:60]!r}", remedy="export it again"
                )
            name = name.strip().lower()
            fields[_ALIASES.get(name, name)] = value.strip()
            if name == "elementdatafile":
                if value.split()[:1] == ["LIST"]:
                    fields["listed files"] = file.read(2**20).decode("utf-8", "replace").strip()
                return fields, file.tell()
    raise Unreadable(f"{path} has a header of more than {_MOST_LINES} lines", remedy="export it again")


def _sizes(fields: Mapping[str, str], path: Path) -> tuple[int, ...]:
    sizes = tuple(int(token) for token in fields.get("dimsize", "").split())
    kind = fields.get("objecttype", "Image")
    if kind.lower() != "image":
        raise Unreadable(f"{path} holds a MetaIO object of the type {kind[:30]!r}, no image", remedy="give the image")
    if len(sizes) not in (2, 3, 4) or min(sizes) < 1 or fields.get("ndims") != str(len(sizes)):
        raise Unreadable(
            f"{path} has DimSize {fields.get('dimsize', '')!r} and NDims {fields.get('ndims', '')!r}",
            remedy="give an image of two or three dimensions, and at most one of time",
        )
    return sizes


def _dtype(fields: Mapping[str, str], path: Path) -> np.dtype[np.generic]:
    name = fields.get("elementtype", "").upper().removesuffix("_ARRAY")
    if name not in _TYPES:
        raise Unreadable(
            f"{path} holds values of the type {fields.get('elementtype', '')!r}", remedy="save it as integers or floats"
        )
    big = _is_true(fields.get("binarydatabyteordermsb", "False"))
    return np.dtype(_TYPES[name]).newbyteorder(">" if big else "<")


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("true", "t", "1", "yes")


def _data_files(fields: Mapping[str, str], path: Path) -> list[Path]:
    entry = fields["elementdatafile"]
    if entry.upper() == "LOCAL":
        return [path]
    if "listed files" in fields:
        names = [line.strip() for line in fields["listed files"].splitlines() if line.strip()]
        return [_bytes.beside(path, name) for name in names]
    pattern = re.fullmatch(r"([^%\s]*%0?\d?d[^%\s]*)\s+(\d+)\s+(\d+)(?:\s+(\d+))?", entry)
    if pattern is None:
        return [_bytes.beside(path, entry)]
    numbers = range(int(pattern[2]), int(pattern[3]) + 1, max(1, int(pattern[4] or 1)))
    if not 0 < len(numbers) <= 100_000:
        raise Unreadable(f"{path} names its data files by {entry!r}, which gives none", remedy="repair the header")
    return [_bytes.beside(path, pattern[1] % number) for number in numbers]


def _samples(
    fields: Mapping[str, str],
    files: list[Path],
    start: int,
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    path: Path,
) -> Array:
    total = _bytes.count_bytes(shape, dtype)
    if total % len(files):
        raise Unreadable(f"{path} spreads {total} bytes over {len(files)} files", remedy="repair the header")
    size = total // len(files)
    method = "zlib" if _is_true(fields.get("compresseddata", "False")) else "text"
    _bytes.check_size(path, total, sum(file.stat().st_size for file in files), method)
    parts = (_decoded(file, start if file == path else 0, fields, dtype, size, path) for file in files)
    return _bytes.to_array(next(parts) if len(files) == 1 else _bytes.whole(parts, total), dtype, shape)


def _decoded(
    file: Path, start: int, fields: Mapping[str, str], dtype: np.dtype[np.generic], size: int, path: Path
) -> bytes | bytearray:
    stored = file.stat().st_size
    compressed = _is_true(fields.get("compresseddata", "False"))
    with file.open("rb") as stream:
        if not _is_true(fields.get("binarydata", "True")):
            stream.seek(start)
            _bytes.check_size(path, size, stored - start, "text")
            return _from_text(_bytes.read_text(stream, size // dtype.itemsize), dtype, size, path)
        skip = int(fields.get("headersize", "0"))
        stream.seek(max(0, stored - size) if skip < 0 and not compressed else start + max(0, skip))
        _bytes.check_size(path, size, stored - start, "zlib" if compressed else "raw")
        return _bytes.inflate_zlib(stream, size, path) if compressed else _bytes.fill(stream, size, path)


def _from_text(text: bytes, dtype: np.dtype[np.generic], size: int, path: Path) -> bytes:
    tokens = text.split()
    count = size // dtype.itemsize
    if len(tokens) < count:
        raise Unreadable(
            f"{path} is cut off: {len(tokens):,} of {count:,} values are there", remedy="copy or export it again"
        )
    numbers = [int(token) if dtype.kind in "iu" else float(token) for token in tokens[:count]]
    return np.array(numbers, dtype).tobytes()


def _place(fields: Mapping[str, str], sizes: tuple[int, ...], path: Path) -> tuple[Array, bool, bool]:
    """The affine to RAS+ mm, and whether spacing and orientation are known."""
    count = len(sizes)
    unit = fields.get("distanceunits", "").lower()
    if unit not in _MM_PER_UNIT:
        raise GeometryError(f"{path} has lengths in {unit!r}", remedy="write them in mm")
    given = fields.get("elementspacing", fields.get("elementsize"))
    spacing = np.abs(_numbers(given, count, "ElementSpacing", path)) if given else np.ones(count)
    if (spacing <= 0).any():
        raise GeometryError(f"{path} has the spacing {given!r}, and it must be above 0", remedy="repair the header")
    spacing = spacing * _MM_PER_UNIT[unit]
    if count == 2:
        affine = PICTURE_AFFINE.copy()
        affine[:3, :2] *= spacing
        return affine, given is not None, False
    if "transformmatrix" not in fields:
        return unplaced_affine(sizes, [float(step) for step in spacing[:3]]), given is not None, False
    affine = np.eye(4)
    affine[:3, :3] = _matrix(fields, count, path) * spacing[:3]
    if "offset" in fields:
        affine[:3, 3] = _numbers(fields["offset"], count, "Offset", path)[:3] * _MM_PER_UNIT[unit]
    return LPS_TO_RAS @ affine, given is not None, fields.get("anatomicalorientation", "") != "???"


def _matrix(fields: Mapping[str, str], count: int, path: Path) -> Array:
    """(3, 3) with the direction of an axis in each column."""
    matrix = _numbers(fields["transformmatrix"], count * count, "TransformMatrix", path).reshape(count, count).T
    turned = not np.allclose(matrix, np.eye(count))
    centre = fields.get("centerofrotation")
    if turned and centre and _numbers(centre, count, "CenterOfRotation", path).any():
        raise GeometryError(
            f"{path} is turned about a CenterOfRotation other than 0, which software reads in two ways",
            remedy="write the place into Offset and set CenterOfRotation to 0",
        )
    if count == 4 and (matrix[3, :3].any() or matrix[:3, 3].any()):
        raise GeometryError(f"{path} mixes time and space in its TransformMatrix", remedy="repair the header")
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if np.abs(lengths - 1).max() > 1e-3:
        raise GeometryError(
            f"{path} has directions of the lengths {', '.join(f'{one:.3g}' for one in lengths)} in its "
            "TransformMatrix, so its spacing is given twice",
            remedy="make them 1 and put the spacing into ElementSpacing",
        )
    return matrix[:3, :3]


def _numbers(text: str, count: int, name: str, path: Path) -> Array:
    numbers = np.array([float(token) for token in text.split()])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise GeometryError(f"{path} has {name} {text!r}, and it must be {count} finite numbers", remedy="repair it")
    return numbers
