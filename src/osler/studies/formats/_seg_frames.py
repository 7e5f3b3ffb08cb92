"""The frames of a DICOM SEG: what each shows, where it lies, and its stored values, decoded one by one.

In here positions and directions are DICOM's LPS+ millimetres; affines that leave are RAS+.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError, Unreadable, Unsuitable
from osler.studies.formats._dicom_codec import Frame as CodedFrame
from osler.studies.formats._dicom_codec import decode_frame
from osler.studies.formats._dicom_labels import MOST_VOXELS, Grid, check_size
from osler.studies.formats._dicom_pixels import codec_of
from osler.studies.geometry import LPS_TO_RAS, PICTURE_AFFINE, Array

__all__ = ["Frame", "frames_of", "own_grid", "place", "stored_frames"]

_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_ANGLE_TOLERANCE = 1e-3
_FARTHEST = 1e6
"""Millimetres from the origin at which nothing of a patient can be."""
_IN_PLANE = 0.05
"""Voxels by which a frame's corners may miss those of the image within its plane: headers round."""
_THROUGH_PLANE = 0.25
"""Voxels by which a frame may miss its slice: the image's slices may themselves be a little uneven."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame: its ``index`` in the file (0-based) and the segment it shows (None in a label map).

    In the patient it has ``affine`` (4, 4): (column, row, 0, 1) of a pixel to RAS+ mm; its third column is the normal
    times ``thickness``. On a slide it has ``corner``: 0-based (column, row) in the total matrix. A projection has
    neither. ``sources`` are the SOPInstanceUIDs of the images that it was drawn on.
    """

    index: int
    segment: int | None
    affine: Array | None = None
    corner: tuple[int, int] | None = None
    sources: tuple[str, ...] = ()


def frames_of(data: Any, path: Path) -> list[Frame]:
    """Every frame, in file order.

    Raises:
        Unreadable: when the header does not describe as many frames as there are.
        GeometryError: when a position is incomplete.
    """
    count = int(data.get("NumberOfFrames", 1) or 1)
    per_frame = data.get("PerFrameFunctionalGroupsSequence")
    if data.get("DimensionOrganizationType") == "TILED_FULL":
        return _tiled_full(data, count, path)
    if not per_frame or len(per_frame) != count:
        raise Unreadable(
            f"{path} says that it has {count} frames and describes {len(per_frame or [])}",
            remedy="it is damaged; export it again",
        )
    shared = _first(data, "SharedFunctionalGroupsSequence")
    return [_frame(data, [group, shared], index, path) for index, group in enumerate(per_frame)]


def _tiled_full(data: Any, count: int, path: Path) -> list[Frame]:
    """Frames that lie in the order of PS3.3 C.7.6.17.3: tiles along rows, then down, then segment by segment."""
    columns, rows = _matrix(data)
    across, down = -(-columns // int(data.Columns)), -(-rows // int(data.Rows))
    tiles = [(int(data.Columns) * i, int(data.Rows) * j) for j in range(down) for i in range(across)]
    labelmap = data.get("SegmentationType") == "LABELMAP"
    segments = [None] if labelmap else [int(one.SegmentNumber) for one in data.SegmentSequence]
    if count != len(tiles) * len(segments):
        raise Unsuitable(
            f"{path} has {count} tiles, and {across} × {down} tiles of {len(segments)} segments are "
            f"{len(tiles) * len(segments)}",
            remedy="slides with several focal planes are not read; export one plane",
        )
    return [
        Frame(n * len(tiles) + m, segment, corner=corner)
        for n, segment in enumerate(segments)
        for m, corner in enumerate(tiles)
    ]


def _frame(data: Any, groups: list[Any], index: int, path: Path) -> Frame:
    number = _value(groups, "SegmentIdentificationSequence", "ReferencedSegmentNumber")
    column = _value(groups, "PlanePositionSlideSequence", "ColumnPositionInTotalImagePixelMatrix")
    row = _value(groups, "PlanePositionSlideSequence", "RowPositionInTotalImagePixelMatrix")
    return Frame(
        index,
        None if number is None else int(number),
        affine=_frame_affine(groups, path),
        corner=None if column is None or row is None else (int(column) - 1, int(row) - 1),
        sources=_sources(groups[0]),
    )


def _sources(group: Any) -> tuple[str, ...]:
    found = [
        str(image.get("ReferencedSOPInstanceUID", ""))
        for derivation in group.get("DerivationImageSequence", None) or []
        for image in derivation.get("SourceImageSequence", None) or []
    ]
    return tuple(dict.fromkeys(found))


def _frame_affine(groups: list[Any], path: Path) -> Array | None:
    position = _value(groups, "PlanePositionSequence", "ImagePositionPatient")
    if not position:
        return None
    orientation = _value(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = _value(groups, "PixelMeasuresSequence", "PixelSpacing")
    if not orientation or len(orientation) != 6 or not spacing or min(float(mm) for mm in spacing) <= 0:
        raise GeometryError(
            f"{path} gives frames a position without orientation or spacing", remedy="repair it at its source"
        )
    directions = np.array(orientation, dtype=float).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    numbers = np.array([*position, *orientation, *spacing], dtype=float)
    if len(position) != 3 or len(spacing) != 2 or not np.isfinite(numbers).all() or np.abs(numbers).max() > _FARTHEST:
        raise GeometryError(f"{path} gives frames an impossible position or spacing", remedy="repair it at its source")
    if not np.allclose(lengths, 1, atol=1e-2) or abs(directions[0] @ directions[1]) > 1e-2:
        raise GeometryError(
            f"{path}: ImageOrientationPatient {list(orientation)} is not two perpendicular unit vectors",
            remedy="repair it at its source",
        )
    directions /= lengths[:, None]
    thickness = float(_value(groups, "PixelMeasuresSequence", "SliceThickness") or 0) or 1.0
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1] = directions[0] * float(spacing[1]), directions[1] * float(spacing[0])
    lps[:3, 2] = np.cross(directions[0], directions[1]) * thickness
    lps[:3, 3] = np.array(position, dtype=float)
    return np.asarray(LPS_TO_RAS @ lps)


def _value(groups: Sequence[Any], sequence: str, keyword: str) -> Any:
    """An attribute of the frame's own functional group, else of the shared one; None when neither has it."""
    for group in groups:
        inner = None if group is None else _first(group, sequence)
        if inner is not None and inner.get(keyword) is not None:
            return inner.get(keyword)
    return None


def _first(data: Any, sequence: str) -> Any:
    items = data.get(sequence)
    return items[0] if items else None


def _matrix(data: Any) -> tuple[int, int]:
    """Columns and rows of the whole slide."""
    return int(data.get("TotalPixelMatrixColumns", 0) or 0), int(data.get("TotalPixelMatrixRows", 0) or 0)


def own_grid(data: Any, frames: Sequence[Frame], path: Path) -> Grid:
    """The grid that the frames of a file make up: from its first slice to its last, those without a frame included.

    Raises:
        GeometryError: when the frames do not lie on one even stack.
        Unsuitable: when the mask would be larger than ``MOST_VOXELS``.
    """
    if all(one.corner is not None for one in frames):
        return _slide_grid(data, path)
    affines = [one.affine for one in frames if one.affine is not None]
    if not affines:
        return _projection_grid(data, frames)
    if len(affines) < len(frames):
        raise GeometryError(
            f"{path} has {len(frames)} frames and a position for {len(affines)}", remedy="export it again"
        )
    return _stack_grid(data, affines, path)


def _slide_grid(data: Any, path: Path) -> Grid:
    columns, rows = _matrix(data)
    check_size((columns, rows, 1), path)
    if min(columns, rows) < 1:
        raise GeometryError(f"{path} holds tiles and does not say how large the slide is", remedy="export it again")
    measures = _first(_first(data, "SharedFunctionalGroupsSequence") or {}, "PixelMeasuresSequence") or {}
    spacing = measures.get("PixelSpacing")
    affine = PICTURE_AFFINE.copy()
    if spacing:
        affine[:3, 0] *= float(spacing[1])
        affine[:3, 1] *= float(spacing[0])
    uid = str(data.get("FrameOfReferenceUID", "") or "")
    return Grid((columns, rows, 1), affine, 2, uid, spacing_known=bool(spacing), orientation_known=False)


def _projection_grid(data: Any, frames: Sequence[Frame]) -> Grid:
    shape = (int(data.Columns), int(data.Rows), 1)
    sources = {one.sources for one in frames}
    instances = next(iter(sources)) if len(sources) == 1 else ()
    return Grid(shape, PICTURE_AFFINE.copy(), 2, "", instances, spacing_known=False, orientation_known=False)


def _stack_grid(data: Any, affines: list[Array], path: Path) -> Grid:
    first = affines[0]
    for other in affines[1:]:
        if not np.allclose(other[:3, :3], first[:3, :3], rtol=0, atol=_ANGLE_TOLERANCE * np.abs(first[:3, :3]).max()):
            raise GeometryError(
                f"{path} holds frames of different orientation or spacing", remedy="give the series it was drawn on"
            )
    normal = first[:3, 2] / np.linalg.norm(first[:3, 2])
    origins = np.array([one[:3, 3] for one in affines])
    places = origins @ normal
    order = np.argsort(places, kind="stable")
    low, high = origins[order[0]], origins[order[-1]]
    affine = first.copy()
    affine[:3, 3] = low
    uid = str(data.get("FrameOfReferenceUID", "") or "")
    extent = float(places[order[-1]] - places[order[0]])
    if extent < 1e-3:
        return Grid((int(data.Columns), int(data.Rows), 1), affine, 2, uid)
    slices = _slices_between(data, np.unique(np.round(places, 3)), path)
    affine[:3, 2] = (high - low) / slices
    shape = (int(data.Columns), int(data.Rows), slices + 1)
    check_size(shape, path)
    return Grid(shape, affine, 3, uid)


def _slices_between(data: Any, places: Array, path: Path) -> int:
    """How many steps lie between the first and the last of ``places`` (mm, ascending, at least two)."""
    measures = _first(_first(data, "SharedFunctionalGroupsSequence") or {}, "PixelMeasuresSequence") or {}
    stated = abs(float(measures.get("SpacingBetweenSlices", 0) or 0))
    for step in (stated, float(np.diff(places).min())):
        if step <= 0:
            continue
        steps = (places - places[0]) / step
        scale = max(1.0, round(float(steps[-1]))) / float(steps[-1])  # a rounded spacing drifts over many slices
        if abs(scale - 1) < 0.02 and np.abs(steps * scale - np.rint(steps * scale)).max() < 0.1:
            return int(max(1, round(float(steps[-1]))))
    raise GeometryError(
        f"{path}: its slices are not evenly spaced, so it has no grid of its own",
        remedy="give the series that it was drawn on",
    )


def place(stored: Array, frame: Frame, grid: Grid, path: Path) -> tuple[tuple[slice, slice, slice], Array]:
    """Where one frame goes in a volume: by its position and never by its number.

    Args:
        stored: (rows, columns); what is not 0 must lie inside.
        frame: whose values these are.
        grid: of the image.
        path: named in errors.

    Returns:
        The region of (I, J, K), one voxel thick along one axis, and the values for it, of its shape.

    Raises:
        GeometryError: when the frame's pixels are not voxels of the grid, or what it shows lies outside.
    """
    if frame.affine is None:
        start, axes, signs = (*(frame.corner or (0, 0)), 0), (0, 1), (1, 1)
    else:
        start, axes, signs = _on_grid(frame, stored.shape, grid, path)
    third = 3 - sum(axes)
    _check_source(frame, start[third], grid, path)
    pixels = np.expand_dims(stored.T[:: signs[0], :: signs[1]], 2)  # (columns, rows, 1), growing with the indices
    pixels = np.transpose(pixels, np.argsort((*axes, third)))
    low = list(start)
    for axis, sign, length in zip(axes, signs, stored.T.shape, strict=True):
        low[axis] -= length - 1 if sign < 0 else 0
    inside = [slice(max(0, -at), max(0, n - at)) for at, n in zip(low, grid.shape, strict=True)]
    cut = pixels[tuple(inside)]
    if np.count_nonzero(cut) != np.count_nonzero(pixels):
        raise GeometryError(
            f"{path}: frame {frame.index + 1} shows something outside the image",
            remedy="give the series that it was drawn on",
        )
    begin = [max(0, at) for at in low]
    region = [slice(at, at + n) for at, n in zip(begin, cut.shape, strict=True)]
    return (region[0], region[1], region[2]), cut


def _on_grid(
    frame: Frame, shape: tuple[int, ...], grid: Grid, path: Path
) -> tuple[tuple[int, int, int], tuple[int, int], tuple[int, int]]:
    """The voxel of the first pixel, and the grid's axes along columns' and rows' numbers with their signs."""
    matrix = np.linalg.inv(grid.affine) @ np.asarray(frame.affine)  # (column, row, 0, 1) to voxel indices
    axes = (int(np.abs(matrix[:3, 0]).argmax()), int(np.abs(matrix[:3, 1]).argmax()))
    signs = (-1 if matrix[axes[0], 0] < 0 else 1, -1 if matrix[axes[1], 1] < 0 else 1)
    start = np.rint(matrix[:3, 3])
    whole = np.zeros((3, 2))
    whole[axes[0], 0], whole[axes[1], 1] = signs
    rows, columns = shape
    corners = np.array([[0, columns - 1, 0, columns - 1], [0, 0, rows - 1, rows - 1]], float)
    off = np.abs((matrix[:3, :2] - whole) @ corners + (matrix[:3, 3] - start)[:, None]).max(axis=1)  # per grid axis
    allowed = np.full(3, _THROUGH_PLANE)
    allowed[list(axes)] = _IN_PLANE
    if axes[0] == axes[1] or (off > allowed).any():
        raise GeometryError(
            f"{path}: frame {frame.index + 1} does not lie on the voxels of the image (off by {off.max():.2f} voxels)",
            remedy="give the series that it was drawn on, or resample it onto this image's grid",
        )
    return (int(start[0]), int(start[1]), int(start[2])), axes, signs


def _check_source(frame: Frame, level: int, grid: Grid, path: Path) -> None:
    """A frame that names the slice that it was drawn on must lie there."""
    if len(frame.sources) != 1 or frame.sources[0] not in grid.instances:
        return
    named = grid.instances.index(frame.sources[0])
    if named != level:
        raise GeometryError(
            f"{path}: frame {frame.index + 1} names slice {named + 1} as its source and lies on slice {level + 1}",
            remedy="its positions and its references contradict each other; export it again",
        )


def stored_frames(data: Any) -> Callable[[int], Array]:
    """A function from a frame's index to its stored values (rows, columns), unsigned integers, unpacked when asked for.

    A palette's indices stay indices.

    Raises:
        ValueError: pixels that are missing, cut off, or of an unknown kind; the function too.
    """
    if "PixelData" not in data:
        raise ValueError("it has no pixels")
    count, rows, columns = int(data.get("NumberOfFrames", 1) or 1), int(data.Rows), int(data.Columns)
    bits, syntax = int(data.BitsAllocated), str(data.file_meta.get("TransferSyntaxUID", "") or _IMPLICIT)
    if bits not in (1, 8, 16) or min(rows, columns) < 1 or rows * columns > MOST_VOXELS:
        raise ValueError(f"a segmentation of {columns}×{rows} pixels of {bits} bits is not known")
    codec = codec_of(syntax)
    if not codec:
        return _native(data, count, (rows, columns), bits, big_endian=syntax == _BIG_ENDIAN)
    from pydicom.encaps import generate_frames

    contents = list(generate_frames(data.PixelData, number_of_frames=count))
    if len(contents) != count:
        raise ValueError(f"it holds {len(contents)} of {count} frames")
    if codec == "deflate":
        return lambda index: _inflated(contents[index], (rows, columns), bits)
    return lambda index: decode_frame(contents[index], CodedFrame(codec, rows, columns, 1, bits))


def _native(data: Any, count: int, shape: tuple[int, int], bits: int, *, big_endian: bool) -> Callable[[int], Array]:
    raw, size = data.PixelData, shape[0] * shape[1]
    if len(raw) < -(-size * count * bits // 8):
        raise ValueError(f"the pixels are cut off: {len(raw)} bytes of {-(-size * count * bits // 8)}")
    if bits == 1:

        def unpacked(index: int) -> Array:
            first = index * size  # frames follow each other bit by bit, whatever the byte they begin in
            cut = np.frombuffer(raw, np.uint8, count=-(-(first + size) // 8) - first // 8, offset=first // 8)
            return np.unpackbits(cut, bitorder="little")[first % 8 : first % 8 + size].reshape(shape)

        return unpacked
    stored = np.dtype(f"{'>' if big_endian else '<'}u{bits // 8}")

    def whole(index: int) -> Array:
        cut = np.frombuffer(raw, stored, count=size, offset=index * size * stored.itemsize)
        return cut.astype(stored.newbyteorder("=")).reshape(shape)

    return whole


def _inflated(content: bytes, shape: tuple[int, int], bits: int) -> Array:
    """A frame that is a deflate stream (PS3.5 A.4.12); no more is inflated than it may hold."""
    size = -(-shape[0] * shape[1] * bits // 8)
    raw = zlib.decompressobj(-15).decompress(content, size)
    if len(raw) < size:
        raise ValueError("the compressed pixels are cut off")
    if bits == 1:
        return np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")[: shape[0] * shape[1]].reshape(shape)
    return np.frombuffer(raw, np.dtype(f"<u{bits // 8}")).astype(f"u{bits // 8}").reshape(shape)
