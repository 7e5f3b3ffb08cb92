"""From the start of ``osler predict`` on a NIfTI of 64³ voxels to the file written, beside a MONAI script and nnU-Net.

    NNUNET_PYTHON=nnunet/bin/python python benchmarks/cold_start.py [--runs N] [--quick]

Without NNUNET_PYTHON (``benchmarks/peers/nnunet_predict.py`` says how to make it) nnU-Net is not run.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from _alternate import alternate, times_faster
from _models import five_level_unet, hippocampus_model, nnunet_model, scan_of_64
from _runs import DATA, PEERS, ROOT, WORK, Run, osler, run
from _table import Row, write_table

MUST_BE_UNDER, MUST_BE_FASTER = 2.0, 5.0
TRAINED = DATA / "nnunet-hippocampus" / "Dataset004_Hippocampus" / "nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres"


def _monai(model: Path) -> Callable[[], Run]:
    script = ROOT / "benchmarks/peers/monai_volume.py"
    return partial(run, [sys.executable, script, model, scan_of_64(), WORK / "cold-start-monai.nii.gz"])


def _nnunet(python: str) -> Callable[[], Run]:
    """On the model that was converted for Osler."""
    given = WORK / "cold-start-nnunet-in"
    given.mkdir(exist_ok=True)
    shutil.copy(scan_of_64(), given / "scan_0000.nii.gz")
    script = ROOT / "benchmarks/peers/nnunet_predict.py"
    return partial(run, [python, script, TRAINED, given, WORK / "cold-start-nnunet"])


def started(name: str, model: Path, precision: str, peer: Callable[[], Run] | None) -> list[Row]:
    """Seconds of the whole process, with compiled graphs in the user's cache, as from the second start on."""
    scan, out = scan_of_64(), WORK / "cold-start"
    command = ("predict", model, scan, "--output", out, "--force", "--precision", precision, "--threads", "2")
    ways: dict[str, Callable[[], Run]] = {"Osler": partial(osler, *command)}
    if peer is not None:
        ways["peer"] = peer
    measured = alternate(ways)
    ours, theirs = measured["Osler"], measured.get("peer")
    beside = {} if theirs is None else {"peer": theirs.median}
    memory = {} if theirs is None else {"peer": theirs.peak_mb / 1000}
    rows = [
        ours.row(f"{name}: seconds", must_reach="< 2 s", aim="1 s", met=ours.median < MUST_BE_UNDER, **beside),
        Row(f"{name}: peak memory", ours.peak_mb / 1000, unit="GB", **memory),
    ]
    if theirs is not None:
        ratio = times_faster(f"{name}: times faster", ours, theirs)
        rows.insert(1, Row(**{**ratio.__dict__, "must_reach": "5", "met": ratio.value >= MUST_BE_FASTER}))
    return rows


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    planned, five = hippocampus_model(), five_level_unet()[0]
    python = os.environ.get("NNUNET_PYTHON") if PEERS else None
    nnunet = None if python is None else _nnunet(python)
    monai: Callable[[Path], Callable[[], Run] | None] = _monai if PEERS else lambda _: None
    write_table(
        "cold_start",
        "From the start of the process to the file written, a NIfTI of 64³ voxels",
        [
            *started("network that osler train plans (hippocampus), beside MONAI", planned, "bf16", monai(planned)),
            *started("five-level U-Net of 32 to 320 filters, beside MONAI", five, "bf16", monai(five)),
            *started("a trained nnU-Net, beside nnU-Net", nnunet_model(), "bf16", nnunet),
        ],
        peer="MONAI script (LoadImage, Spacing, sliding_window_inference in eager float32, Invert, save), or "
        "nnUNetv2_predict",
        notes=["Osler also writes findings, a picture and a table. Libraries are in the file cache for both."],
    )
