"""Planes of an image as a radiologist expects them, and the window they are shown through. No drawing here.

Display convention: axial and coronal views have the patient's right on the viewer's left; sagittal views look at the
patient from the left, anterior on the viewer's left; superior is up, anterior is up in axial views. A 2D image is shown
as its file has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from osler.errors import GridMismatch
from osler.studies.geometry import Array, axis_codes, flip_and_permute, orientation_transform
from osler.studies.image import Image

__all__ = ["View", "middle_view", "through_curve", "through_window", "views_of", "window_of"]

_OPPOSITE = dict(zip("LRAPSI", "RLPAIS", strict=True))
_DISPLAY = "LPI"  # to the viewer's right, down (or back), down
_PLANES = ((2, 0, 1, "axial"), (1, 0, 2, "coronal"), (0, 1, 2, "sagittal"))  # fixed axis, across, down
_SOFT_TISSUE, _LUNG = (40.0, 400.0), (-600.0, 1500.0)
_BRIGHTNESS = (127.5, 255.0)
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
    extent = np.multiply(voxels.shape[1:], spacing)
    planes = [plane for plane in _PLANES if min(extent[plane[1]], extent[plane[2]]) >= _THIN * extent.max()]
    return [_plane(voxels, masks, affine_codes, spacing, plane, deciding) for plane in planes or _PLANES[:1]]


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
    if image.curve is not None and image.window == _BRIGHTNESS:
        return _BRIGHTNESS
    if image.modality == "CT" or image.units == "HU":
        if image.window is not None:
            return image.window
        inside = None if mask is None else image.array[0][np.asarray(mask).reshape(image.shape) > 0]
        on_air = inside is not None and inside.size > 0 and float(np.median(inside)) < -400
        return _LUNG if on_air else _SOFT_TISSUE
    percentiles = _percentile_window(image)
    if image.window is not None and 0 < image.window[1] <= _TOO_WIDE * percentiles[1]:
        return image.window
    return percentiles


def _percentile_window(image: Image) -> tuple[float, float]:
    flat = image.array[0].ravel()
    sample = flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)
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
    return replace(image, array=shown, window=_BRIGHTNESS, curve=straight)


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
    known = image.orientation_known and image.spacing_known
    order, flips = orientation_transform(image.affine, _DISPLAY) if known else ((0, 1, 2), (False, False, False))
    voxels, affine = flip_and_permute(image.array, image.affine, order, flips)
    turned = [None if one is None else flip_and_permute(one[None], affine, order, flips)[0][0] for one in masks]
    spacing = tuple(image.spacing[axis] for axis in order)
    return voxels, turned, _DISPLAY if known else None, (spacing[0], spacing[1], spacing[2])


def _plane(
    voxels: Array,
    masks: list[Array | None],
    codes: str | None,
    spacing: tuple[float, float, float],
    plane: tuple[int, int, int, str],
    deciding: Array | None,
) -> View:
    fixed, across, down, name = plane
    count = voxels.shape[fixed + 1]
    place = count // 2
    if deciding is not None:
        place = int(np.count_nonzero(deciding, axis=(across, down)).argmax())
    pixels = np.take(voxels[0], place, axis=fixed).T  # (down, across)
    cut = [None if one is None else np.take(one, place, axis=fixed).T for one in masks]
    letters = _letters(codes[across], codes[down]) if codes else None
    title = f"{name if codes else 'plane ' + 'IJK'[across] + 'IJK'[down]} {place + 1}/{count}"
    return View(pixels, cut[0], cut[1], (spacing[across], spacing[down]), letters, title, cut[2])
