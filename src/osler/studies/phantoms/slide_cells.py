"""A whole slide that nobody has: glands of large pale cells in a fibrous ground with small dark ones, as H&E.

    phantom = make(seed=7)                       # pixels, a mask of nuclei, where each cell is and of which type
    write_dataset("demo/slides", cases=6)        # pyramidal tiled TIFF, masks, cells.csv and a manifest.csv

The two types are those that a pathologist counts in a tumour: its epithelial cells (large oval nuclei, pale with a dark
rim and a nucleolus, side by side in glands) and lymphocytes (small round dark nuclei, in swarms between the glands).
Colour is made as on glass: each stain absorbs by its amount (Beer-Lambert), with absorbances of haematoxylin and eosin
after Ruifrok and Johnston (Anal Quant Cytol Histol 23: 291, 2001). Nuclei do not overlap.

Their paper was not at hand. The absorbances are those that the ImageJ plug-in Colour Deconvolution ("H&E DAB", from a
macro of Ruifrok's: https://blog.bham.ac.uk/intellimic/g-landini-software/colour-deconvolution/) has to three digits, as
KNIME's port of it lists them; scikit-image has the same to two, "from original Ruifrok's paper"
(``skimage.color.rgb_from_hed``), which is what the test compares with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import UsageError
from osler.studies.geometry import PICTURE_AFFINE, Array
from osler.studies.image import Image
from osler.studies.phantoms.files import case_seed, csv_text, empty_folder, nothing, put_text, write_answers
from osler.studies.phantoms.slide_files import write_mask, write_slide

__all__ = [
    "EOSIN",
    "HAEMATOXYLIN",
    "LABELS",
    "LYMPHOCYTE",
    "SCANNERS",
    "TUMOUR",
    "Cell",
    "Scanner",
    "SlidePhantom",
    "make",
    "write_dataset",
]

TUMOUR, LYMPHOCYTE = 1, 2
LABELS = {TUMOUR: "tumour cell", LYMPHOCYTE: "lymphocyte"}
HAEMATOXYLIN = np.array([0.650, 0.704, 0.286])  # absorbance of red, green, blue
EOSIN = np.array([0.072, 0.990, 0.105])
_APART = {TUMOUR: 11.2, LYMPHOCYTE: 7.2}  # µm from middle to middle, so that nuclei of a type do not touch
_BETWEEN = 9.2  # µm from middle to middle of two types
_SMALLEST = 256


@dataclass(frozen=True)
class Scanner:
    """How an invented scanner and its laboratory see: µm of a pixel, blur (µm), strength of both stains, colour of
    light through glass, noise (grey levels), quality of JPEG."""

    manufacturer: str
    model: str
    pixel: float
    blur: float
    haematoxylin: float
    eosin: float
    light: tuple[float, float, float]
    noise: float
    quality: int


SCANNERS = (
    Scanner("Aster Imaging", "Aster Slide", 0.5, 0.3, 1.0, 1.0, (244, 242, 246), 1.5, 90),
    Scanner("Borea Medical", "Borea Path", 0.46, 0.5, 1.25, 0.75, (250, 246, 240), 2.5, 80),
    Scanner("Cirrus", "Cirrus WSI", 0.55, 0.4, 0.85, 1.3, (240, 238, 246), 2.0, 85),
)


@dataclass(frozen=True)
class Cell:
    """A nucleus: its type (a value of ``LABELS``), its middle (i, j) in pixels, half axes in µm, its turn (radians)."""

    kind: int
    centre: tuple[float, float]
    radii: tuple[float, float]
    turn: float


@dataclass(frozen=True)
class SlidePhantom:
    """A slide and everything that is true of it.

    ``image`` is (3, I, J) uint8; ``mask`` (1, I, J) uint8, the values of ``LABELS`` within nuclei.
    """

    image: Image
    mask: Image
    cells: tuple[Cell, ...]
    scanner: Scanner
    seed: int

    def count(self, kind: int) -> int:
        """How many nuclei of a type there are."""
        return sum(cell.kind == kind for cell in self.cells)


def make(
    seed: int,
    *,
    size: int = 2048,
    tumour_cells: int | None = None,
    lymphocytes: int | None = None,
    scanner: int | None = None,
) -> SlidePhantom:
    """Draw a piece of tissue, stain it, scan it.

    Args:
        seed: the same seed gives the same phantom.
        size: pixels per row and rows, 256 or more.
        tumour_cells: how many; None leaves it to chance.
        lymphocytes: how many; None leaves it to chance.
        scanner: index into ``SCANNERS``; None leaves it to chance.

    Raises:
        UsageError: for a smaller size, or more cells than there is room for.
    """
    if size < _SMALLEST:
        raise UsageError(f"a slide of {size} pixels is too small", remedy=f"use {_SMALLEST} or more")
    rng = np.random.default_rng(seed)
    machine = SCANNERS[int(rng.integers(len(SCANNERS))) if scanner is None else scanner]
    tissue, gland = _architecture(rng, size, machine.pixel)
    asked = {TUMOUR: tumour_cells, LYMPHOCYTE: lymphocytes}
    cells: list[Cell] = []
    for kind in LABELS:
        cells += _cells(rng, kind, tissue, gland, machine.pixel, asked[kind], cells)
    blue, pink = _ground(rng, tissue, gland, machine.pixel)
    mask = np.zeros((size, size), np.uint8)
    for cell in cells:
        _paint_nucleus(rng, blue, pink, mask, cell, machine.pixel)
    rows = _scan(rng, blue, pink, machine)
    affine = PICTURE_AFFINE @ np.diag([machine.pixel / 1000, machine.pixel / 1000, 1.0, 1.0])
    image = Image(np.moveaxis(rows, -1, 0), affine, "SM", orientation_known=False)
    return SlidePhantom(image, Image(mask[None], affine, orientation_known=False), tuple(cells), machine, seed)


def _smooth(rng: np.random.Generator, size: int, width: float) -> Array:
    """A smooth random field (I, J) of mean 0 and standard deviation 1; ``width`` in pixels is that of its blobs."""
    from scipy.ndimage import gaussian_filter, zoom

    step = max(1, int(width / 3))  # drawn coarsely where it is smooth
    coarse = gaussian_filter(rng.normal(size=(size // step + 3, size // step + 3)), width / step, mode="wrap")
    field = zoom(coarse, step, order=1)[:size, :size] if step > 1 else coarse[:size, :size]
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-9))


def _architecture(rng: np.random.Generator, size: int, pixel: float) -> tuple[Array, Array]:
    """How far inside the tissue (µm, about) and how far inside glands (no unit: 0 at their border, about 1 at the
    border of their lumen) each pixel (I, J) is."""
    middle = np.abs(np.arange(size) - (size - 1) / 2) / (size / 2)
    border = 0.9 - (middle[:, None] ** 4 + middle[None] ** 4) ** 0.25
    tissue = (border * size / 2 + _smooth(rng, size, 60 / pixel) * 12 / pixel) * pixel
    gland = _smooth(rng, size, 34 / pixel) - float(rng.uniform(0.0, 0.35))
    return tissue, gland / 1.25


def _cells(
    rng: np.random.Generator,
    kind: int,
    tissue: Array,
    gland: Array,
    pixel: float,
    asked: int | None,
    others: list[Cell],
) -> list[Cell]:
    """Nuclei of a type where it lives, none of them touching another of its own or of ``others``."""
    from scipy.spatial import cKDTree

    size = len(tissue)
    edge, apart = 7 / pixel, _APART[kind] / pixel
    spots = rng.uniform(edge, size - 1 - edge, (int(6 * (size / apart) ** 2), 2))
    if len(others):
        spots = spots[cKDTree([cell.centre for cell in others]).query(spots)[0] > _BETWEEN / pixel]
    at = tuple(np.rint(spots).astype(int).T)
    if kind == TUMOUR:
        chance = ((gland[at] > 0.15) & (gland[at] < 0.95) & (tissue[at] > 12)) * 0.93
    else:
        swarms = np.clip(_smooth(rng, size, 45 / pixel)[at] * 0.5 - float(rng.uniform(-0.1, 0.4)), 0.03, 0.8)
        chance = ((gland[at] < -0.05) & (tissue[at] > 10)) * swarms
    spots, chance = spots[chance > 0], chance[chance > 0]
    free = _spread(spots, size, apart)
    spots, chance = spots[free], chance[free]
    chosen = _choose(rng, chance, asked, LABELS[kind])
    low, high = (3.9, 5.2) if kind == TUMOUR else (2.7, 3.4)
    found = []
    for where in spots[chosen]:
        long_, short = rng.uniform(low, high), rng.uniform(0.72, 0.92) if kind == TUMOUR else rng.uniform(0.9, 1.0)
        turn = float(rng.uniform(0, np.pi))
        centre = (float(where[0]), float(where[1]))
        found.append(Cell(kind, centre, (float(long_), float(long_ * short)), turn))
    return found


def _spread(spots: Array, size: int, apart: float) -> Array:
    """Indices of the spots (N, 2) that are kept one after another, each ``apart`` pixels or more from all before."""
    width = apart / np.sqrt(2)  # a square of the grid holds one spot at most
    side = int(size / width) + 6
    grid = np.full((side, side), -1)
    kept = []
    for number, (spot, (a, b)) in enumerate(zip(spots, (spots / width).astype(int) + 2, strict=True)):
        near = grid[a - 2 : a + 3, b - 2 : b + 3]
        found = spots[near[near >= 0]]
        if not len(found) or ((found - spot) ** 2).sum(axis=1).min() >= apart**2:
            grid[a, b] = number
            kept.append(number)
    return np.array(kept, int)


def _choose(rng: np.random.Generator, chance: Array, asked: int | None, name: str) -> Array:
    """Indices of the places that are taken: by chance, or as many as asked for."""
    if asked is None:
        return np.flatnonzero(rng.random(len(chance)) < chance)
    possible = int((chance > 0).sum())
    if not 0 <= asked <= possible:
        raise UsageError(
            f"there is room for {possible} nuclei of the type {name}, not for {asked}",
            remedy="ask for fewer, or for a larger slide",
        )
    return np.sort(rng.choice(len(chance), asked, replace=False, p=chance / chance.sum())) if asked else np.arange(0)


def _ground(rng: np.random.Generator, tissue: Array, gland: Array, pixel: float) -> tuple[Array, Array]:
    """Amounts (I, J) of haematoxylin and eosin in everything but nuclei: fibres, cytoplasm, lumen, glass."""
    size = len(tissue)
    inside = np.clip(tissue / 4, 0, 1)
    bend = _smooth(rng, size, 90 / pixel) * 2.2
    fine = _smooth(rng, size, 1.2 / pixel)
    i, j = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    along = (i * np.cos(0.6) + j * np.sin(0.6)) * pixel
    waves = np.sin(along / 2.6 + bend * 6 + _smooth(rng, size, 14 / pixel) * 1.6) + 0.6 * fine
    gaps = np.clip(waves + _smooth(rng, size, 22 / pixel) * 0.8, -1, 1)
    fibres = 0.21 + 0.09 * gaps
    gapped = np.where(gaps < -0.75, 0.06, fibres)
    epithelium = np.clip((gland + 0.02) * 12, 0, 1) * np.clip((1.08 - gland) * 14, 0, 1)
    lumen = np.clip((gland - 1.05) * 14, 0, 1)
    cloud = _smooth(rng, size, 3 / pixel)
    pink = gapped * (1 - epithelium) + epithelium * (0.19 + 0.03 * cloud + 0.02 * fine)
    secret = 0.05 + 0.05 * np.clip(cloud, 0, None)
    pink = inside * (pink * (1 - lumen) + lumen * secret)
    blue = inside * (0.035 * (1 - epithelium) + epithelium * (0.13 + 0.03 * cloud)) * (1 - lumen)
    return blue, pink


def _paint_nucleus(rng: np.random.Generator, blue: Array, pink: Array, mask: Array, cell: Cell, pixel: float) -> None:
    """Lay a nucleus over both stains and the mask (in place)."""
    reach = int(cell.radii[0] * 1.35 / pixel) + 2
    low = [int(c) - reach for c in cell.centre]
    where = (slice(low[0], low[0] + 2 * reach + 1), slice(low[1], low[1] + 2 * reach + 1))
    i = (np.arange(low[0], low[0] + 2 * reach + 1)[:, None] - cell.centre[0]) * pixel
    j = (np.arange(low[1], low[1] + 2 * reach + 1)[None] - cell.centre[1]) * pixel
    u, v = i * np.cos(cell.turn) + j * np.sin(cell.turn), j * np.cos(cell.turn) - i * np.sin(cell.turn)
    bumps = 1 + 0.05 * np.sin(2 * np.arctan2(v, u) + rng.uniform(0, 6.3)) * (cell.kind == TUMOUR)
    near = np.hypot(u / cell.radii[0], v / cell.radii[1]) / bumps
    filled = np.clip((1 - near) * cell.radii[1] / (0.8 * pixel) + 0.5, 0, 1)
    grain = rng.normal(0, 1, near.shape)
    if cell.kind == TUMOUR:  # clear, with a rim, clumps and a nucleolus
        rim = np.exp(-(((near - 0.92) / 0.13) ** 2))
        spot = rng.uniform(-0.3, 0.3, 2) * cell.radii
        nucleolus = np.exp(-(((u - spot[0]) ** 2 + (v - spot[1]) ** 2) / 0.75**2))
        amount = rng.uniform(0.42, 0.62) + 0.28 * rim + 0.5 * nucleolus + 0.07 * grain
    else:
        amount = rng.uniform(0.8, 1.05) + 0.12 * grain
    blue[where] += filled * (amount - blue[where])
    pink[where] *= 1 - 0.6 * filled
    mask[where][near < 1] = cell.kind


def _scan(rng: np.random.Generator, blue: Array, pink: Array, machine: Scanner) -> Array:
    """Amounts of stains (I, J) to colours (I, J, 3), uint8."""
    from scipy.ndimage import gaussian_filter

    absorbed = (blue * machine.haematoxylin)[..., None] * HAEMATOXYLIN + (pink * machine.eosin)[..., None] * EOSIN
    passed = np.asarray(machine.light) * 10 ** -np.maximum(absorbed, 0)
    blurred = gaussian_filter(passed, (machine.blur / machine.pixel,) * 2 + (0,))
    noisy = np.rint(blurred + rng.normal(0, machine.noise, blurred.shape))
    return np.asarray(np.clip(noisy, 0, 255).astype(np.uint8))


def write_dataset(
    folder: str | Path, *, cases: int = 6, seed: int = 0, size: int = 2048, each: Callable[[], object] = nothing
) -> None:
    """Write ``studies/<name>.tif`` (pyramidal, tiled), ``masks/<name>.tif``, ``cells/<name>.csv`` (type and middle of
    each nucleus, pixels), ``manifest.csv``, ``labels.json`` and ``truth.json``.

    The manifest has the columns image, mask, patient, scanner, tumour_cells and lymphocytes.

    ``each`` is called after each case.

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    folder = empty_folder(folder)
    rows, truth = [], {}
    for n in range(cases):
        own = case_seed(seed, n)
        phantom = make(own, size=size)
        name, machine = f"slide-{n + 1:03d}", phantom.scanner
        description = f"{machine.manufacturer} {machine.model}|MPP = {machine.pixel:g}"
        pixels = np.moveaxis(phantom.image.array, 0, -1).swapaxes(0, 1)
        write_slide(
            pixels, folder / "studies" / f"{name}.tif", pixel=machine.pixel, quality=machine.quality, text=description
        )
        write_mask(phantom.mask.array[0].T, folder / "masks" / f"{name}.tif")
        put_text(folder / "cells" / f"{name}.csv", csv_text([_cell_row(cell) for cell in phantom.cells]))
        counts = {"tumour_cells": phantom.count(TUMOUR), "lymphocytes": phantom.count(LYMPHOCYTE)}
        rows.append(
            {
                "image": f"studies/{name}.tif",
                "mask": f"masks/{name}.tif",
                "patient": f"PHANTOM-{own + 1:04d}",
                "scanner": machine.model,
                **{key: str(value) for key, value in counts.items()},
            }
        )
        facts: dict[str, Any] = {"seed": own, "pixel_um": machine.pixel, **counts}
        truth[name] = facts
        each()
    write_answers(folder, "slide-cells", seed, rows=rows, truth=truth, labels=LABELS)


def _cell_row(cell: Cell) -> dict[str, str]:
    return {"type": LABELS[cell.kind], "i_px": f"{cell.centre[0]:.2f}", "j_px": f"{cell.centre[1]:.2f}"}
