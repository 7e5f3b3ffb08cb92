"""From a volume of 256×256×128 in memory to its labels: Osler beside MONAI with the same weights and windows.

    python benchmarks/network_throughput.py [--runs N] [--second N] [--quick]

Two trained networks, a residual U-Net of five levels and a real nnU-Net, on real volumes side by side (of the second
260×252×120, where MONAI and Osler place the same windows). The masks of both programs are compared with each other and
with the truth. The first network also runs as ``osler compress --int8`` makes it.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from _alternate import RUNS, alternate, times_faster
from _models import dice, five_level_int8, five_level_unet, mosaic, nnunet_model
from _runs import PEERS, ROOT, WORK, Run, run
from _table import Row, write_table

MUST_BE_FASTER, MUST_AGREE = 4.0, 0.998
SECOND = int(sys.argv[sys.argv.index("--second") + 1]) if "--second" in sys.argv else RUNS  # turns of nnU-Net


def _ours(model: Path, image: Path, precision: str, mask: Path) -> Run:
    return run([sys.executable, ROOT / "benchmarks/workers/osler_network.py", model, image, precision, mask])


def _theirs(model: Path, image: Path, mask: Path) -> Run:
    return run([sys.executable, ROOT / "benchmarks/peers/monai_network.py", model, image, mask])


def compared(
    name: str, model: Path, image: Path, truth: Path, *, int8: Path | None = None, runs: int = RUNS
) -> list[Row]:
    """One network: seconds, times faster, memory and agreement of each precision; ``int8`` is it with 8-bit graphs."""
    precisions = ("bf16", "float32") if int8 is None else ("bf16", "int8", "float32")
    masks = {way: WORK / f"throughput-{way}.npy" for way in (*precisions, "MONAI")}
    ways = {"bf16": partial(_ours, model, image, "bf16", masks["bf16"])}
    if int8 is not None:
        ways["int8"] = partial(_ours, int8, image, "int8", masks["int8"])
    if PEERS:
        ways["MONAI"] = partial(_theirs, model, image, masks["MONAI"])
    measured = alternate(ways, runs=runs, warm=False)  # each process warms itself
    measured |= alternate({"float32": partial(_ours, model, image, "float32", masks["float32"])}, runs=1, warm=False)
    expected = np.asarray(nibabel.load(truth).dataobj)
    theirs = measured.get("MONAI")
    rows = []
    for precision in precisions:
        ours, found = measured[precision], np.load(masks[precision])
        what = f"{name}, {precision}"
        beside = {} if theirs is None else {"peer": theirs.median}
        first = precision == "bf16"
        rows.append(ours.row(f"{what}: seconds", **beside))
        memory = {} if theirs is None else {"peer": theirs.peak_mb / 1000}
        rows.append(Row(f"{what}: peak memory of the process", ours.peak_mb / 1000, unit="GB", **memory))
        if theirs is not None:
            their_mask = np.load(masks["MONAI"])
            agreement = Row(f"{what}: mean Dice between the masks of the two", dice(found, their_mask))
            if first:
                ratio = times_faster(f"{what}: times faster", ours, theirs)
                rows += [_claimed(ratio, "4", "8", MUST_BE_FASTER), _claimed(agreement, "0.998", "", MUST_AGREE)]
            elif precision == "int8":
                rows += [times_faster(f"{what}: times faster", ours, theirs, aim="8"), agreement]
            else:
                rows.append(agreement)
            truths = {"peer": dice(their_mask, expected)}
        else:
            truths = {}
        rows.append(Row(f"{what}: mean Dice with the truth", dice(found, expected), **truths))
    return rows


def _claimed(row: Row, must: str, aim: str, least: float) -> Row:
    return Row(**{**row.__dict__, "must_reach": must, "aim": aim, "met": row.value >= least})


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    write_table(
        "network_throughput",
        "Network on a volume of 256×256×128, in memory, same weights",
        [
            *compared("five-level U-Net, 64³ windows", *five_level_unet(), int8=five_level_int8()),
            *compared("nnU-Net (hippocampus), 40×56×40 windows", nnunet_model(), *mosaic(), runs=SECOND),
        ],
        peer="MONAI sliding_window_inference, eager float32, same windows, weighted alike",
        notes=[
            "Each run is a process of its own that loads the network and warms it up before it measures.",
            "nnU-Net's volume is 260×252×120: of 256×256×128 the two place different windows. float32 ran once.",
        ],
    )
