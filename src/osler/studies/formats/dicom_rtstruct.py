"""DICOM RTSTRUCT as labels: contours in the patient, rasterised onto the grid of the image that they were drawn on.

Rules (PS3.3 A.19, C.8.8.5, C.8.8.6):
- Contours are points in the patient (LPS+ mm). They are taken through the image's affine, whatever its orientation and
  the order of its files; nothing follows from the order of slices or contours.
- A contour lies in the plane of one slice: all its points within a tenth of a slice (or 0.1 mm). Contours between
  slices, oblique to them or outside of the stack are refused: they were drawn on another series. Where a contour names
  the slice that it was drawn on, this must be the slice on which it lies.
- A voxel belongs to a structure when its centre lies inside the outline or on it; several outlines on a slice are
  combined by exclusive or, so one within another is a hole (see ``_contours``). Outlines that cross each other, or are
  there twice, leave open what is inside and are refused.
- CLOSED_PLANAR and CLOSEDPLANAR_XOR are regions. Points and open lines are none: a structure of these alone is listed
  and is not part of the mask; one that mixes them with closed contours is refused.
- A structure drawn on every second slice (or fewer) only is refused: what lies between would be invented.
- Contours of one or two points, which tracers of pixels write for single pixels, are outlines like any other.
- A structure of contours so small that they hold no centre of a voxel is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import GeometryError, Unsuitable
from osler.studies.formats._contours import area, enclosed, rasterise
from osler.studies.formats._dicom_header import read_dataset
from osler.studies.formats._dicom_labels import (
    Canvas,
    Grid,
    check_frame_of_reference,
    check_number,
    check_readable,
    code_of,
    grid_of,
    sop_class,
    text,
    values_for,
)
from osler.studies.formats.base import reading
from osler.studies.geometry import LPS_TO_RAS, Array, spacing_of
from osler.studies.image import Image
from osler.studies.structures import Structure, StructureSet

__all__ = ["NAME", "REGIONS", "SOP_CLASSES", "numbers_in", "read_labels", "read_masks", "read_structures", "sniff"]

NAME: str = "dicom-rtstruct"
SOP_CLASSES: tuple[str, ...] = ("1.2.840.10008.5.1.4.1.1.481.3",)
"""RT Structure Set Storage."""
REGIONS: tuple[str, ...] = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contour types that enclose a region."""
_KIND = "an RT structure set"
_OFF_SLICE = 0.1
"""Of a slice's thickness, or in mm where that is more: how far a contour may lie from its slice."""
_CROSSING = (0.1, 0.9)
"""Share of the smaller of two outlines that lies in the other: below they are apart, above one is within the other."""


@dataclass(frozen=True, eq=False)
class _Contour:
    """``corners`` (N, 2): i and j in voxels on the slice ``level``, all 0-based."""

    level: int
    corners: Array


def sniff(path: Path) -> bool:
    """Whether a file is an RTSTRUCT."""
    return sop_class(path) in SOP_CLASSES


def read_structures(path: Path) -> StructureSet:
    """The regions of interest and what they refer to.

    Raises:
        Unreadable: when it is damaged or names no region.
    """
    return _structures(read_dataset(path), path)


def numbers_in(path: Path) -> frozenset[int]:
    """The numbers of the structures that enclose a region.

    Raises:
        Unreadable: when it is damaged.
    """
    found = read_structures(path).structures
    return frozenset(one.number for one in found if set(one.outlines or ()) & set(REGIONS))


def read_labels(path: Path, *, key: str | None = None, index: int | None = None, onto: Image | None = None) -> Image:
    """All structures that are regions as one mask whose values are the structures' numbers; see the rules above.

    Args:
        path: the RTSTRUCT.
        key: the name of a structure: the mask is then 1 where that is.
        index: has no meaning here.
        onto: the image on whose grid it shall lie; contours have none of their own.

    Raises:
        Unsuitable: without ``onto``; when structures overlap, or contours do not enclose a region.
        Unknown: when no structure is called ``key``.
        GeometryError: when the contours do not lie on the image's slices.
        Unreadable: when it is damaged.
    """
    structures = _Contoured(path, onto)
    values = values_for(structures.found, key, path)
    if key is None:
        regions = {one.number for one in structures.found.structures if set(one.outlines or ()) & set(REGIONS)}
        values = {number: value for number, value in values.items() if number in regions}
    return structures.canvas(values).image(NAME)


def read_masks(path: Path, *, onto: Image | None = None) -> Callable[[int], Array]:
    """Every structure by itself, whether they overlap or not.

    Args:
        path: the RTSTRUCT.
        onto: the image on whose grid they shall lie; contours have none of their own.

    Returns:
        A function from a structure's number to (I, J[, K]) bool.

    Raises:
        StudyError: as ``read_labels``.
    """
    structures = _Contoured(path, onto)
    return lambda number: structures.canvas({check_number(structures.found, number, path): 1}).mask()


class _Contoured:
    """One file and the grid on which it is drawn."""

    def __init__(self, path: Path, onto: Image | None) -> None:
        self.path = path
        data = read_dataset(path)
        self.found = _structures(data, path)
        if onto is None:
            raise Unsuitable(
                f"{path} holds contours, which have no grid of their own",
                remedy="give the series that they were drawn on too",
            )
        self.grid = grid_of(onto)
        check_frame_of_reference(self.found.frame_of_reference, self.grid, path)
        if not (self.grid.spacing_known and self.grid.orientation_known):
            raise GeometryError(
                f"{path} holds contours in the patient, and the image does not say where it lies",
                remedy="give the series that they were drawn on",
            )
        with reading(path, _KIND):
            self._items = {int(item.ReferencedROINumber): item for item in data.get("ROIContourSequence") or []}

    def canvas(self, values: Mapping[int, int]) -> Canvas:
        """The structures with their values, drawn."""
        canvas = Canvas(self.grid, values, self.found, self.path)
        names = {one.number: one.name for one in self.found.structures}
        for number in values:
            if number in self._items:
                _draw(self._items[number], number, names[number], canvas)
        return canvas


def _draw(item: Any, number: int, name: str, canvas: Canvas) -> None:
    what = f"{canvas.path}: {name!r}"
    with reading(canvas.path, _KIND):
        contours = list(_contours(item, what, canvas.grid))
    if not contours:
        return
    by_level = defaultdict(list)
    for contour in contours:
        by_level[contour.level].append(contour.corners)
    _check_levels(sorted(by_level), what)
    shape = canvas.grid.shape[:2]
    voxels = 0
    for level, outlines in sorted(by_level.items()):
        low, inner = _window(outlines, shape)
        local = [outline - low for outline in outlines]
        _check_outlines(local, inner, f"{what} on slice {level + 1}")
        mask = rasterise(local, inner)
        voxels += int(np.count_nonzero(mask))
        canvas.paint(number, canvas.array[low[0] : low[0] + inner[0], low[1] : low[1] + inner[1], level], mask)
    if not voxels:
        raise Unsuitable(
            f"{what} is so small that it holds no centre of a voxel", remedy="leave it out, or give a finer series"
        )


def _contours(item: Any, what: str, grid: Grid) -> Iterator[_Contour]:
    """The contours of one structure, in voxels."""
    to_voxels = np.linalg.inv(grid.affine) @ LPS_TO_RAS
    allowed = max(_OFF_SLICE, _OFF_SLICE / _slice_distance(grid.affine))
    for contour in item.get("ContourSequence") or []:
        kind = text(contour, "ContourGeometricType")
        if kind not in REGIONS:
            raise Unsuitable(
                f"{what} has a contour of type {kind or 'not given'}, which encloses no region",
                remedy="draw it as closed planar contours, or leave this structure out",
            )
        points = _points(contour, what)
        voxels = (to_voxels @ np.column_stack([points, np.ones(len(points))]).T)[:3].T  # (N, 3)
        level = round(float(voxels[:, 2].mean()))
        _check_level(voxels, level, allowed, what, grid)
        _check_source(contour, level, what, grid)
        yield _Contour(level, voxels[:, :2])


def _points(contour: Any, what: str) -> Array:
    """(N, 3) LPS+ mm, without the first point repeated at the end."""
    numbers = np.array(_numbers(contour))
    stated = contour.get("NumberOfContourPoints")
    if len(numbers) % 3 or (stated is not None and int(stated) * 3 != len(numbers)):
        raise ValueError(f"a contour of {what.rpartition(': ')[2]} has {len(numbers)} numbers for {stated} points")
    if not np.isfinite(numbers).all():
        raise ValueError(f"a contour of {what.rpartition(': ')[2]} has points that are not finite")
    points = numbers.reshape(-1, 3)
    if len(points) > 1 and np.array_equal(points[0], points[-1]):
        points = points[:-1]
    if not len(points):
        raise ValueError(f"a contour of {what.rpartition(': ')[2]} has no points")
    return points


def _numbers(contour: Any) -> list[float]:
    """ContourData; from its bytes where pydicom has not parsed them yet, which it does a hundred times slower."""
    element = contour.get_item("ContourData") if "ContourData" in contour else None
    value = None if element is None else element.value
    if isinstance(value, bytes):
        return [float(number) for number in value.strip(b" \0").split(b"\\")] if value.strip(b" \0") else []
    several = [] if value is None else value if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
    return [float(number) for number in several]


def _check_level(voxels: Array, level: int, allowed: float, what: str, grid: Grid) -> None:
    depth = voxels[:, 2]
    if float(np.ptp(depth)) > 2 * allowed:
        raise GeometryError(
            f"{what} has a contour that is oblique to the image's slices (it runs through {np.ptp(depth):.2f} of them)",
            remedy="give the series that it was drawn on",
        )
    off = float(np.abs(depth - level).max())
    if off > allowed:
        raise GeometryError(
            f"{what} has a contour between slices {int(np.floor(depth.mean())) + 1} and "
            f"{int(np.floor(depth.mean())) + 2} (off by {off:.2f} of their distance)",
            remedy="give the series that it was drawn on",
        )
    low, high = voxels[:, :2].min(axis=0), voxels[:, :2].max(axis=0)
    outside = (low < -1).any() or (high > np.array(grid.shape[:2])).any()  # half a voxel beyond the edge is rounding
    if not 0 <= level < grid.shape[2] or outside:
        raise GeometryError(
            f"{what} has a contour outside the image (slice {level + 1} of {grid.shape[2]}, i {low[0]:.1f} to "
            f"{high[0]:.1f} of {grid.shape[0]}, j {low[1]:.1f} to {high[1]:.1f} of {grid.shape[1]})",
            remedy="give the series that it was drawn on",
        )


def _check_source(contour: Any, level: int, what: str, grid: Grid) -> None:
    """A contour that names one slice as its source must lie there."""
    named = {text(one, "ReferencedSOPInstanceUID") for one in contour.get("ContourImageSequence") or []}
    if len(named) != 1 or not named <= set(grid.instances):
        return
    said = grid.instances.index(named.pop())
    if said != level:
        raise GeometryError(
            f"{what} has a contour that names slice {said + 1} as its source and lies on slice {level + 1}",
            remedy="its points and its references contradict each other; export it again",
        )


def _slice_distance(affine: Array) -> float:
    """Millimetres between the planes of neighbouring slices; exact for sheared affines too."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return float(abs(normal @ affine[:3, 2]) / np.linalg.norm(normal)) or spacing_of(affine)[2]


def _check_levels(levels: Sequence[int], what: str) -> None:
    gaps = np.diff(levels)
    if len(levels) > 2 and gaps.min() > 1:
        raise Unsuitable(
            f"{what} is drawn on {len(levels)} slices of {levels[-1] - levels[0] + 1}, never on two neighbours",
            remedy="interpolate the missing contours where it was drawn; Osler does not invent them",
        )


def _window(outlines: Sequence[Array], shape: tuple[int, ...]) -> tuple[Array, tuple[int, int]]:
    """The lowest voxel (2,) of the part of a slice around outlines, and its shape."""
    low = np.maximum(np.floor(np.min([o.min(axis=0) for o in outlines], axis=0)).astype(int) - 1, 0)
    high = np.ceil(np.max([o.max(axis=0) for o in outlines], axis=0)).astype(int) + 2
    size = np.maximum(np.minimum(high, shape) - low, 0)
    return low, (int(size[0]), int(size[1]))


def _check_outlines(outlines: Sequence[Array], shape: tuple[int, int], what: str) -> None:
    """Two outlines of a slice must lie apart, or one within the other."""
    if len(outlines) < 2:
        return
    parts = [_window([outline], shape) for outline in outlines]
    masks = [enclosed([outline - low], size) for outline, (low, size) in zip(outlines, parts, strict=True)]
    sizes = [int(np.count_nonzero(mask)) for mask in masks]
    low, high = (np.array([pick(outline, axis=0) for outline in outlines]) for pick in (np.min, np.max))  # (n, 2)
    for n in range(1, len(outlines)):
        for m in np.flatnonzero((low[:n] <= high[n]).all(axis=1) & (high[:n] >= low[n]).all(axis=1)).tolist():
            if _are_equal(outlines[n], outlines[m]):
                raise Unsuitable(f"{what} has the same contour twice", remedy="remove the copy where it was drawn")
            shared, smaller = _shared(masks[n], parts[n][0], masks[m], parts[m][0]), min(sizes[n], sizes[m])
            if smaller and _CROSSING[0] < shared / smaller < _CROSSING[1]:
                raise Unsuitable(
                    f"{what} has contours that cross each other, so what is inside is not clear",
                    remedy="join them, or cut one out of the other, where they were drawn",
                )


def _are_equal(one: Array, other: Array) -> bool:
    """Whether two outlines have one extent and one area, whatever corner and direction they begin with."""
    facts = [np.array([*outline.min(axis=0), *outline.max(axis=0), area(outline)]) for outline in (one, other)]
    return bool(np.abs(facts[0] - facts[1]).max() < 1e-6)


def _shared(one: Array, one_low: Array, other: Array, other_low: Array) -> int:
    """In how many voxels two masks overlap, each a window that begins at its ``low`` voxel."""
    low = np.maximum(one_low, other_low)
    high = np.minimum(one_low + one.shape, other_low + other.shape)
    if (high <= low).any():
        return 0
    cuts = [
        mask[low[0] - at[0] : high[0] - at[0], low[1] - at[1] : high[1] - at[1]]
        for mask, at in ((one, one_low), (other, other_low))
    ]
    return int(np.count_nonzero(cuts[0] & cuts[1]))


def _structures(data: Any, path: Path) -> StructureSet:
    check_readable("" if text(data, "SOPClassUID") in SOP_CLASSES else "it is something else", path, _KIND)
    with reading(path, _KIND):
        outlines = {int(item.ReferencedROINumber): _types(item) for item in data.get("ROIContourSequence") or []}
        observed = {int(item.ReferencedROINumber): item for item in data.get("RTROIObservationsSequence") or []}
        regions = data.get("StructureSetROISequence") or []
        found = sorted((_structure(item, outlines, observed) for item in regions), key=lambda one: one.number)
        check_readable("" if found else "it names no structure", path, _KIND)
        twice = len({one.number for one in found}) < len(found)
        check_readable("two of its structures have one number" if twice else "", path, _KIND)
        frames = data.get("ReferencedFrameOfReferenceSequence") or []
        series = [
            one
            for frame in frames
            for study in frame.get("RTReferencedStudySequence") or []
            for one in study.get("RTReferencedSeriesSequence") or []
        ]
        named = {text(item, "ReferencedFrameOfReferenceUID") for item in regions} - {""}
        named = named or {text(frame, "FrameOfReferenceUID") for frame in frames} - {""}
        check_readable("its structures have several frames of reference" if len(named) > 1 else "", path, _KIND)
        return StructureSet(
            format=NAME,
            structures=tuple(found),
            uid=text(data, "SOPInstanceUID"),
            frame_of_reference=next(iter(named), "") or text(data, "FrameOfReferenceUID"),
            series=tuple(dict.fromkeys(uid for one in series if (uid := text(one, "SeriesInstanceUID")))),
            instances=_instances(data, series),
        )


def _types(item: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text(one, "ContourGeometricType") for one in item.get("ContourSequence") or []))


def _structure(item: Any, outlines: Mapping[int, tuple[str, ...]], observed: Mapping[int, Any]) -> Structure:
    number = int(item.ROINumber)
    observation = observed.get(number, {})
    return Structure(
        number=number,
        name=text(item, "ROIName") or f"structure {number}",
        category=code_of(observation, "SegmentedPropertyCategoryCodeSequence"),
        kind=code_of(observation, "RTROIIdentificationCodeSequence"),
        algorithm=text(item, "ROIGenerationAlgorithm"),
        outlines=outlines.get(number, ()),
    )


def _instances(data: Any, series: Sequence[Any]) -> frozenset[str]:
    images = [image for one in series for image in one.get("ContourImageSequence") or []]
    for item in data.get("ROIContourSequence") or []:
        for contour in item.get("ContourSequence") or []:
            images += contour.get("ContourImageSequence") or []
    return frozenset({text(image, "ReferencedSOPInstanceUID") for image in images} - {""})
