"""What near-duplicates on both sides of a split are worth: breast ultrasound split by Osler and split at random.

The same command, data, share of test images and time. Published figures on this set are mostly of the second kind.
"""

from __future__ import annotations

import csv
import random

from _runs import DATA, WORK, compare, train
from _table import Row, write_table

BUDGET = "3m"
SHARES = {"test": 0.25, "validation": 0.09}


def _random_split() -> None:
    """A manifest whose splits are drawn image by image, per class."""
    rows = []
    for folder in sorted((DATA / "breast-ultrasound").iterdir()):
        if not folder.is_dir():
            continue
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


if __name__ == "__main__":
    _random_split()
    _, honest = train("near-duplicates-kept-together", DATA / "breast-ultrasound", "--budget", BUDGET)
    _, leaking = train("near-duplicates-apart", WORK / "random-split", "--budget", BUDGET)
    titles = (("near-duplicates kept together (Osler's split)", honest), ("split at random, image by image", leaking))
    rows = [Row(**compare(f"AUC, {title}", found.metrics["auc"], None)) for title, found in titles]
    rows += [Row(**compare(f"accuracy, {title}", found.metrics["accuracy"], None)) for title, found in titles]
    write_table("near_duplicates", f"Breast ultrasound, two ways to split, {BUDGET} each", rows)
