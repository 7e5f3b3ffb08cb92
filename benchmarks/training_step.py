"""One training step on the hippocampus: Osler beside nnU-Net's own step, on as many patches of the same size.

    NNUNET_PYTHON=nnunet/bin/python python benchmarks/training_step.py [--runs N] [--quick]

nnU-Net runs in an environment of its own (``peers/nnunet_predict.py`` says how to make it). Without it the peer is its
architecture, loss and optimiser written in plain torch, eager float32, as nnU-Net runs them on a processor. Osler's
step holds its augmentation; the peer's does not, since nnU-Net augments in other processes on the same cores.
"""

from __future__ import annotations

import os
import sys
from functools import partial

from _alternate import alternate, times_faster
from _models import hippocampus_plan, nnunet_model
from _runs import DATA, ROOT, run
from _table import Row, write_table

BATCH = 7  # what nnU-Net plans for this set
MUST_BE_FASTER = 2.5
FOLDER = DATA / "nnunet-hippocampus" / "Dataset004_Hippocampus" / "nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres"
OURS = ROOT / "benchmarks/workers/osler_step.py"

if __name__ == "__main__":
    ways = {
        "the network that osler train plans": partial(run, [sys.executable, OURS, hippocampus_plan(), str(BATCH)]),
        "nnU-Net's network in Osler": partial(run, [sys.executable, OURS, nnunet_model(), str(BATCH)]),
    }
    names, python = list(ways), os.environ.get("NNUNET_PYTHON")
    if python:
        peer, script = "nnU-Net's own train_step", ROOT / "benchmarks/peers/nnunet_step.py"
        ways[peer] = partial(run, [python, script, FOLDER, str(BATCH)])
    else:
        peer, script = "nnU-Net's architecture and step in plain torch", ROOT / "benchmarks/peers/plain_nnunet_step.py"
        ways[peer] = partial(run, [sys.executable, script, nnunet_model(), str(BATCH)])
    measured = alternate(ways)
    theirs = measured[peer]
    rows = []
    for name in names:
        ours = measured[name]
        rows.append(ours.row(f"{name}: one step of {BATCH}", peer=theirs.median))
        ratio = times_faster(f"{name}: times faster", ours, theirs)
        claim = {"must_reach": "2.5", "aim": "4", "met": ratio.value >= MUST_BE_FASTER} if name == names[0] else {}
        rows.append(Row(**{**ratio.__dict__, **claim}))
        rows.append(Row(f"{name}: peak memory", ours.peak_mb / 1000, unit="GB", peer=theirs.peak_mb / 1000))
        shares = {key: value for key, value in ours.records[0].items() if key.startswith("share of ")}
        rows += [Row(f"{name}: {what}", value) for what, value in shares.items()]
    write_table(
        "training_step",
        f"One training step on the hippocampus, {BATCH} patches of 40×56×40, 2 threads",
        rows,
        peer=f"{peer} (eager float32, without augmentation)",
        notes=["Each run is a process of its own that takes the median of several steps after two that warm it up."],
    )
