"""MODEL IMAGE MASK: MONAI's sliding windows in eager float32 over a volume in memory; the mask goes to a .npy file.

Windows are weighted as the model's plan says. MONAI's own Gaussian is cut off at a thousandth of its peak, nnU-Net's
and Osler's are not, and two programs that blend differently differ.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from osler.datasets.preparation import prepare
from osler.inference.windows import gaussian
from osler.learning.export import load_network
from osler.models.folder import Model
from osler.studies.formats import read_image

if __name__ == "__main__":
    torch.set_num_threads(2)
    folder, image_path, target = sys.argv[1:]
    model = Model.open(folder)
    plan, network = model.plan, load_network(model)
    prepared = prepare([read_image(Path(image_path))], plan)
    volume = torch.from_numpy(prepared.array)[None]
    weights = torch.from_numpy(gaussian(plan.patch, plan.window_weights))

    def labels(array: torch.Tensor) -> np.ndarray:
        """(1, C, *S) to (*S)."""
        logits = sliding_window_inference(
            array,
            plan.patch,
            1,
            lambda window: network({"image": window})["logits"],
            plan.overlap,
            mode="gaussian",
            roi_weight_map=weights,
        )
        return np.asarray(logits.argmax(1)[0].to(torch.uint8))

    with torch.inference_mode():
        labels(volume[(..., *(slice(0, side) for side in plan.patch))])
        begun = time.perf_counter()
        mask = labels(volume)
        seconds = time.perf_counter() - begun
    values = np.array([0, *(label.value for label in plan.labels.labels)], np.uint8)
    whole = np.zeros(prepared.trace.source_shape, np.uint8)  # what was cropped off is background
    whole[prepared.trace.source_part[1:]] = values[mask]
    np.save(target, whole)
    print(json.dumps({"seconds": seconds}))
