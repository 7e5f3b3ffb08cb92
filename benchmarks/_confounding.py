"""Sets of small pictures whose answer can, or cannot, be told from how they were made."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from _table import Row
from osler.workflows.inspect import inspect

__all__ = ["confounding"]

_CASES = 120
_WAYS = ("size", "border", "file type", "site")


def confounding(folder: Path) -> list[Row]:
    """16 sets in which 80 % of one answer were made another way than the rest, and 16 in which chance decided."""
    found = {True: 0, False: 0}
    areas = []
    for number in range(32):
        tied = number % 2 == 0
        place = folder / str(number)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _write(place, np.random.default_rng([7, number]), _WAYS[number // 2 % 4], tied=tied)
        named = [p for p in inspect(place, patient="none").problems if p.code == "acquisition"]
        found[tied] += bool(named)
        areas += [p.figures["auc"] for p in named if tied]
    over = "16 sets with and 16 without, of 120 pictures"
    named_all = found[True] + found[False]
    return [
        Row("acquisition (learned): recall", found[True] / 16, n=over),
        Row("acquisition (learned): precision", found[True] / max(named_all, 1), n=over),
        Row("acquisition (learned): mean AUC where found", float(np.mean(areas)) if areas else 0.0, n=over),
    ]


def _write(place: Path, rng: np.random.Generator, way: str, *, tied: bool) -> None:
    rows = []
    for number in range(_CASES):
        label = number % 2
        other = rng.random() < ((0.8 if label else 0.2) if tied else 0.5)
        side = 40 if way == "size" and other else 32
        grey = rng.normal(120, 25, (side, side)).clip(1, 254)
        if way == "border" and other:
            grey[:4] = 0
        name = f"c{number:03d}{'.tif' if way == 'file type' and other else '.png'}"
        Picture.fromarray(grey.astype(np.uint8)).save(place / name)
        site = "B" if way == "site" and other else "A"
        rows.append({"image": name, "label": "ill" if label else "well", "patient": str(number), "site": site})
    with (place / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
