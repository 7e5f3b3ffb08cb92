"""From the start of ``osler predict`` on a NIfTI of 64³ voxels to the file written, beside a MONAI script.

python benchmarks/cold_start.py [--runs N] [--quick]
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from _alternate import alternate, times_faster
from _models import five_level_unet, hippocampus_model, scan_of_64
from _runs import PEERS, ROOT, WORK, osler, run
from _table import Row, write_table

MUST_BE_UNDER, MUST_BE_FASTER = 2.0, 5.0


def started(name: str, model: Path, precision: str) -> list[Row]:
    """Seconds of the whole process, with compiled graphs in the user's cache, as from the second start on."""
    scan, out = scan_of_64(), WORK / "cold-start"
    command = ("predict", model, scan, "--output", out, "--force", "--precision", precision, "--threads", "2")
    ways = {"Osler": partial(osler, *command)}
    if PEERS:
        script = ROOT / "benchmarks/peers/monai_volume.py"
        ways["MONAI"] = partial(run, [sys.executable, script, model, scan, WORK / "cold-start-monai.nii.gz"])
    measured = alternate(ways)
    ours, theirs = measured["Osler"], measured.get("MONAI")
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
    write_table(
        "cold_start",
        "From the start of the process to the file written, a NIfTI of 64³ voxels",
        [
            *started("network that osler train plans for the hippocampus", hippocampus_model(), "bf16"),
            *started("five-level U-Net of 32 to 320 filters", five_level_unet()[0], "bf16"),
        ],
        peer="MONAI script: LoadImage, Spacing, sliding_window_inference (eager float32), Invert, save",
        notes=["Osler also writes findings, a picture and a table. Libraries are in the file cache for both."],
    )
