"""Quality of an image without a reference: numbers that say little alone and much beside those of its like.

All are of the image's own grey levels, scaled so that the middle 98 % of them span 1, and are means over a few
slices of a volume. Sources: noise after Immerkær (1996) in its 2×2 form, blur after Crété-Roffet et al. (2007).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.quality.planes import planes, reduced

__all__ = ["MEASURES", "margins", "measure_quality"]

MEASURES: Mapping[str, str] = {
    "noise": "standard deviation of the noise, as a share of the range of grey levels",
    "sharpness": "share of the changes between neighbouring pixels that a blur of 9 pixels takes away, 0 to 1",
    "streaking": "how much sharper one direction is than the other (motion blurs along one): ratio, at least 1",
    "ghosting": "highest peak of the picture's agreement with itself when shifted along an axis, 0 to 1",
    "bias": "standard deviation of the smooth trend (second order) of log intensity that most slopes follow",
    "exposure": "mean grey level, 0 dark to 1 bright: of the dtype's range for 8 bits, else of the image's own",
    "contrast": "middle 98 % of the grey levels: as a share of the dtype's range for 8 bits, else of the image's",
    "clipped_high": "share of pixels at the image's highest value",
    "clipped_low": "share of pixels at the image's lowest value",
    "coverage": "share of the frame that is left after margins of one value are cut off",
}
"""What each number is; ``measure_quality`` gives all of them."""
_SLICES = 3
_MOST = 512
_SMALL = 16
"""Pixels a side below which nothing is measured but exposure and clipping."""
_FLAT = 0.01
"""A row whose grey levels stay within this share of the range of the corner's is margin."""
_TRIMMED = 0.5586
"""Mean of the lower 80 % of |x| for a normal x of standard deviation 1."""


def measure_quality(image: Image) -> dict[str, float]:
    """The numbers of ``MEASURES`` for one image; those that cannot be had (too small, blank) are left out.

    Args:
        image: picture or volume; of a volume three slices of its middle half are measured.
    """
    found = [_of_plane(plane.pixels, _full_range(image.array)) for plane in planes(image, _SLICES)]
    return {
        name: float(np.mean([one[name] for one in found if name in one]))
        for name in MEASURES
        if any(name in one for one in found)
    }


def margins(pixels: Array) -> tuple[int, int, int, int]:
    """Rows above and below and columns left and right that hold one grey level (within 1 % of the range).

    Args:
        pixels: (rows, columns).

    Returns:
        Pixels, (top, bottom, left, right); a blank picture has none.
    """
    span = float(np.ptp(pixels))
    if span == 0:
        return 0, 0, 0, 0
    flat = _FLAT * span
    rows, columns = np.ptp(pixels, axis=1) <= flat, np.ptp(pixels, axis=0) <= flat
    return _leading(rows), _leading(rows[::-1]), _leading(columns), _leading(columns[::-1])


def _leading(flags: Array) -> int:
    return int(len(flags) if flags.all() else flags.argmin())


def _full_range(array: Array) -> tuple[float, float] | None:
    """What an 8-bit file can hold; other files use their range as they like."""
    return (0.0, 255.0) if array.dtype == np.uint8 else None


def _of_plane(pixels: Array, full: tuple[float, float] | None) -> dict[str, float]:
    lowest, low, high, highest = _levels(pixels)
    if highest == lowest:
        return {}
    floor, ceiling = full or (low, high)
    span = max(ceiling - floor, 1e-6)
    found = {
        "exposure": (float(pixels.mean()) - floor) / span,
        "contrast": (high - low) / (span if full else max(highest - lowest, 1e-6)),
        "clipped_high": float((pixels == highest).mean()),
        "clipped_low": float((pixels == lowest).mean()),
    }
    top, bottom, left, right = margins(pixels)
    inside = pixels[top : pixels.shape[0] - bottom, left : pixels.shape[1] - right]
    found["coverage"] = inside.size / pixels.size
    if min(inside.shape, default=0) < _SMALL or high == low:
        return found
    part = (_middle(inside) - low) / (high - low)
    return found | _of_texture(part) | {"bias": _bias(inside, low, high), "ghosting": _ghosting(inside, low, high)}


def _levels(pixels: Array) -> tuple[float, ...]:
    """Minimum, 1st and 99th percentile (of every n-th pixel of large pictures), maximum."""
    some = pixels.ravel()[:: max(1, pixels.size // 20_000)]
    low, high = np.percentile(some, (1, 99)).tolist()
    return float(pixels.min()), low, high, float(pixels.max())


def _middle(pixels: Array) -> Array:
    """At most ``_MOST`` pixels a side, at full resolution."""
    rows, columns = (slice(max(0, (n - _MOST) // 2), max(0, (n - _MOST) // 2) + _MOST) for n in pixels.shape)
    return pixels[rows, columns]


def _of_texture(pixels: Array) -> dict[str, float]:
    """Noise and sharpness of grey levels whose range is about 0 to 1."""
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    a, b, c, d = even[::2, ::2], even[1::2, ::2], even[::2, 1::2], even[1::2, 1::2]
    detail = np.abs(a - b - c + d) / 2  # blind to slopes along either axis
    shown = (a + b + c + d) / 4 > 0.1  # air is no measure: magnitude images and clipping leave too little noise in it
    detail = detail[shown] if shown.mean() > 0.05 else detail.ravel()
    limit = np.partition(detail, int(0.8 * (len(detail) - 1)))[int(0.8 * (len(detail) - 1))]
    blurs = [_blur(pixels, axis) for axis in (0, 1)]
    sharp = [1 - blur for blur in blurs]
    return {
        "noise": float(detail[detail <= limit].mean()) / _TRIMMED,
        "sharpness": float(np.mean(sharp)),
        "streaking": max(sharp) / max(min(sharp), 1e-3),
    }


def _blur(pixels: Array, axis: int) -> float:
    """Share of the differences along an axis that outlives a moving mean of 9 pixels: 1 for what was blurred before."""
    kernel = 9
    if pixels.shape[axis] <= kernel + 2:
        return 0.5
    moved = np.moveaxis(pixels, axis, 0)
    total = np.cumsum(moved, axis=0, dtype=np.float32)
    mean = (total[kernel:] - total[:-kernel]) / kernel
    inside = moved[kernel // 2 + 1 : len(moved) - kernel // 2]
    before, after = np.abs(np.diff(inside, axis=0)), np.abs(np.diff(mean, axis=0))
    whole = float(before.sum())
    return 1.0 if whole == 0 else 1 - float(np.maximum(before - after, 0).sum()) / whole


def _bias(pixels: Array, low: float, high: float) -> float:
    """A surface of second order whose slopes are those of the logarithm of block means that are not background.

    Edges of the anatomy are steep and few, what a coil does is flat and everywhere: slopes are fitted robustly (Zheng
    and Gee, Estimation of image bias field with sparsity constraints, CVPR 2010; here by reweighting).
    """
    blocks = _blocks(pixels, 24)
    levels = (blocks - low) / (high - low)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in blocks.shape), indexing="ij")
    slopes, terms = _slopes(np.log(np.maximum(levels, 1e-3)), levels > 0.1, y, x)
    if len(slopes) < 24:
        return 0.0
    weights = _fitted(terms, slopes)
    return float((np.stack([y, x, y * y, x * x, x * y], axis=-1)[levels > 0.1] @ weights).std())


def _slopes(values: Array, shown: Array, y: Array, x: Array) -> tuple[Array, Array]:
    """Differences (N,) of neighbours that are both shown, and those of y, x, y², x² and xy (N, 5), per step."""
    surfaces = np.stack([values, y, x, y * y, x * x, x * y], axis=-1)
    down, across = shown[1:] & shown[:-1], shown[:, 1:] & shown[:, :-1]
    steps = np.concatenate([np.diff(surfaces, axis=0)[down], np.diff(surfaces, axis=1)[across]])
    return steps[:, 0], steps[:, 1:]


def _fitted(terms: Array, values: Array) -> Array:
    """Weights (5,) of the terms (N, 5), by least squares that are reweighted after Cauchy."""
    trust, weights = np.ones_like(values), np.zeros(terms.shape[1])
    for _ in range(8):
        weighted = terms * trust[:, None]
        weights = np.linalg.lstsq(weighted.T @ terms, weighted.T @ values, rcond=None)[0]
        apart = np.abs(values - terms @ weights)
        trust = 1 / (1 + (apart / max(float(np.median(apart)) / 2, 1e-6)) ** 2)
    return weights


def _blocks(pixels: Array, count: int) -> Array:
    """Means over equal blocks, ``count`` along a long axis and up to twice that along a short one."""
    rows, columns = (max(1, n // count) for n in pixels.shape)
    down, across = pixels.shape[0] // rows, pixels.shape[1] // columns
    means: Array = pixels[: down * rows, : across * columns].reshape(down, rows, across, columns).mean(axis=(1, 3))
    return means


def _ghosting(pixels: Array, low: float, high: float) -> float:
    """The highest isolated peak of the autocorrelation of fine detail along an axis, at lags of 12 to 50 % of the side.

    A ghost of the phase direction is the object again, fainter and shifted.
    """
    from scipy.fft import irfft, rfft
    from scipy.ndimage import median_filter, uniform_filter

    small, _ = reduced(np.clip((pixels - low) / (high - low), -0.2, 1.2), 256)
    if min(small.shape) < 48:
        return 0.0
    detail = small - uniform_filter(small, 9)
    detail -= detail.mean()
    highest = 0.0
    for axis in (0, 1):
        size = small.shape[axis]
        power = np.abs(rfft(detail, axis=axis)) ** 2
        agreement = irfft(power.sum(axis=1 - axis), size)  # circular: a ghost leaves one edge and enters at the other
        if agreement[0] <= 0:
            continue
        agreement = agreement[size // 8 : size // 2 + 1] / agreement[0]
        highest = max(highest, float((agreement - median_filter(agreement, 15)).max()))
    return highest
