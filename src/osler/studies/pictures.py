"""Pictures for people: an image with masks drawn on it, and small ones for pages of many. Pillow and NumPy only.

Every picture carries what a reader needs in order not to be misled: window, directions (or that they are not known), a
scale bar, a legend, and what the picture is not for. Colours are those of Okabe and Ito, which people with colour
vision deficiencies can tell apart.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.views import View, middle_view, through_curve, through_window, views_of, window_of
from osler.studies.volume import ImageLike

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageDraw

__all__ = ["DISCLAIMER", "colour_of", "drawn", "overlay", "tile", "to_png_bytes"]

DISCLAIMER = "Research use only - not a medical device"
_OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
_BACKGROUND, _TEXT, _QUIET = (18, 18, 18), (240, 240, 240), (170, 170, 170)
_FRAME = (213, 94, 0)
_FILL = 0.28  # opacity of a mask
_SMALLEST, _LARGEST, _PANEL = 384, 1024, 400  # px: longest side of a 2D picture, of a plane
_MARGIN, _LINE = 12, 20
_LEGEND_ROWS = 12
_PACKING = 1  # of zlib


def overlay(
    image: Image,
    mask: Array | None = None,
    labels: Mapping[int, str] | None = None,
    *,
    caption: str = "",
    lines: Sequence[str] = (),
    truth: Array | None = None,
) -> PIL.Image.Image:
    """An image with its mask: contour and translucent fill per label, the reference as black and white dashes.

    Args:
        image: 2D, or 3D (shown as axial, coronal and sagittal planes where the mask's area is largest).
        mask: (I, J[, K]) label values on the image's grid, 0 is background.
        labels: name by mask value; their order gives the colours, so the same labels look the same in every picture.
        caption: the study's name.
        lines: what was answered, one line each, e.g. "pneumonia: probability 0.97".
        truth: reference mask, as ``mask``.

    Raises:
        GridMismatch: when a mask's shape is not the image's.
    """
    names = _named_values(labels, mask, truth)
    image = through_curve(image)
    window = window_of(image, mask)
    return drawn(image, views_of(image, mask, truth), window, names, caption=caption, lines=lines)


def drawn(
    image: ImageLike,
    views: Sequence[View],
    window: tuple[float, float],
    names: Mapping[int, str],
    *,
    caption: str = "",
    lines: Sequence[str] = (),
) -> PIL.Image.Image:
    """The picture of chosen planes; arguments as ``overlay``.

    Args:
        image: what it says of itself; through its curve already, if it has one.
        views: the planes.
        window: they are shown through.
        names: by mask value.
        caption: the study's name.
        lines: what was answered.
    """
    scale = _scale_of(views)
    panels = [_panel(view, window, scale, list(names), image.spacing_known) for view in views]
    return _compose(panels, _header(caption, lines), _footer(image, window, views), _legend(names, views))


def tile(
    image: Image,
    mask: Array | None = None,
    labels: Mapping[int, str] | None = None,
    *,
    side: int = 256,
    focus: int | None = None,
    boxes: Sequence[tuple[Sequence[int], Sequence[int]]] = (),
    truth: Array | None = None,
) -> tuple[PIL.Image.Image, str]:
    """One plane with its mask, letters and scale bar, for a page that shows many; and how it is to be read, in words.

    Args:
        image: 2D, or 3D (its axial plane where the mask's area is largest, or a box lies, or the middle one).
        mask: (I, J[, K]) label values on the image's grid, 0 is background.
        labels: name by mask value; their order gives the colours.
        side: longest side in screen pixels.
        focus: the label whose area decides which plane is shown.
        boxes: places to frame, each as start and stop (exclusive) voxel along each axis of the image.
        truth: another mask, drawn in dashes; of a volume the plane is shown where the two differ most.

    Returns:
        The picture, grey ("L") when nothing in it has colour, and e.g. "window 400, level 40; orientation unknown".

    Raises:
        GridMismatch: when the mask's shape is not the image's.
    """
    image = through_curve(image)
    window = window_of(image, mask)
    view = middle_view(image, mask, truth=truth, focus=focus, frames=_framed(image, boxes))
    names = _named_values(labels, mask, truth)
    panel = _panel(view, window, side / max(_extent(view)), list(names), image.spacing_known)
    drawn = view.frames is not None or any(one is not None and bool(one.any()) for one in (view.mask, view.truth))
    coloured = drawn or view.pixels.ndim == 3
    notes = [f"window {_short(window[1])}, level {_short(window[0])}"] if view.pixels.ndim == 2 else []
    notes += ["orientation unknown"] if view.letters is None else []
    return panel if coloured else panel.convert("L"), "; ".join(notes)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _framed(image: Image, boxes: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Array | None:
    """(I, J[, K]) the number of each box in its voxels (at most 255 are shown), 0 outside."""
    if not boxes:
        return None
    frames = np.zeros(image.shape, np.uint8)
    for number, (start, stop) in enumerate(boxes[:255], 1):
        frames[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = number
    return frames


def to_png_bytes(picture: PIL.Image.Image) -> bytes:
    """A picture as the bytes of a PNG. Packed quickly: tighter packing takes four times as long to save a fifth."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=_PACKING)
    return buffer.getvalue()


def colour_of(place: int) -> tuple[int, int, int]:
    """The colour of the label at a place (0-based) in the label list; after seven they come lighter, then darker."""
    red, green, blue = _OKABE_ITO[place % len(_OKABE_ITO)]
    turn = place // len(_OKABE_ITO) % 3
    if turn == 1:
        return (red + 255) // 2, (green + 255) // 2, (blue + 255) // 2
    return (red * 3 // 5, green * 3 // 5, blue * 3 // 5) if turn == 2 else (red, green, blue)


def _named_values(labels: Mapping[int, str] | None, mask: Array | None, truth: Array | None) -> dict[int, str]:
    """Names by value: the given ones in their order, then values that have none."""
    names = {int(value): name for value, name in (labels or {}).items() if value != 0}
    for array in (mask, truth):
        if array is not None:
            for value in np.unique(array):
                if value != 0:
                    names.setdefault(int(value), f"label {int(value)}")
    return names


def _extent(view: View) -> tuple[float, float]:
    """Width and height in mm (pixels when unknown)."""
    rows, columns = view.pixels.shape[:2]
    return columns * view.spacing[0], rows * view.spacing[1]


def _scale_of(views: Sequence[View]) -> float:
    """Screen pixels per mm, one for all planes so that they compare."""
    longest = max(max(_extent(view)) for view in views)
    if len(views) > 1:
        return _PANEL / longest
    native = longest / min(views[0].spacing)  # as many screen pixels as the finer axis has
    return min(max(native, _SMALLEST), _LARGEST) / longest


def _blend(view: View, window: tuple[float, float], scale: float, values: Sequence[int]) -> PIL.Image.Image:
    """The windowed pixels at screen size with masks drawn on them."""
    import PIL.Image

    width, height = (max(1, round(side * scale)) for side in _extent(view))
    grey = PIL.Image.fromarray(through_window(view.pixels, window)).convert("RGB")
    shrinking = width < grey.width
    resampling = PIL.Image.Resampling.LANCZOS if shrinking else PIL.Image.Resampling.BICUBIC
    canvas = np.asarray(grey.resize((width, height), resampling)).astype(np.float32)
    if view.mask is not None:
        labels = _enlarged(view.mask, width, height)
        for place, value in enumerate(values):
            inside = labels == value
            colour = np.array(colour_of(place), dtype=np.float32)
            canvas[inside] = canvas[inside] * (1 - _FILL) + colour * _FILL
            canvas[_edge(inside, 2)] = colour
    if view.truth is not None:
        reference = _enlarged(view.truth, width, height)
        for value in values:
            _dash(canvas, _edge(reference == value, 2))
    return PIL.Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def _enlarged(mask: Array, width: int, height: int) -> Array:
    """Nearest neighbour, pixel centres aligned as Pillow's resize does."""
    rows = ((np.arange(height) + 0.5) * mask.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * mask.shape[1] / width).astype(int)
    return np.asarray(mask[rows][:, columns])


def _edge(inside: Array, thickness: int) -> Array:
    """The outermost pixels of a region, ``thickness`` deep; the picture's border counts as outside only beyond it."""
    core = inside
    for _ in range(thickness):
        padded = np.pad(core, 1, mode="edge")
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core


def _dash(canvas: Array, edge: Array) -> None:
    rows, columns = np.nonzero(edge)
    white = (rows + columns) // 6 % 2 == 0
    canvas[rows, columns] = np.where(white[:, None], 255.0, 0.0)


def _panel(
    view: View, window: tuple[float, float], scale: float, values: Sequence[int], in_mm: bool
) -> PIL.Image.Image:
    """One plane with its letters, title and scale bar."""
    import PIL.ImageDraw

    panel = _blend(view, window, scale, values)
    draw = PIL.ImageDraw.Draw(panel)
    width, height = panel.size
    if view.letters:
        left, right, top, bottom = view.letters
        for letter, place, anchor in (
            (left, (5, height // 2), "lm"),
            (right, (width - 5, height // 2), "rm"),
            (top, (width // 2, 4), "mt"),
            (bottom, (width // 2, height - 5), "mb"),
        ):
            _outlined(draw, place, letter, 18, anchor)
    if view.title:
        _outlined(draw, (6, 5), view.title, 13, "lt")
    _draw_scale_bar(draw, width, height, scale, "mm" if in_mm else "px")
    if view.frames is not None:
        _draw_frames(draw, _enlarged(view.frames, width, height))
    return panel


def _draw_frames(draw: PIL.ImageDraw.ImageDraw, numbers: Array) -> None:
    """A rectangle round each number's pixels, a little apart from them so that what is framed stays to be seen."""
    from scipy.ndimage import find_objects

    height, width = numbers.shape
    for place in find_objects(numbers.astype(np.int32)):
        if place is not None:
            rows, columns = place
            left, top = max(0, columns.start - 3), max(0, rows.start - 3)
            right, bottom = min(width - 1, columns.stop + 2), min(height - 1, rows.stop + 2)
            draw.rectangle((left, top, right, bottom), outline=_FRAME, width=2)


def _draw_scale_bar(draw: PIL.ImageDraw.ImageDraw, width: int, height: int, scale: float, unit: str) -> None:
    """A bar of 1, 2 or 5 times a power of ten units, at most a quarter of the width, at the lower left."""
    available = width / 4 / scale
    decade = 10.0 ** math.floor(math.log10(available))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= available)
    x, y, end = 8, height - 10, 8 + round(length * scale)
    draw.rectangle((x - 1, y - 2, end + 1, y + 2), fill=(0, 0, 0))
    draw.rectangle((x, y - 1, end, y + 1), fill=(255, 255, 255))
    _outlined(draw, (x, y - 5), f"{length:g} {unit}", 13, "lb")


def _outlined(draw: PIL.ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, anchor: str) -> None:
    """Text that can be read on black and on white."""
    draw.text(place, text, (255, 255, 255), font=_font(size), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    import PIL.ImageFont

    return PIL.ImageFont.load_default(size)


def _header(caption: str, lines: Sequence[str]) -> list[tuple[str, int, tuple[int, int, int]]]:
    """(text, size, colour) of each line above the panels."""
    return [(text, 17, _TEXT) for text in [caption] if text] + [(text, 14, _TEXT) for text in lines]


def _footer(
    image: ImageLike, window: tuple[float, float], views: Sequence[View]
) -> list[tuple[str, int, tuple[int, int, int]]]:
    """(text, size, colour) of each line below them: how the picture is to be read."""
    notes = []
    if image.curve is not None:
        notes.append("Shown through the file's own brightness curve (VOI LUT)")
    elif views[0].pixels.ndim == 2:
        notes.append(f"Window: centre {window[0]:.5g}, width {window[1]:.5g}{' HU' if image.units == 'HU' else ''}")
    unknown = ["orientation"] * (views[0].letters is None) + ["pixel size"] * (not image.spacing_known)
    if unknown:
        notes.append((" and ".join(unknown) + " unknown").capitalize())
    if image.channels > 1 and views[0].pixels.ndim == 2:
        notes.append(f"Channel 1 of {image.channels}")
    return [(note, 13, _QUIET) for note in [*notes, DISCLAIMER]]


def _legend(names: Mapping[int, str], views: Sequence[View]) -> list[tuple[str, tuple[int, int, int] | None]]:
    """(text, colour) of each label that can be seen in the planes; colour None is the dashed reference."""
    arrays = [array for view in views for array in (view.mask, view.truth) if array is not None]
    seen = {int(value) for array in arrays for value in np.unique(array)}
    rows: list[tuple[str, tuple[int, int, int] | None]] = [
        (name, colour_of(place)) for place, (value, name) in enumerate(names.items()) if value in seen
    ]
    if len(rows) > _LEGEND_ROWS:
        rows = [*rows[: _LEGEND_ROWS - 1], (f"and {len(rows) - _LEGEND_ROWS + 1} more", _BACKGROUND)]
    if any(view.truth is not None for view in views):
        rows.append(("reference (dashed)", None))
    return rows


def _compose(
    panels: Sequence[PIL.Image.Image],
    header: Sequence[tuple[str, int, tuple[int, int, int]]],
    footer: Sequence[tuple[str, int, tuple[int, int, int]]],
    legend: Sequence[tuple[str, tuple[int, int, int] | None]],
) -> PIL.Image.Image:
    import PIL.Image
    import PIL.ImageDraw

    width = max(sum(panel.width + _MARGIN for panel in panels) + _MARGIN, _SMALLEST + 2 * _MARGIN)
    ruler = PIL.ImageDraw.Draw(PIL.Image.new("RGB", (1, 1)))
    above = [(part, size, colour) for text, size, colour in header for part in _wrapped(ruler, text, width, size)]
    below = [(part, size, colour) for text, size, colour in footer for part in _wrapped(ruler, text, width, size)]
    entries = _flowed(ruler, legend, width)
    legend_height = (entries[-1][1] + _LINE if entries else 0) + (6 if entries else 0)
    top = _MARGIN + sum(size + 8 for _, size, _ in above)
    tallest = max(panel.height for panel in panels)
    sheet = PIL.Image.new("RGB", (width, top + tallest + 8 + legend_height + _LINE * len(below) + 6), _BACKGROUND)
    draw = PIL.ImageDraw.Draw(sheet)
    y = _MARGIN - 4
    for text, size, colour in above:
        draw.text((_MARGIN, y), text, colour, font=_font(size))
        y += size + 8
    x = (width - sum(panel.width + _MARGIN for panel in panels) + _MARGIN) // 2
    for panel in panels:
        sheet.paste(panel, (x, top + (tallest - panel.height) // 2))
        x += panel.width + _MARGIN
    y = top + tallest + 8
    for x, dy, text, swatch in entries:
        _draw_swatch(draw, x, y + dy, swatch)
        draw.text((x + 20, y + dy), text, _TEXT, font=_font(14))
    y += legend_height
    for text, size, colour in below:
        draw.text((_MARGIN, y), text, colour, font=_font(size))
        y += _LINE
    return sheet


def _flowed(
    ruler: PIL.ImageDraw.ImageDraw, legend: Sequence[tuple[str, tuple[int, int, int] | None]], width: int
) -> list[tuple[int, int, str, tuple[int, int, int] | None]]:
    """(x, y, text, colour) of legend entries, flowing into rows."""
    placed, x, y = [], _MARGIN, 0
    for name, colour in legend:
        text = _shortened(ruler, name, width - 2 * _MARGIN - 20, 14)
        needed = 20 + round(ruler.textlength(text, font=_font(14))) + 18
        if x > _MARGIN and x + needed > width:
            x, y = _MARGIN, y + _LINE
        placed.append((x, y, text, colour))
        x += needed
    return placed


def _draw_swatch(draw: PIL.ImageDraw.ImageDraw, x: int, y: int, colour: tuple[int, int, int] | None) -> None:
    if colour is not None:
        draw.rectangle((x, y + 3, x + 13, y + 14), fill=colour)
        return
    for place in range(0, 14, 4):
        draw.rectangle((x + place, y + 7, x + place + 3, y + 9), fill=(255, 255, 255) if place % 8 == 0 else (0, 0, 0))


def _wrapped(ruler: PIL.ImageDraw.ImageDraw, text: str, width: int, size: int) -> list[str]:
    """The text in lines that fit; a word that is too long is shortened."""
    fits, lines = width - 2 * _MARGIN, [""]
    if ruler.textlength(text, font=_font(size)) <= fits:
        return [text]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if ruler.textlength(longer, font=_font(size)) <= fits:
            lines[-1] = longer
        else:
            lines.append(_shortened(ruler, word, fits, size))
    return [line for line in lines if line] or [""]


def _shortened(ruler: PIL.ImageDraw.ImageDraw, text: str, width: int, size: int) -> str:
    """The text, its middle replaced by an ellipsis when it does not fit (names differ at both ends)."""
    if ruler.textlength(text, font=_font(size)) <= width:
        return text
    keep = len(text)
    while keep > 2 and ruler.textlength(f"{text[: keep // 2]}...{text[-(keep // 2) :]}", font=_font(size)) > width:
        keep -= 1
    return f"{text[: keep // 2]}...{text[-(keep // 2) :]}"
