"""Draws phantoms.png, the contact sheet of docs/reference/phantoms.md: ``python docs/images/phantoms.py``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from osler.studies.image import Image
from osler.studies.phantoms import brain_mr, cardiac_cine, chest_ct, chest_xray, ecg, slide_cells
from osler.studies.phantoms.degrade import Faults

SIDE, WIDE = 240, 5
COLOURS = {1: (240, 90, 80), 2: (90, 200, 120), 3: (90, 150, 250), 4: (250, 200, 60)}


def grey(image: Image, slice_: int | None, window: tuple[float, float]) -> np.ndarray:
    """(rows, columns, 3) of a slice, 8 bit."""
    values = image.array[0] if slice_ is None else image.array[0, :, :, slice_]
    low = window[0] - window[1] / 2
    eight = np.clip((values.T.astype(float) - low) / window[1] * 255, 0, 255).astype(np.uint8)
    return np.repeat(eight[..., None], 3, axis=2)


def outlined(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The picture with the borders of a mask (rows, columns) drawn on it."""
    rows = rows.copy()
    for value, colour in COLOURS.items():
        inside = np.pad(labels == value, 1)
        core = inside[1:-1, 1:-1] & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
        rows[inside[1:-1, 1:-1] & ~core] = colour
    return rows


def traced(phantom: ecg.EcgPhantom, names: tuple[str, ...]) -> np.ndarray:
    """Leads over 4 s, on paper."""
    sheet = PIL.Image.new("RGB", (SIDE * 2, SIDE), "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for at in range(0, SIDE * 2, 24):
        draw.line((at, 0, at, SIDE), fill=(250, 220, 220))
        draw.line((0, at, SIDE * 2, at), fill=(250, 220, 220))
    rate = phantom.signal.rate_hz
    for number, name in enumerate(names):
        values = phantom.signal.samples[ecg.LEADS.index(name), : int(4 * rate)]
        middle = SIDE * (number + 0.55) / len(names)
        draw.line([(k / rate * 120, middle - v * 34) for k, v in enumerate(values)], fill="black")
        draw.text((4, middle - 36), name, fill=(40, 40, 160))
    return np.asarray(sheet)


def fitted(rows: np.ndarray, width: int = SIDE) -> np.ndarray:
    """The middle of the picture, resized to the cell."""
    height, wide = rows.shape[:2]
    side = min(height, wide)
    if width == SIDE:
        top, left = (height - side) // 2, (wide - side) // 2
        rows = rows[top : top + side, left : left + side]
    return np.asarray(PIL.Image.fromarray(rows).resize((width, SIDE), PIL.Image.Resampling.LANCZOS))


def chests() -> list[np.ndarray]:
    """Three CT slices and two films."""
    faults = (Faults(), Faults(dose=0.05), Faults(motion=15))
    scans = [chest_ct.make(3, size=(160, 160, 48), nodules=2, scanner=0, faults=one) for one in faults]
    films = [
        chest_xray.make(3, size=360, nodules=2, ratio=0.45, machine=0),
        chest_xray.make(4, size=360, nodules=0, ratio=0.6, machine=2),
    ]
    slices = [fitted(grey(scan.image, 24, (-500, 1500))) for scan in scans]
    return [*slices, *(fitted(grey(film.image, None, (2048, 4096))) for film in films)]


def brains() -> list[np.ndarray]:
    """Three channels, their mask, and a patient who moves."""
    phantom = brain_mr.make(5, lesions=7, scanner=0)
    moved = brain_mr.make(5, lesions=7, scanner=0, faults=Faults(motion=3)).images["FLAIR"]
    middle = phantom.mask.shape[2] * 11 // 20
    shown = [(image, image.window) for image in (*phantom.images.values(), moved)]
    cells = [fitted(grey(image, middle, window or (900, 1800))) for image, window in shown]
    flair = phantom.images["FLAIR"]
    mask = outlined(grey(flair, middle, flair.window or (900, 1600)), phantom.mask.array[0, :, :, middle].T)
    return [*cells[:3], fitted(mask), cells[3]]


def hearts() -> list[np.ndarray]:
    """Both phases, their masks, an apical slice."""
    phantom = cardiac_cine.make(5, scanner=2, ejection=0.6)
    cells = []
    for frame in (0, phantom.systole):
        image, mask = phantom.frames[frame], phantom.masks[frame]
        rows = grey(image, 5, image.window or (1000, 2000))
        cells += [fitted(rows), fitted(outlined(rows, mask.array[0, :, :, 5].T))]
    return [*cells, fitted(grey(phantom.frames[0], 2, phantom.frames[0].window or (1000, 2000)))]


def last() -> list[np.ndarray]:
    """Two ECGs and a slide."""
    slide = slide_cells.make(6, size=512, scanner=0)
    rows = np.moveaxis(slide.image.array, 0, -1).swapaxes(0, 1)
    records = [ecg.make(14, rhythm=name, recorder=0) for name in ("atrial fibrillation", "right bundle branch block")]
    return [
        traced(records[0], ("II", "V1", "V5")),
        traced(records[1], ("I", "V1", "V6")),
        fitted(outlined(rows, slide.mask.array[0].T)),
    ]


def main() -> None:
    """Write the sheet."""
    lines = [np.hstack(cells) for cells in (chests(), brains(), hearts(), last())]
    PIL.Image.fromarray(np.vstack(lines)).save(Path(__file__).with_name("phantoms.png"), optimize=True)


if __name__ == "__main__":
    main()
