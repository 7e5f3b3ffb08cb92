"""DICOM SEG as labels: binary, fractional and label maps, of volumes, single images and slides.

Rules (PS3.3 A.51, C.8.20, C.8.31):
- A frame goes where its position says, never where its number does. It must lie on the voxels of the image (within
  0.05 voxels in its plane, a quarter of a slice through it), in the same frame of reference; where it names the slice
  that it was drawn on, this must be the slice on which it lies. Frames may be flipped, turned or smaller.
- Slices without a frame are empty. Without an image the mask lies on the grid that its frames make up.
- A fractional segment counts from half of its maximum: more likely than not, or more than half filled.
- Values of a label map are segment numbers, whatever its palette; the segment coded as background, or a padding value,
  is background.
- Tiles of a slide make up its total matrix. Its coordinates are those of the slide and not of a patient, so its
  orientation counts as unknown.
- Segments may overlap; a mask of all of them is then refused, and each can be read by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError
from osler.studies.formats._dicom_header import read_dataset
from osler.studies.formats._dicom_labels import (
    Canvas,
    Grid,
    check_frame_of_reference,
    check_number,
    check_readable,
    check_size,
    code_of,
    grid_of,
    sop_class,
    text,
    values_for,
)
from osler.studies.formats._seg_frames import Frame, frames_of, own_grid, place, stored_frames
from osler.studies.formats.base import reading
from osler.studies.geometry import Array, spacing_of
from osler.studies.image import Image
from osler.studies.structures import Structure, StructureSet

__all__ = [
    "NAME",
    "SOP_CLASSES",
    "numbers_in",
    "read_fractions",
    "read_labels",
    "read_masks",
    "read_structures",
    "sniff",
]

NAME: str = "dicom-seg"
SOP_CLASSES: tuple[str, ...] = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage."""
_KIND = "a DICOM segmentation"
_BACKGROUND = "125040"  # DCM


def sniff(path: Path) -> bool:
    """Whether a file is a DICOM SEG."""
    return sop_class(path) in SOP_CLASSES


def read_structures(path: Path) -> StructureSet:
    """The segments and what they refer to; from the header.

    Raises:
        Unreadable: when it is damaged or describes no segment.
    """
    return _structures(read_dataset(path, pixels=False), path)


def numbers_in(path: Path) -> frozenset[int]:
    """The numbers of the segments that have a voxel.

    Raises:
        Unreadable: when it is damaged.
    """
    segmentation = _Segmentation(path)
    wanted = {one.number for one in segmentation.structures.structures}
    found: set[int] = set()
    for frame in segmentation.frames:
        if frame.segment is None:
            found |= set(np.unique(segmentation.stored(frame)).tolist()) & wanted
        elif frame.segment not in found and segmentation.inside(frame).any():
            found.add(frame.segment)
    return frozenset(found)


def read_labels(path: Path, *, key: str | None = None, index: int | None = None, onto: Image | None = None) -> Image:
    """All segments as one mask whose values are the segments' numbers; see the rules above.

    Args:
        path: the SEG.
        key: the label of a segment: the mask is then 1 where that is. Segments of one label are joined.
        index: has no meaning here.
        onto: the image on whose grid it shall lie; None takes the grid that the frames make up.

    Raises:
        Unsuitable: when segments overlap.
        Unknown: when no segment is called ``key``.
        StudyError: when it cannot be read or does not lie on the image's grid.
    """
    segmentation = _Segmentation(path)
    values = values_for(segmentation.structures, key, path)
    return segmentation.canvas(values, segmentation.grid(onto)).image(NAME)


def read_masks(path: Path, *, onto: Image | None = None) -> Callable[[int], Array]:
    """Every segment by itself, whether they overlap or not.

    Args:
        path: the SEG.
        onto: the image on whose grid they shall lie; None takes the grid that the frames make up.

    Returns:
        A function from a segment's number to (I, J[, K]) bool.

    Raises:
        StudyError: as ``read_labels``.
    """
    segmentation = _Segmentation(path)
    grid, found = segmentation.grid(onto), segmentation.structures
    if segmentation.frames[0].segment is not None:
        return lambda number: segmentation.canvas({check_number(found, number, path): 1}, grid).mask()
    numbers = {one.number: one.number for one in found.structures if one.number}
    whole = segmentation.canvas(numbers, grid).image(NAME).array[0]  # one pass over the frames serves all segments
    return lambda number: whole == check_number(found, number, path)


def read_fractions(path: Path, *, key: str | None = None, onto: Image | None = None) -> Image:
    """The stored fractions (probability or occupancy) from 0 to 1; 0 and 1 for a binary segmentation.

    Args:
        path: the SEG.
        key: the label of a segment; None takes all.
        onto: the image on whose grid it shall lie.

    Returns:
        (segments, I, J[, K]) float32, the segments in the order of their numbers.

    Raises:
        StudyError: as ``read_labels``.
    """
    segmentation = _Segmentation(path)
    grid = segmentation.grid(onto)
    numbers = list(values_for(segmentation.structures, key, path))
    check_size((len(numbers), *grid.shape), path)
    channels = np.zeros((len(numbers), *grid.shape), np.float32)
    for frame in segmentation.frames:
        stored = segmentation.stored(frame)
        for channel, number in zip(channels, numbers, strict=True):
            if frame.segment in (None, number):
                shown = stored == number if frame.segment is None else stored
                region, cut = place(shown, frame, grid, path)
                target = channel[region]
                np.maximum(target, cut / np.float32(segmentation.maximum), out=target)
    return grid.image(channels, path, NAME)


class _Segmentation:
    """One file, its pixels still packed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, _KIND):
            self.data = read_dataset(path)
            self.structures = _structures(self.data, path)
            self.frames = frames_of(self.data, path)
            self._stored = stored_frames(self.data)
            fractional = self.data.get("SegmentationType") == "FRACTIONAL"
            self.maximum = int(self.data.get("MaximumFractionalValue", 255) or 255) if fractional else 1

    def stored(self, frame: Frame) -> Array:
        with reading(self.path, _KIND):
            return self._stored(frame.index)

    def inside(self, frame: Frame) -> Array:
        """(rows, columns) bool: at least half of the maximum."""
        return np.asarray(self.stored(frame).astype(np.uint16) * 2 >= self.maximum)

    def grid(self, onto: Image | None) -> Grid:
        with reading(self.path, _KIND):
            own = own_grid(self.data, self.frames, self.path) if onto is None or self._flat else None
        if onto is None and own is not None:
            return own
        grid = grid_of(onto) if onto is not None else own
        if grid is None:
            raise GeometryError(f"{self.path} has no grid", remedy="give the series that it was drawn on")
        check_frame_of_reference(self.structures.frame_of_reference, grid, self.path)
        if own is not None:
            _check_flat(own, grid, self.path, slide=self.frames[0].corner is not None)
        return grid

    @property
    def _flat(self) -> bool:
        """Whether the frames have no position in a patient."""
        return all(one.affine is None for one in self.frames)

    def canvas(self, values: Mapping[int, int], grid: Grid) -> Canvas:
        """The segments with their values, drawn."""
        canvas = Canvas(grid, values, self.structures, self.path)
        for frame in self.frames:
            if frame.segment is None:
                region, cut = place(self._only(self.stored(frame), values), frame, grid, self.path)
                for number in np.unique(cut).tolist():
                    if number in values:
                        canvas.paint(number, canvas.array[region], cut == number)
            elif frame.segment in values:
                region, cut = place(self.inside(frame), frame, grid, self.path)
                canvas.paint(frame.segment, canvas.array[region], cut)
        return canvas

    def _only(self, stored: Array, values: Mapping[int, int]) -> Array:
        """A frame of a label map without the segments that are not asked for."""
        return np.where(np.isin(stored, list(values)), stored, 0)


def _check_flat(own: Grid, grid: Grid, path: Path, *, slide: bool) -> None:
    """Slides and projections have no place in a patient: size, spacing and the image that they name must agree."""
    if own.shape != grid.shape:
        raise GeometryError(
            f"{path} is of {own.shape[0]} × {own.shape[1]} pixels and the image of {'×'.join(map(str, grid.shape))}",
            remedy="give the image (for a slide: the level of its pyramid) that it was drawn on",
        )
    if own.spacing_known and grid.spacing_known:
        pairs = zip(spacing_of(own.affine)[:2], spacing_of(grid.affine)[:2], strict=True)
        if any(abs(one - other) > 1e-3 * other for one, other in pairs):
            raise GeometryError(f"{path} and the image have different spacing", remedy="give the image it was drawn on")
    if not slide and own.instances and grid.instances and not set(own.instances) & set(grid.instances):
        raise GeometryError(
            f"{path} was drawn on another image, and neither says where it lies",
            remedy="give the image that it was drawn on",
        )


def _structures(data: Any, path: Path) -> StructureSet:
    if text(data, "SOPClassUID") not in SOP_CLASSES:
        check_readable("it is something else", path, _KIND)
    with reading(path, _KIND):
        background = data.get("PixelPaddingValue") if data.get("SegmentationType") == "LABELMAP" else None
        segments = sorted((_segment(one) for one in data.get("SegmentSequence") or []), key=lambda one: one.number)
        kept = tuple(one for one in segments if one.number != background and not _is_background(one))
        check_readable("" if kept else "it describes no segment", path, _KIND)
        twice = len({one.number for one in kept}) < len(kept)
        check_readable("two of its segments have one number" if twice else "", path, _KIND)
        references = data.get("ReferencedSeriesSequence") or []
        instances = {
            text(one, "ReferencedSOPInstanceUID")
            for series in references
            for one in series.get("ReferencedInstanceSequence") or []
        }
        for frame in data.get("PerFrameFunctionalGroupsSequence") or []:
            for derivation in frame.get("DerivationImageSequence") or []:
                instances |= {
                    text(one, "ReferencedSOPInstanceUID") for one in derivation.get("SourceImageSequence") or []
                }
        return StructureSet(
            format=NAME,
            structures=kept,
            uid=text(data, "SOPInstanceUID"),
            frame_of_reference=text(data, "FrameOfReferenceUID"),
            series=tuple(dict.fromkeys(text(one, "SeriesInstanceUID") for one in references)),
            instances=frozenset(instances - {""}),
        )


def _segment(item: Any) -> Structure:
    kind = code_of(item, "SegmentedPropertyTypeCodeSequence")
    types = item.get("SegmentedPropertyTypeCodeSequence") or []
    modifiers = types[0].get("SegmentedPropertyTypeModifierCodeSequence") or [] if types else []
    codes = (code_of({"one": [modifier]}, "one") for modifier in modifiers)
    return Structure(
        number=int(item.SegmentNumber),
        name=text(item, "SegmentLabel") or (kind.meaning if kind else "") or f"segment {int(item.SegmentNumber)}",
        category=code_of(item, "SegmentedPropertyCategoryCodeSequence"),
        kind=kind,
        modifiers=tuple(code for code in codes if code),
        algorithm=text(item, "SegmentAlgorithmType"),
    )


def _is_background(segment: Structure) -> bool:
    coded = segment.kind is not None and (segment.kind.value, segment.kind.scheme) == (_BACKGROUND, "DCM")
    return segment.number == 0 and coded
