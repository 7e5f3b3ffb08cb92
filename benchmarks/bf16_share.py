"""How much of the processor's bf16 the network stage uses: its operations per second over those of a matrix product.

    python benchmarks/bf16_share.py [--runs N] [--quick]

The peak is the faster of torch's and OpenVINO's product of square matrices, the best of three sizes. Operations of the
network are those of its convolutions and products, counted by torch; normalisations and activations count nothing.
"""

from __future__ import annotations

import sys
from functools import partial

from _alternate import alternate
from _models import five_level_unet, nnunet_model
from _runs import ROOT, run
from _table import Row, write_table

WORKER = ROOT / "benchmarks/workers/bf16_rate.py"

if __name__ == "__main__":
    networks = {"five-level U-Net, 64³ windows": five_level_unet()[0], "nnU-Net, 40×56×40 windows": nnunet_model()}
    ways = {"peak": partial(run, [sys.executable, WORKER, "peak"])}
    ways |= {name: partial(run, [sys.executable, WORKER, model]) for name, model in networks.items()}
    rates = {name: sorted(record["gflops"] for record in times.records) for name, times in alternate(ways).items()}
    middle = {name: found[len(found) // 2] for name, found in rates.items()}
    rows = [Row("matrix product, bf16", middle["peak"], rates["peak"][0], rates["peak"][-1], unit="GFLOP/s")]
    for name in networks:
        rows.append(Row(f"{name}: rate", middle[name], rates[name][0], rates[name][-1], unit="GFLOP/s"))
        share = middle[name] / middle["peak"]
        rows.append(Row(f"{name}: share of the peak", share, must_reach="0.70", aim="0.90", met=share >= 0.7))
    write_table("bf16_share", "Share of the processor's bf16 that the network stage reaches", rows)
