"""Pictures per second from PNG files of 224×224 to answers, a residual network of 18 layers, beside torch eager.

python benchmarks/classification_throughput.py [--runs N] [--quick]
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from _alternate import alternate, times_faster
from _models import resnet18
from _runs import PEERS, ROOT, WORK, run
from _table import QUICK, Row, write_table

COUNT = 16 if QUICK else 512
MUST_BE_FASTER = 4.0
WAYS = {"bf16": ("bf16", ""), "bf16, a picture drawn of each": ("bf16", "pictures"), "float32": ("float32", "")}


def pictures() -> Path:
    """Smooth grey structure with noise, as radiographs pack."""
    folder = WORK / f"png-{COUNT}"
    if len(list(folder.glob("*.png"))) == COUNT:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    from scipy.ndimage import gaussian_filter

    for number in range(COUNT):
        random = np.random.default_rng([1, number])
        structure = gaussian_filter(random.normal(0, 1, (224, 224)), 12) * 900 + random.normal(0, 4, (224, 224))
        Picture.fromarray((structure + 128).clip(0, 255).astype(np.uint8)).save(folder / f"p{number:04}.png")
    return folder


if __name__ == "__main__":
    WORK.mkdir(parents=True, exist_ok=True)
    model, folder = resnet18(), pictures()
    answers = {name: WORK / f"classified-{n}.npy" for n, name in enumerate((*WAYS, "torch"))}
    ours = ROOT / "benchmarks/workers/osler_classify.py"
    ways = {
        name: partial(run, [sys.executable, ours, model, folder, answers[name], WORK / "classified", *more])
        for name, more in WAYS.items()
    }
    if PEERS:
        script = ROOT / "benchmarks/peers/torch_classify.py"
        ways["torch"] = partial(run, [sys.executable, script, model, folder, answers["torch"]])
    measured = alternate(ways)
    theirs = measured.get("torch")
    rows = []
    for name in WAYS:
        taken = measured[name]
        beside = {} if theirs is None else {"peer": COUNT / theirs.median}
        low, high = COUNT / max(taken.seconds), COUNT / min(taken.seconds)
        rows.append(Row(f"{name}: pictures per second", COUNT / taken.median, low, high, f"{COUNT} pictures", unit="/s",
                        **beside))  # fmt: skip
        memory = {} if theirs is None else {"peer": theirs.peak_mb / 1000}
        if theirs is not None:
            ratio = times_faster(f"{name}: times faster", taken, theirs)
            claim = {"must_reach": "4", "aim": "8", "met": ratio.value >= MUST_BE_FASTER} if name == "bf16" else {}
            far = float(np.abs(np.load(answers[name]) - np.load(answers["torch"])).max())
            rows.append(Row(**{**ratio.__dict__, **claim}))
            rows.append(Row(f"{name}: largest difference of a probability", far))
        rows.append(Row(f"{name}: peak memory of the process", taken.peak_mb / 1000, unit="GB", **memory))
    write_table(
        "classification_throughput",
        "Classifying PNG files of 224×224, a residual network of 18 layers, 2 threads",
        rows,
        peer="torch eager float32, batches of 32, Pillow",
        notes=["Osler finds and reads the files, and writes findings and a table; the peer keeps its answers only."],
    )
