"""How memory and time of ``osler predict`` grow with the number of slices and of classes: CTs of 512×512, file to file.

    python benchmarks/volume_growth.py [--without-largest] [--runs N] [--quick]

The largest, 512×512×800 with 117 classes, has a table of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial

from _alternate import Times, alternate
from _organs import ct_of, model_of
from _runs import WORK, Run, osler
from _table import QUICK, Row, write_table

FEW, MANY = (20, 40) if QUICK else (200, 800)
SLICES = (20, 40) if QUICK else (100, 200, 400, 800)
POINTS = [(slices, 25) for slices in SLICES] + [(FEW, 2), (FEW, 117)]
LARGEST = (MANY, 117)
REPORTED = "TotalSegmentator reports 10.6 to 11.8 GB at 24 to 104 classes"

_Measured = Mapping[tuple[int, int], Times]


def _predict(slices: int, classes: int) -> Run:
    scan = ct_of(slices)
    return osler("predict", model_of(classes), scan, "-o", WORK / "growth", "--force", "--precision", "bf16")


def _measured(points: Sequence[tuple[int, int]]) -> _Measured:
    ways = {f"{slices} slices, {classes} classes": partial(_predict, slices, classes) for slices, classes in points}
    return dict(zip(points, alternate(ways, warm=False).values(), strict=True))


def _growth(what: str, small: Times, large: Times) -> Row:
    ratio = large.peak_mb / small.peak_mb
    return Row(f"memory's growth from {what}", ratio, must_reach="< 1.3", aim="1.1", met=ratio < 1.3)


def _linear(measured: _Measured) -> Row:
    """How far the seconds of each volume are from a line of the same seconds per slice, at worst."""
    times = {slices: measured[slices, 25].median for slices in SLICES}
    first, last = SLICES[0], SLICES[-1]
    slope = (times[last] - times[first]) / (last - first)
    start = times[first] - slope * first
    far = max(abs(seconds - (start + slope * slices)) / seconds for slices, seconds in times.items())
    return Row(f"time's distance from a line, {first} to {last} slices", far, must_reach="< 0.10", met=far < 0.1)


def _each(measured: _Measured) -> list[Row]:
    rows = []
    for (slices, classes), times in measured.items():
        what = f"512×512×{slices}, {classes} classes"
        claim = {"must_reach": "4 GB", "aim": "2.5 GB", "met": times.peak_mb < 4000, "reference": REPORTED} \
            if (slices, classes) == LARGEST else {}  # fmt: skip
        rows.append(Row(f"{what}: peak memory", times.peak_mb / 1000, unit="GB", **claim))
        rows.append(times.row(f"{what}: seconds"))
    return rows


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    measured = _measured(POINTS)
    rows = [
        _growth(f"{FEW} to {MANY} slices, 25 classes", measured[FEW, 25], measured[MANY, 25]),
        _growth(f"2 to 117 classes, {FEW} slices", measured[FEW, 2], measured[FEW, 117]),
        _linear(measured),
        *_each(measured),
    ]
    write_table("volume_growth", "Growth of memory and time with slices and classes, file to file, bf16", rows)
    if "--without-largest" not in sys.argv:
        title = f"512×512×{MANY}, 117 classes, file to file, bf16"
        write_table("volume_largest", title, _each(_measured([LARGEST])))
