"""``Observation``: what inspection notes of one case beside ``CaseFacts``; small, so that thousands fit into memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from osler.datasets.dataset import Case
from osler.datasets.duplicates import perceptual_hash
from osler.datasets.outline import OutlineContrast, outlines_of
from osler.datasets.pieces import Pieces, pieces_of
from osler.datasets.problem import Box
from osler.studies.geometry import Array, axis_codes, flip_and_permute, orientation_transform, spacing_of
from osler.studies.image import Image
from osler.studies.quality.marks import find_marks
from osler.studies.quality.measures import margins, measure_quality
from osler.studies.quality.planes import grey_of, planes, slice_axis
from osler.studies.quality.tags import read_tags
from osler.studies.quality.text import TextLine, find_text, is_inked
from osler.studies.resample import resample

__all__ = ["VIEW", "Observation", "grid_distance", "observe"]

VIEW = {2: 32, 3: 12}
"""Pixels a side of the small view, by dimensions."""
_SLICES_WITH_TEXT = 5
_LEVELS = (1.0, 25.0, 50.0, 75.0, 99.0)


@dataclass(frozen=True, slots=True)
class Observation:
    """``view`` is the first image, small: (32, 32) or (12, 12, 12) uint8, 1st to 99th percentile spanning 0 to 255;
    columns run to the viewer's right in a picture, and volumes with a known orientation are turned to RAS.

    Args:
        code: perceptual hash, int8.
        view: see above; first axis along the picture's rows from left to right (I), then down (J), then K.
        levels: 1st, 25th, 50th, 75th and 99th percentile of the first image.
        quality: see ``measure_quality``.
        acquisition: what is known of how the image was made: numbers and words by name.
        text: boxes of burned-in text.
        marks: boxes of coloured marks in an otherwise grey picture.
        tags: see ``read_tags``.
        pieces: of each label, by its value in the file.
        outlines: how the mask's outline stands out in its planes, where the mask lies on the image's grid.
        shift: largest distance between the corners of mask (or further channel) and image grid, in voxels.
        blank_slices: slices (0-based, along ``slice_axis``) of one value that lie between others.
    """

    code: Array
    view: Array
    levels: tuple[float, ...]
    quality: dict[str, float]
    acquisition: dict[str, float | str]
    text: tuple[Box, ...] = ()
    marks: tuple[Box, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    pieces: dict[int, Pieces] = field(default_factory=dict)
    outlines: tuple[OutlineContrast, ...] = ()
    shift: float = 0.0
    blank_slices: tuple[int, ...] = ()


def observe(case: Case) -> Observation:
    """Look at a case whose images are whole (finite, of 1 or 3 channels, not blank).

    Raises:
        StudyError: when the header of a DICOM file cannot be read again.
    """
    image = case.study.image
    tags = read_tags(image.source.paths[0]) if image.source.format == "dicom" and image.source.paths else {}
    others = [*list(case.study.images.values())[1:], *([case.mask] if case.mask is not None else [])]
    channel = next(iter(case.study.images))
    return Observation(
        code=perceptual_hash(image.array),
        view=_view(image),
        levels=_levels(image.array),
        quality=measure_quality(image),
        acquisition=_acquisition(case, image, tags),
        text=_text(case),
        marks=tuple(Box(channel=channel, start=start, stop=stop) for start, stop in find_marks(image)),
        tags=tags,
        pieces={} if case.mask is None else pieces_of(case.mask),
        outlines=() if case.mask is None or case.mask.shape != image.shape else outlines_of(image, case.mask),
        shift=max((grid_distance(image, other) for other in others), default=0.0),
        blank_slices=_blank_slices(image),
    )


def grid_distance(one: Image, other: Image) -> float:
    """How far the corners of two grids of one shape lie apart at most, in voxels of the first.

    0 where a place is not known; infinite for two shapes.
    """
    if one.shape != other.shape:
        return float("inf")
    if not (one.spacing_known and other.spacing_known):
        return 0.0
    ends = np.array([[0, n - 1] for n in (*one.shape, 1)[:3]], float)
    corners = np.stack([*np.meshgrid(*ends), np.ones((2, 2, 2))]).reshape(4, -1)
    apart = np.linalg.norm(((one.affine - other.affine) @ corners)[:3], axis=0).max()
    return float(apart / min(spacing_of(one.affine)[: one.dimensions]))


def _view(image: Image) -> Array:
    side = VIEW[image.dimensions]
    step = tuple(slice(None, None, max(1, n // (4 * side))) for n in image.shape)
    small = image.array[(slice(0, 1), *step)] if image.dimensions == 3 else grey_of(image.array)[None]
    if image.dimensions == 3 and image.spacing_known and image.orientation_known:
        order, flips = orientation_transform(image.affine, "RAS")
        small, _ = flip_and_permute(small, np.eye(4), order, flips)
    low, high = np.percentile(small.ravel()[:: max(1, small.size // 20_000)], (1, 99)).tolist()
    shrunk = resample(small, (side,) * image.dimensions)[0]
    return np.asarray((np.clip((shrunk - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8))


def _levels(array: Array) -> tuple[float, ...]:
    flat = array[0].ravel()
    return tuple(np.percentile(flat[:: max(1, flat.size // 20_000)], _LEVELS).tolist())


def _acquisition(case: Case, image: Image, tags: dict[str, str]) -> dict[str, float | str]:
    """Nothing in here depends on what the patient has, unless the way of imaging does."""
    found: dict[str, float | str] = {f"size {a}": float(n) for a, n in zip("IJK", image.shape, strict=False)}
    found["aspect"] = image.shape[0] / image.shape[1]
    if image.spacing_known:
        found |= {f"spacing {a}": round(s, 4) for a, s in zip("IJK", image.spacing, strict=False)}
        found["orientation"] = axis_codes(image.affine)
    path = image.source.paths[0] if image.source.paths else None
    found["file type"] = path.suffix.lower() if path is not None and path.is_file() else image.source.format
    found["number type"] = f"{image.array.dtype} × {image.array.shape[0]}"
    top, bottom, left, right = margins(planes(image, 1)[0].pixels)
    sides = zip(("top", "bottom", "left", "right"), (top, bottom, left, right), strict=True)
    found |= {f"margin {side}": float(pixels) for side, pixels in sides}
    if case.record.site is not None:
        found["site"] = case.record.site
    names = ("manufacturer", "model", "field strength", "kernel", "voltage", "view")
    return found | {name: tags[name] for name in names if name in tags}


def _text(case: Case) -> tuple[Box, ...]:
    """Of each channel: of a picture its lines; of a volume those that two of a few slices show at one place, because
    writing stays where it is and folds of a brain do not."""
    boxes = []
    for name, image in case.study.images.items():
        cuts = planes(image, _SLICES_WITH_TEXT)
        lines = [find_text(plane.pixels) for plane in cuts]
        for place, (plane, found) in enumerate(zip(cuts, lines, strict=True)):
            others = [line for other in (*lines[:place], *lines[place + 1 :]) for line in other]
            for line in found:
                if _inked(image, line) and (len(cuts) == 1 or any(line.lies_on(other) for other in others)):
                    start, stop = plane.box(line.rows, line.columns)
                    boxes.append(Box(channel=name, start=start, stop=stop))
    return tuple(boxes)


def _inked(image: Image, line: TextLine) -> bool:
    coloured = image.dimensions == 2 and image.array.shape[0] == 3
    return not coloured or is_inked(image.array.transpose(0, 2, 1), line)


def _blank_slices(image: Image) -> tuple[int, ...]:
    """Slices of one value between slices that show something; what is cut off at an end is not told from padding."""
    if image.dimensions == 2:
        return ()
    axis = slice_axis(image)
    others = tuple(a for a in range(3) if a != axis)
    blank = image.array[0].min(axis=others) == image.array[0].max(axis=others)
    shown = np.flatnonzero(~blank)
    if not len(shown):
        return ()
    inside = np.flatnonzero(blank[shown[0] : shown[-1]]) + shown[0]
    return tuple(inside.tolist())
