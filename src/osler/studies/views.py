"""Planes of an image as a radiologist expects them, and the window they are shown through. No drawing here.

Display convention: axial and coronal views have the patient's right on the viewer's left; sagittal views look at the
patient from the left, anterior on the viewer's left; superior is up, anterior is up in axial views. A 2D image is shown
as its file has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from osler.errors import GridMismatch
from osler.studies.geometry import Array, axis_codes, flip_and_permute, orientation_transform
from osler.studies.image import Image
from osler.studies.volume import ImageLike

__all__ = [
    "AIR",
    "BRIGHTNESS",
    "Axes",
    "Plane",
    "View",
    "chosen_planes",
    "cut_view",
    "display_axes",
    "middle_view",
    "percentile_window",
    "sample_stride",
    "through_curve",
    "through_window",
    "views_of",
    "window_from",
    "window_of",
]

_OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))
_DISPLAY = "LPI"  # to the viewer's right, down (or back), down
_PLANES = ((2, 0, 1, "axial"), (1, 0, 2, "coronal"), (0, 1, 2, "sagittal"))  # fixed axis, across, down
_SOFT_TISSUE, _LUNG = (40.0, 400.0), (-600.0, 1500.0)
BRIGHTNESS = (127.5, 255.0)
"""The window of values that went through a curve."""
AIR = -400.0
"""HU: a mask whose median lies below it lies on air."""
_TOO_WIDE = 1.5  # file's window over percentile window
_THIN = 0.2  # planes of a thin stack whose short side is under this share of the longest one's long side are left out
_SAMPLE = 1_000_000  # voxels that percentiles are taken from


@dataclass(frozen=True, eq=False)
class View:
    """One plane to be drawn.

    Args:
        pixels: (rows, columns) in the image's units, or (rows, columns, 3) colour.
        mask: (rows, columns) label values, or None.
        truth: the same for the reference, or None.
        spacing: mm (pixels when unknown) across and down.
        letters: anatomical directions at the left, right, top and bottom edge; None when not known.
        title: "axial 12/35"; empty for a 2D image.
        frames: (rows, columns) numbers of places to frame, 0 elsewhere, or None.
    """

    pixels: Array
    mask: Array | None
    truth: Array | None
    spacing: tuple[float, float]
    letters: tuple[str, str, str, str] | None
    title: str
    frames: Array | None = None


def views_of(
    image: Image,
    mask: Array | None = None,
    truth: Array | None = None,
    *,
    focus: int | None = None,
    frames: Array | None = None,
) -> list[View]:
    """The planes to show: the picture itself, or axial, coronal and sagittal where the mask's area is largest.

    Without a mask (or an empty one) the truth decides, else the middle. The thin planes of a stack of few
    slices are left out.

    Args:
        image: 2D or 3D.
        mask: (I, J[, K]) or (1, I, J[, K]) label values on the image's grid, 0 is background.
        truth: the same.
        focus: the label whose area decides, where the mask holds it; None lets all of them together.
        frames: (I, J[, K]) numbers of places to frame; they decide before the masks do.

    Raises:
        GridMismatch: when a mask's shape is not the image's.
    """
    mask, truth = _fitting(image, mask, "mask"), _fitting(image, truth, "reference mask")
    if image.dimensions == 2:
        return [_picture(image, mask, truth, frames)]
    voxels, masks, affine_codes, spacing = _displayed(image, [mask, truth, frames])
    deciding = next((one for one in [masks[2], *masks[:2]] if one is not None and one.any()), None)
    if focus is not None and deciding is not None and masks[2] is None and (deciding == focus).any():
        deciding = deciding == focus
    views = []
    for plane in chosen_planes(voxels.shape[1:], spacing):
        fixed, across, down, _ = plane
        place = voxels.shape[fixed + 1] // 2
        if deciding is not None:
            place = int(np.count_nonzero(deciding, axis=(across, down)).argmax())
        cut = [None if one is None else np.take(one, [place], axis=fixed) for one in masks]
        whole = np.take(voxels[0], [place], axis=fixed)
        views.append(cut_view(whole, cut, affine_codes, spacing, plane, (place, voxels.shape[fixed + 1])))
    return views


def middle_view(
    image: Image,
    mask: Array | None = None,
    *,
    truth: Array | None = None,
    focus: int | None = None,
    frames: Array | None = None,
) -> View:
    """The first of ``views_of``: the picture, or the axial plane of a volume; with both masks and nothing to frame the
    plane where they differ most."""
    if mask is not None and truth is not None and frames is None:
        different = (mask != truth).astype(np.uint8)
        return replace(views_of(image, mask, truth, frames=different)[0], frames=None)
    return views_of(image, mask, truth, focus=focus, frames=frames)[0]


def window_of(image: Image, mask: Array | None = None) -> tuple[float, float]:
    """(centre, width) to show an image through.

    For CT the file's, else soft tissue (40, 400), or lung (-600, 1500) where the mask lies on air. Otherwise the file's
    unless it is much wider than what the image holds (MR scanners often write the whole range of the stored type), and
    in its place the 0.5th to 99.5th percentile.
    """

    def on_air() -> bool:
        inside = None if mask is None else image.array[0][np.asarray(mask).reshape(image.shape) > 0]
        return inside is not None and inside.size > 0 and float(np.median(inside)) < AIR

    def percentiles() -> tuple[float, float]:
        flat = image.array[0].ravel()
        return percentile_window(flat[:: sample_stride(flat.size)])

    return window_from(image, on_air, percentiles)


def window_from(
    image: ImageLike, on_air: Callable[[], bool], percentiles: Callable[[], tuple[float, float]]
) -> tuple[float, float]:
    """The same, from what is asked of the voxels.

    Args:
        image: what it says of itself.
        on_air: whether the median of a CT under its mask is below ``AIR``.
        percentiles: the window between percentiles of its values.
    """
    if image.curve is not None and image.window == BRIGHTNESS:
        return BRIGHTNESS
    if image.modality == "CT" or image.units == "HU":
        if image.window is not None:
            return image.window
        return _LUNG if on_air() else _SOFT_TISSUE
    found = percentiles()
    if image.window is not None and 0 < image.window[1] <= _TOO_WIDE * found[1]:
        return image.window
    return found


def sample_stride(size: int) -> int:
    """Percentiles are those of every n-th of so many voxels: n."""
    return max(1, size // _SAMPLE)


def percentile_window(values: Array) -> tuple[float, float]:
    """(centre, width) from the 0.5th to the 99.5th percentile of values; NaN and infinity do not count."""
    sample = values.astype(np.float64)
    sample = sample[np.isfinite(sample)]
    low, high = np.percentile(sample, [0.5, 99.5]) if sample.size else (0.0, 1.0)
    if high <= low:  # almost everything is one value
        low, high = (float(sample.min()), float(sample.max())) if sample.size else (0.0, 1.0)
    return float(low + high) / 2, max(float(high - low), 1e-6)


def through_curve(image: Image) -> Image:
    """An image whose file says by a curve how values become brightness: its values are brightness from 0 to 255 then.

    Any other image is given back as it is; a second time changes nothing.
    """
    if image.curve is None or image.array.shape[0] != 1:
        return image
    inputs, outputs = image.curve
    shown = np.interp(image.array, inputs, np.multiply(outputs, 255)).astype(np.float32)
    straight = (np.array([0.0, 255.0]), np.array([0.0, 1.0]))
    return replace(image, array=shown, window=BRIGHTNESS, curve=straight)


def through_window(pixels: Array, window: tuple[float, float]) -> Array:
    """Values to 8 bits: black at the window's lower end, white at its upper end; colour is left as it is."""
    if pixels.ndim == 3 and pixels.dtype == np.uint8:
        return pixels
    centre, width = window
    if pixels.ndim == 3:  # 16-bit or float colour
        finite = np.nan_to_num(pixels.astype(np.float32))
        return np.asarray(np.clip(finite / max(float(finite.max()), 1e-6) * 255, 0, 255).astype(np.uint8))
    scaled = (np.nan_to_num(pixels.astype(np.float32)) - (centre - width / 2)) / width * 255
    return np.asarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _fitting(image: Image, mask: Array | None, name: str) -> Array | None:
    if mask is None:
        return None
    spatial = mask[0] if mask.ndim == image.array.ndim and mask.shape[0] == 1 else mask
    if spatial.shape != image.shape:
        raise GridMismatch(
            f"the {name} has shape {spatial.shape} and the image {image.shape}", remedy="resample it onto the image"
        )
    return spatial


def _letters(across: str, down: str) -> tuple[str, str, str, str]:
    """Left, right, top, bottom from the directions in which the view grows."""
    return _OPPOSITE[across], across, _OPPOSITE[down], down


def _picture(image: Image, mask: Array | None, truth: Array | None, frames: Array | None) -> View:
    codes = axis_codes(image.affine)
    colour = image.array.shape[0] == 3
    pixels = np.transpose(image.array) if colour else image.array[0].T
    turned = [None if one is None else one.T for one in (mask, truth, frames)]
    letters = _letters(codes[0], codes[1]) if image.orientation_known and image.spacing_known else None
    return View(pixels, turned[0], turned[1], (image.spacing[0], image.spacing[1]), letters, "", turned[2])


def _displayed(
    image: Image, masks: list[Array | None]
) -> tuple[Array, list[Array | None], str | None, tuple[float, float, float]]:
    """Voxels and masks with axes growing left, posterior, inferior; as they are when the orientation is not known."""
    order, flips, codes, spacing = display_axes(image)
    voxels, affine = flip_and_permute(image.array, image.affine, order, flips)
    turned = [None if one is None else flip_and_permute(one[None], affine, order, flips)[0][0] for one in masks]
    return voxels, turned, codes, spacing


Axes = tuple[tuple[int, int, int], tuple[bool, bool, bool], str | None, tuple[float, float, float]]


def display_axes(image: ImageLike) -> Axes:
    """Order and flips of ``flip_and_permute``, the directions in which axes grow then (None when not known), and mm
    along each."""
    known = image.orientation_known and image.spacing_known
    order, flips = orientation_transform(image.affine, _DISPLAY) if known else ((0, 1, 2), (False, False, False))
    spacing = tuple(image.spacing[axis] for axis in order)
    return order, flips, _DISPLAY if known else None, (spacing[0], spacing[1], spacing[2])


Plane = tuple[int, int, int, str]
"""Axis that it is perpendicular to, axis across, axis down, name."""


def chosen_planes(shape: Sequence[int], spacing: Sequence[float]) -> list[Plane]:
    """The planes to show of a volume as it is displayed; thin ones of a stack of few slices are left out."""
    extent = np.multiply(shape, spacing)
    planes = [plane for plane in _PLANES if min(extent[plane[1]], extent[plane[2]]) >= _THIN * extent.max()]
    return planes or [_PLANES[0]]


def cut_view(
    pixels: Array,
    masks: Sequence[Array | None],
    codes: str | None,
    spacing: tuple[float, float, float],
    plane: Plane,
    place: tuple[int, int],
) -> View:
    """One plane to be drawn.

    Args:
        pixels: as displayed, of size 1 along the plane's first axis.
        masks: mask, truth and frames likewise.
        codes: directions in which the axes grow.
        spacing: mm along each.
        plane: which.
        place: its index, and of how many.
    """
    fixed, across, down, name = plane
    flat = np.take(pixels, 0, axis=fixed).T  # (down, across)
    cut = [None if one is None else np.take(one, 0, axis=fixed).T for one in masks]
    letters = _letters(codes[across], codes[down]) if codes else None
    title = f"{name if codes else 'plane ' + 'IJK'[across] + 'IJK'[down]} {place[0] + 1}/{place[1]}"
    return View(flat, cut[0], cut[1], (spacing[across], spacing[down]), letters, title, cut[2])
