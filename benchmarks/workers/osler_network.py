"""MODEL IMAGE PRECISION MASK: seconds from a volume in memory to its labels; the mask goes into a .npy file."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from osler.inference.predictor import Predictor
from osler.models.folder import Model
from osler.studies.formats import read_image

if __name__ == "__main__":
    folder, image_path, precision, target = sys.argv[1:]
    model, image = Model.open(folder), read_image(Path(image_path))
    with Predictor(model, precision=precision, threads=2) as predictor:
        corner = tuple(slice(0, 3 * side // 2) for side in model.plan.patch)
        predictor.label([replace(image, array=image.array[(slice(None), *corner)])])
        begun = time.perf_counter()
        _, labelled = predictor.label([image])
        seconds = time.perf_counter() - begun
    np.save(target, labelled.mask)
    print(json.dumps({"seconds": seconds}))
