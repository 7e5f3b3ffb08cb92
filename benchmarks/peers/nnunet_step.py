"""TRAINED_FOLDER BATCH: seconds of ``nnUNetTrainer.train_step`` on a processor; run by a Python that has nnU-Net v2.

The trainer of a trained model's plans, on random patches; nothing is read from a data set and nothing is augmented.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

STEPS = 2 if "--quick" in sys.argv else 5
CONFIGURATION = "3d_fullres"

if __name__ == "__main__":
    trained, count = Path(sys.argv[1]), int(sys.argv[2])
    plans = json.loads((trained / "plans.json").read_text())
    work = Path(tempfile.mkdtemp())
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(work / name)
    identifier = plans["configurations"][CONFIGURATION]["data_identifier"]
    prepared = work / "nnUNet_preprocessed" / plans["dataset_name"] / identifier
    prepared.mkdir(parents=True)
    (prepared / "none.b2nd").touch()  # the trainer looks what kind of files there are
    (prepared / "none.pkl").touch()

    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(2)
    torch.manual_seed(0)
    dataset = json.loads((trained / "dataset.json").read_text())
    printed, sys.stdout = sys.stdout, sys.stderr  # the trainer prints
    trainer = nnUNetTrainer({**plans, "continue_training": False}, CONFIGURATION, 0, dataset, torch.device("cpu"))
    trainer.initialize()
    trainer.network.train()
    patch = plans["configurations"][CONFIGURATION]["patch_size"]
    image = torch.randn(count, 1, *patch)
    answer = torch.randint(0, 3, (count, 1, *patch)).float()
    scales = trainer._get_deep_supervision_scales()
    answers = [answer[(..., *(slice(None, None, round(1 / s)) for s in scale))] for scale in scales]
    batch = {"data": image, "target": answers}

    def step() -> float:
        """Seconds of it."""
        begun = time.perf_counter()
        trainer.train_step(batch)
        return time.perf_counter() - begun

    step()
    seconds = statistics.median(step() for _ in range(STEPS))
    sys.stdout = printed
    print(json.dumps({"seconds": seconds}))
