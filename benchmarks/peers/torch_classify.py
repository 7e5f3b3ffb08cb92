"""MODEL FOLDER ANSWERS: seconds of what people write to classify a folder of pictures: Pillow, NumPy, torch eager."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture

from osler.learning.export import load_network
from osler.models.folder import Model

BATCH = 32


def _read(path: Path) -> np.ndarray:
    """(1, 224, 224), its own darkest value 0 and brightest 1."""
    rows = np.asarray(Picture.open(path), np.float32).T
    return ((rows - rows.min()) / (rows.max() - rows.min()))[None]


if __name__ == "__main__":
    torch.set_num_threads(2)
    folder, pictures, target = sys.argv[1:]
    network = load_network(Model.open(folder))
    paths = sorted(Path(pictures).iterdir())

    @torch.inference_mode()
    def classify(batch: list[Path]) -> torch.Tensor:
        """(B, classes) probabilities."""
        images = torch.from_numpy(np.stack([_read(path) for path in batch]))
        return network({"image": images})["logits"].softmax(1)

    classify(paths[:8])
    begun = time.perf_counter()
    answers = torch.cat([classify(paths[n : n + BATCH]) for n in range(0, len(paths), BATCH)])
    seconds = time.perf_counter() - begun
    np.save(target, answers.numpy())
    print(json.dumps({"seconds": seconds}))
