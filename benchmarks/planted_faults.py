"""How well ``osler inspect`` finds faults that were planted: precision and recall of each detector.

Real studies (heart MR, hippocampi, chest radiographs) and phantoms (chest CT, mammograms), copied and spoilt in known
ways. A case that a detector names counts as right when the fault planted there is one that the detector is for, or one
that has the same effect (an inverted picture is also badly exposed); everything else that it names counts as wrong,
also where a real study may truly have that fault.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from _confounding import confounding
from _planting import Planted, heart_pictures, mammograms, radiographs, series, sided_lungs, volumes
from _runs import DATA, WORK
from _table import Row, write_table
from osler.datasets.checks.learned import block_means, fold_of, out_of_fold
from osler.datasets.label_errors import find_label_errors
from osler.datasets.problem import Problem
from osler.workflows.inspect import inspect

SPOILT = ("inverted", "saturated", "flat", "framed", "another modality", "16-bit scale", "bias field")
"""What changes grey levels so much that several detectors are right to name it."""
DETECTORS: dict[str, tuple[bool, tuple[str, ...], tuple[str, ...]]] = {
    # code: (exact, faults that it is for, faults that it may also name)
    "unreadable": (True, ("cut off", "empty file"), ()),
    "geometry": (True, ("lost slice",), ()),
    "unsuitable": (True, ("two series",), ()),
    "not-finite": (True, ("not a number",), ()),
    "blank": (True, ("blank",), ()),
    "blank-slices": (True, ("blank slices",), ()),
    "grid": (True, ("cropped mask", "grid 3 voxels off"), ()),
    "grid-shift": (True, ("grid 0.1 voxel off",), ()),
    "mask-values": (True, ("foreign label",), ()),
    "mask-empty": (True, ("empty mask",), ()),
    "mask-islands": (True, ("islands",), ()),
    "mask-border": (False, ("at the border",), ("cut to half", "mask aside")),
    "mask-shifted": (False, ("mask aside",), ("at the border",)),
    "outlier-label-size": (False, ("shrunken",), ("larger", "cut to half")),
    "copies-across": (True, ("copy across",), ()),
    "copies-answers": (True, ("copy with another answer",), ()),
    "copies-within": (True, ("copy within",), ("exact copy",)),
    "copies-patients": (True, ("exact copy",), ()),
    "near-across": (False, ("near copy across",), ()),
    "near-patients": (False, ("near copy",), ("exact copy",)),
    "near-within": (False, ("near copy within",), ("near copy",)),
    "patient-across": (True, ("patient on both sides", "PatientID on both sides"), ()),
    "modality": (True, ("wrong modality",), ()),
    "laterality": (True, ("wrong side", "labels swapped", "mirrored header"), ()),
    "turned": (False, ("mirrored", "upside down", "mirrored header"), ()),
    "inverted": (False, ("inverted",), ()),
    "saturated": (False, ("saturated",), ("inverted",)),
    "unlike-others": (
        False,
        ("another modality",),
        (*SPOILT, "noise", "blur", "motion", "scaled intensities", "ghost"),
    ),
    "outlier-shape": (False, ("larger",), ("cut to half",)),
    "outlier-spacing": (False, ("spacing",), ()),
    "outlier-extent": (False, ("cut to half",), ("spacing",)),
    "outlier-intensity": (False, ("16-bit scale", "scaled intensities"), SPOILT),
    "text": (False, ("text",), ("another modality",)),  # the ultrasound that was planted has text
    "marks": (True, ("marks",), ()),
    "quality-noise": (False, ("noise",), SPOILT),
    "quality-sharpness": (False, ("blur", "motion"), (*SPOILT, "ghost", "noise", "larger")),
    "quality-ghosting": (False, ("ghost",), ("framed", "another modality")),
    "quality-bias": (False, ("bias field",), SPOILT),
    "quality-exposure": (False, ("flat",), (*SPOILT, "noise")),
    "quality-clipping": (False, ("saturated",), ("inverted", "framed", "flat", "another modality")),
    "quality-coverage": (False, ("framed",), ()),
}
SETS: tuple[Callable[[Path], Planted], ...] = (heart_pictures, volumes, radiographs, mammograms, sided_lungs, series)


class Tally:
    """What each detector found, summed over sets in which its fault was planted."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.planted: Counter[str] = Counter()
        self.named: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.wrong: dict[str, list[str]] = {}
        self.missed: dict[str, list[str]] = {}

    def add(self, planted: Planted, problems: Sequence[Problem]) -> None:
        named: dict[str, set[str]] = {}
        for problem in problems:
            named.setdefault(problem.code, set()).update(problem.cases)
        fault_of = {case: fault for fault, cases in planted.faults.items() for case in cases}
        for code, (_, own, also) in DETECTORS.items():
            truth = {case for fault in own for case in planted.faults.get(fault, ()) if _counts(code, planted)}
            right = truth | {case for fault in (*own, *also) for case in planted.faults.get(fault, ())}
            here = named.get(code, set())
            self.planted[code] += len(truth)
            self.found[code] += len(truth & here)
            self.named[code] += len(here)
            self.right[code] += len(right & here)
            self.wrong.setdefault(code, []).extend(f"{planted.name}/{c}" for c in sorted(here - right))
            self.missed.setdefault(code, []).extend(f"{fault_of[c]}: {planted.name}/{c}" for c in sorted(truth - here))


def _counts(code: str, planted: Planted) -> bool:
    """Copies are named by what is wrong with them, which depends on whether patients are known."""
    if code in ("copies-patients", "near-patients"):
        return planted.name == "heart pictures"
    return True


def label_errors() -> list[Row]:
    """One label in twenty of 4,000 radiographs is turned; a linear model judges each by the other folds."""
    rng = np.random.default_rng(6)
    with np.load(next((DATA / "pneumoniamnist").glob("*.npz"))) as file:
        images, labels = file["train_images"][:4000], file["train_labels"].reshape(-1)[:4000].astype(int)
    turned = rng.random(len(labels)) < 0.05
    given = np.where(turned, 1 - labels, labels)
    views = np.pad(images.reshape(-1, 28, 28), ((0, 0), (2, 2), (2, 2)), mode="edge")
    scores = out_of_fold(block_means(views), given == 1, fold_of(range(len(given))))
    positive = 1 / (1 + np.exp(-4 * scores))
    found = find_label_errors(np.stack([1 - positive, positive], axis=1), given)
    hit = sum(turned[place] for place in found.places)
    first = found.places[: int(turned.sum() // 2)]
    over = f"{int(turned.sum())} of {len(given)} labels turned"
    return [
        Row("label-error (learned): precision", hit / max(len(found.places), 1), n=over),
        Row("label-error (learned): recall", hit / turned.sum(), n=over),
        Row("label-error (learned): precision of the surest half", float(np.mean([turned[p] for p in first])), n=over),
    ]


def main() -> None:
    """Plant, inspect, count, write the table."""
    tally, studies, faulty = Tally(), 0, 0
    for build in SETS:
        folder = WORK / "planted" / build.__name__
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        planted = build(folder)
        problems = inspect(planted.path, patient=planted.patient).problems
        tally.add(planted, problems)
        studies += planted.studies
        faulty += len({case for cases in planted.faults.values() for case in cases})
        print(planted.name, planted.studies, {p.code: len(p.cases) for p in problems}, flush=True)
    rows = []
    for code, (exact, own, _) in DETECTORS.items():
        reach = "0.9" if exact else ""
        kind = "exact" if exact else "learned"
        over = f"{tally.planted[code]} planted, {tally.named[code]} named"
        if own:
            recall = tally.found[code] / max(tally.planted[code], 1)
            rows.append(Row(f"{code} ({kind}): recall", recall, n=over, must_reach=reach))
        if tally.named[code]:
            precision = tally.right[code] / tally.named[code]
            rows.append(Row(f"{code} ({kind}): precision", precision, n=over, must_reach=reach))
    rows += label_errors()
    rows += confounding(WORK / "planted" / "confounding")
    write_table(
        "planted_faults",
        "Faults planted into real studies and phantoms, and found by osler inspect",
        rows,
        notes=[
            f"{studies} studies in {len(SETS)} sets, {faulty} of them with a fault. Exact detectors must reach 0.9."
        ],
        extra={
            "wrong": {c: v for c, v in tally.wrong.items() if v},
            "missed": {c: v for c, v in tally.missed.items() if v},
        },
    )


if __name__ == "__main__":
    main()
