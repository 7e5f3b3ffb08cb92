"""MODEL FOLDER ANSWERS OUTPUT PRECISION PICTURES: seconds of ``osler.predict`` over a folder of pictures."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import osler

if __name__ == "__main__":
    model, folder, answers, output, precision, drawn = sys.argv[1:]
    settings = {"precision": precision, "threads": 2, "pictures": bool(drawn)}
    few = sorted(Path(folder).iterdir())[:8]
    osler.predict(model, few, output=output, force=True, **settings)
    begun = time.perf_counter()
    found = osler.predict(model, folder, output=output, force=True, **settings)
    seconds = time.perf_counter() - begun
    rows = [[one.probability for one in findings.findings] for findings in found]
    np.save(answers, np.array(rows, np.float64))
    print(json.dumps({"seconds": seconds}))
