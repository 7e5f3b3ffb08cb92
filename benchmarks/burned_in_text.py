"""How well burned-in text is found: real words in breast ultrasound, drawn words elsewhere, and pictures without text.

Breast ultrasound was looked at by eye, image by image, at half size. ``WORDS`` are the images with a word or an
abbreviation; ``OTHER`` those in which something else is written or drawn (the maker's mark cut off in a corner,
callipers with their numbers): finding that is neither asked for nor wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from _faults import draw_text
from _runs import DATA
from _table import Row, write_table
from osler.studies.formats import read_image
from osler.studies.geometry import Array
from osler.studies.quality.text import find_text

_BENIGN = (
    1,
    2,
    3,
    4,
    19,
    46,
    52,
    60,
    134,
    138,
    150,
    195,
    196,
    199,
    200,
    201,
    202,
    203,
    204,
    205,
    207,
    208,
    209,
    210,
    212,
    223,
    225,
    227,
    228,
    229,
    230,
    235,
    238,
    239,
    240,
    243,
    244,
    245,
    247,
    248,
    249,
    250,
    251,
    254,
    255,
    256,
    257,
    258,
    259,
    262,
    273,
    274,
    275,
    278,
    279,
    280,
    282,
    289,
    290,
    291,
    292,
    293,
    294,
    295,
    297,
    300,
    302,
    305,
    306,
    309,
    318,
    320,
    321,
    334,
    359,
    362,
    366,
    367,
    374,
    389,
    390,
    407,
    408,
    409,
    410,
    422,
    432,
)
_MALIGNANT = (2, 10, 12, 53, 61, 109, 110, 111, 112, 113, 139, 140, 143, 167, 180, 182, 201, 205, 207)
WORDS = (
    {f"benign_{n}" for n in _BENIGN} | {f"malignant_{n}" for n in _MALIGNANT} | {"normal_25", "normal_77", "normal_122"}
)
OTHER = {f"benign_{n}" for n in (14, 36, 64, 112, 130, 141, 213, 281, 323)} | {
    f"malignant_{n}" for n in (22, 26, 27, 41, 69, 70, 80, 98, 106, 108, 127, 134, 151, 176)
} | {"normal_74", "normal_82"}  # fmt: skip


def main() -> None:
    """Count, draw, count again; write the table."""
    rows = [*_ultrasound(), *_drawn(), *_clean()]
    notes = ["Recall in ultrasound is by image: at least one line found. Its words are about 7 pixels high."]
    write_table("burned_in_text", "Text burned into pixels", rows, notes=notes)


def _ultrasound() -> list[Row]:
    found = {p.stem: bool(find_text(_grey(p))) for p in sorted((DATA / "breast-ultrasound").rglob("*.png"))}
    hit = sum(found[name] for name in WORDS)
    named = {name for name, here in found.items() if here}
    right = named & (WORDS | OTHER)
    if "--verbose" in sys.argv:
        print("missed", sorted(WORDS - named), "wrong", sorted(named - right))
    return [
        Row(
            "breast ultrasound: recall of images with words", hit / len(WORDS), n=f"{len(WORDS)} of {len(found)} images"
        ),
        Row("breast ultrasound: precision", len(right) / len(named), n=f"{len(named)} images named"),
    ]


def _drawn() -> list[Row]:
    rng = np.random.default_rng(0)
    hits = []
    for _, grey in list(_pictures())[::2]:
        drawn = np.clip(draw_text(grey, rng), 0, 255)
        changed = np.argwhere(np.abs(drawn - grey) > 40)
        if not len(changed) or min(grey.shape) < 150:
            continue
        top, left = changed.min(axis=0)
        bottom, right = changed.max(axis=0)
        hits.append(
            any(_covers(line.rows, (top, bottom)) and _covers(line.columns, (left, right)) for line in find_text(drawn))
        )
    return [Row("drawn words of 10 to 20 points: recall", float(np.mean(hits)), n=f"{len(hits)} pictures of 4 kinds")]


def _covers(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return min(one[1], other[1]) > max(one[0], other[0])


def _clean() -> list[Row]:
    wrong: dict[str, list[bool]] = {}
    for kind, grey in _pictures():
        wrong.setdefault(kind, []).append(bool(find_text(grey)))
    return [
        Row(f"{kind}: share of pictures without text that are named", float(np.mean(w)), n=f"{len(w)} pictures")
        for kind, w in wrong.items()
    ]


def _pictures() -> Iterator[tuple[str, Array]]:
    """Pictures without text, as grey levels of 0 to 255."""
    for path in sorted((DATA / "cardiac-mr" / "images").iterdir()):
        yield "heart MR", _grey(path)
    for path in sorted((DATA / "blood-cells").rglob("*.jp*g"))[::3]:
        yield "blood smears", _grey(path)
    for folder in sorted(
        p for p in (DATA / "brain-mr-dicom").rglob("*") if p.is_dir() and any(f.is_file() for f in p.iterdir())
    ):
        volume = read_image(folder).array[0].astype(float)
        yield from (
            ("brain MR", _windowed(volume[:, :, k].T, 0, float(np.percentile(volume, 99.8))))
            for k in range(volume.shape[2])
        )
    ct = read_image(DATA / "ct-organs" / "dicom").array[0].astype(float)
    for low, high in ((-160, 240), (-1000, 600), (-1024, 1839)):
        yield from (("CT", _windowed(ct[:, :, k].T, low, high)) for k in range(ct.shape[2]))


def _grey(path: Path) -> Array:
    return np.asarray(Picture.open(path).convert("L"), np.float32)


def _windowed(values: Array, low: float, high: float) -> Array:
    return np.asarray(np.clip((values - low) / (high - low), 0, 1) * 255)


if __name__ == "__main__":
    main()
