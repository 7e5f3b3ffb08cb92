"""Resampling 300×512×512 to 200×280×280 voxels, cubic splines: Osler beside scikit-image and SimpleITK.

python benchmarks/resampling.py [--runs N] [--quick]
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np

from _alternate import alternate, times_faster
from _runs import ROOT, WORK, run
from _table import QUICK, Row, write_table

WORKER = ROOT / "benchmarks/workers/resample.py"
SOURCE, TARGET = ((60, 64, 64), (40, 35, 35)) if QUICK else ((300, 512, 512), (200, 280, 280))
MUST = {"scikit-image": 5.0, "SimpleITK": 2.0}
NEAR = 1e-4  # of the range: what single precision and the splines' borders leave


def _volume() -> str:
    """Smooth structure and noise, float32, in a file."""
    target = WORK / f"resampling-{'x'.join(map(str, SOURCE))}.npy"
    if not target.exists():
        from scipy.ndimage import gaussian_filter

        random = np.random.default_rng(0)
        noise = random.normal(0, 1, SOURCE).astype(np.float32)
        np.save(target, gaussian_filter(noise, 2) * 300 + noise * 5)
    return str(target)


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    shape = ",".join(map(str, TARGET))
    answers = {name: WORK / f"resampled-{name}.npy" for name in ("Osler", *MUST)}
    commands = {name: [sys.executable, WORKER, name, _volume(), shape, target] for name, target in answers.items()}
    measured = alternate({name: partial(run, command) for name, command in commands.items()})
    ours, found = measured["Osler"], np.load(answers["Osler"])
    rows = []
    for name, least in MUST.items():
        theirs, expected = measured[name], np.load(answers[name])
        ratio = times_faster(f"times faster than {name}", ours, theirs)
        rows.append(ours.row(f"seconds, {name} beside", peer=theirs.median))
        rows.append(Row(**{**ratio.__dict__, "must_reach": f"{least:g}", "met": ratio.value >= least}))
        rows.append(Row(f"peak memory, {name} beside", ours.peak_mb / 1000, unit="GB", peer=theirs.peak_mb / 1000))
        inner = tuple(slice(8, -8) for _ in TARGET)  # libraries differ in what they take to lie outside
        far = float(np.abs(found - expected)[inner].max() / np.ptp(expected))
        rows.append(Row(f"largest difference from {name}, of the range", far, n="without 8 voxels at the border",
                        must_reach="0.0001", met=far < NEAR))  # fmt: skip
    write_table(
        "resampling",
        f"Resampling {'×'.join(map(str, SOURCE))} to {'×'.join(map(str, TARGET))}, order 3, 2 threads",
        rows,
        peer="scikit-image resize, SimpleITK Resample (sitkBSpline), without smoothing",
        notes=["Memory is that of the process, the volumes before and after included."],
    )
