"""2D ultrasound classification of three classes, in 10 minutes; and what near-duplicates across a split are worth.

Osler keeps near-duplicates on one side of its split. Published figures on this set are mostly of splits drawn image by
image, so the same command is also run on such a split.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

from _classification import measure
from _runs import DATA, WORK

SHARES = {"test": 0.25, "validation": 0.09}


def _random_split() -> Path:
    """A manifest whose splits are drawn image by image, per class."""
    rows = []
    for folder in sorted(path for path in (DATA / "breast-ultrasound").iterdir() if path.is_dir()):
        images = sorted(folder.glob("*.png"))
        random.Random(0).shuffle(images)
        for number, image in enumerate(images):
            share = number / len(images)
            test, validation = SHARES["test"], SHARES["validation"]
            split = "test" if share < test else "validation" if share < test + validation else "train"
            rows.append([str(image), folder.name, split])
    target = WORK / "random-split"
    target.mkdir(parents=True, exist_ok=True)
    with (target / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["image", "label", "split"], *rows])
    return target


if __name__ == "__main__":
    measure(
        "breast_ultrasound",
        "Breast ultrasound (normal, benign, malignant), 10 minutes",
        DATA / "breast-ultrasound",
        "10m",
        600,
        {"auc": ("0.93", "a plain script at 96 px in 280 s on this machine: .933"), "accuracy": ("", "the same: .827")},
        also={"split at random, near-duplicates on both sides": _random_split()},
    )
