"""Windows that hold only air outside the body: what a network says of them that learnt from made-up air and one that
did not, how many are not run, and that no label of a patient differs from running them all.

Both are trained on chest phantoms, whose air has a scanner's noise, and answer phantoms that they never saw and the
real CT of the shared data. What they say of its organs does not matter here; that they say the same does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np

from _models import dice
from _runs import DATA, WORK, osler
from _table import Row, write_table
from osler.inference.predictor import Predictor
from osler.models.folder import Model
from osler.studies.formats import read_image
from osler.studies.image import Image
from osler.studies.phantoms.chest_ct import make

SIZE = (128, 128, 72)
CASES = 24
UNSEEN = (901, 902, 903)
SETTINGS = (
    "grid.spacing=[3.0,3.0,3.0]",
    "patch=[40,40,40]",
    "batch=2",
    "network.features=[16,32,64,128]",
    "network.strides=[[1,1,1],[2,2,2],[2,2,2],[2,2,2]]",
    "network.blocks=[1,1,1,1]",
)
NOISE_HU = (1.0, 10.0, 20.0, 30.0)
DENSE_HU = -300.0
BORDER = 24  # voxels of noisy air on each side in-plane, as in a field of view that is wide for the patient


def _write(folder: Path) -> Path:
    """Phantoms as NIfTI, with a dataset.json that says that they are CT: of a NIfTI alone nobody knows it."""
    if (folder / "dataset.json").exists():
        return folder
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    training = []
    for seed in range(CASES):
        phantom = make(seed, size=SIZE, nodules=1 + seed % 4)
        name = f"chest{seed:03}.nii.gz"
        for part, image in (("imagesTr", phantom.image), ("labelsTr", phantom.mask)):
            nibabel.save(nibabel.Nifti1Image(image.array[0], image.affine), folder / part / name)
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    labels = {"0": "background", "1": "lungs", "2": "heart", "3": "spine", "4": "nodules"}
    content = {"name": "chest", "modality": {"0": "CT"}, "labels": labels, "training": training}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def _wide(image: Image, seed: int) -> Image:
    """The same patient in a wider field of view, with a scanner's noise in the added air."""
    width = [(0, 0), (BORDER, BORDER), (BORDER, BORDER), (0, 0)]
    air = np.random.default_rng(seed).normal(
        -1000, 15, tuple(n + a + b for n, (a, b) in zip(image.array.shape, width, strict=True))
    )
    air[:, BORDER:-BORDER, BORDER:-BORDER] = image.array
    return Image(np.clip(np.rint(air), -1024, 3071).astype(np.int16), image.affine, "CT", units="HU")


def _padded(volume: np.ndarray) -> np.ndarray:
    return np.pad(volume, [(BORDER, BORDER), (BORDER, BORDER), (0, 0)])


def _studies() -> Iterator[tuple[str, Image, np.ndarray]]:
    """Name, study, and which of its voxels are a patient's: organs of a phantom, and what is denser than lung."""
    for seed in UNSEEN:
        phantom = make(seed, size=SIZE)
        patient = (phantom.mask.array[0] > 0) | (phantom.image.array[0] > DENSE_HU)
        yield f"phantom {seed}", phantom.image, patient
        yield f"phantom {seed}, wide field of view", _wide(phantom.image, seed), _padded(patient)
    real = read_image(DATA / "ct-organs" / "ct.nii.gz")
    patient = real.array[0] > DENSE_HU
    yield "real CT (ct-organs)", real, patient
    yield "real CT (ct-organs), wide field of view", _wide(real, 0), _padded(patient)


def _trained(name: str, data: Path, budget: str, air: float) -> Model:
    place = WORK / name
    if not (place / "model.json").exists():
        chosen = [part for one in (*SETTINGS, f"air={air}") for part in ("--set", one)]
        osler("train", data, "--output", place, "--budget", budget, "--no-coarse-to-fine", "--force", *chosen)
    return Model.open(place)


def _said_of_air(model: Model) -> tuple[float, dict[str, float]]:
    """The share of windows of air that is called something; mean Dice with the truth of unseen phantoms."""
    random = np.random.default_rng(0)
    scores: dict[str, list[float]] = {}
    with Predictor(model, every_window=True, threads=2) as predictor, Predictor(model, threads=2) as leaving_out:
        called = []
        for noise in NOISE_HU:
            air = random.normal(-1000, noise, (1, *(2 * side for side in model.plan.patch))).astype(np.float32)
            image = Image(air, np.diag([*model.plan.grid.spacing, 1.0]), "CT", units="HU")
            called.append(float((predictor.label([image])[1].whole_mask > 0).mean()))
        for seed in UNSEEN:
            phantom = make(seed, size=SIZE)
            truth = phantom.mask.array[0]
            wide, wide_truth = _wide(phantom.image, seed), _padded(truth)
            answers = {
                "as they are": (predictor, phantom.image, truth),
                "in a wide field of view": (predictor, wide, wide_truth),
                "in a wide field of view, windows of air left out": (leaving_out, wide, wide_truth),
            }
            for name, (asked, image, expected) in answers.items():
                scores.setdefault(name, []).append(dice(asked.label([image])[1].whole_mask, expected))
    return float(np.mean(called)), {name: float(np.mean(found)) for name, found in scores.items()}


def _left_out(model: Model, name: str, image: Image, patient: np.ndarray) -> list[Row]:
    """Of one study: windows that are not run, and what that changes."""
    found = {}
    for every in (False, True):
        with Predictor(model, every_window=every, threads=2) as predictor:
            predictor.label([image])  # compiles, and fills what is kept between studies
            begun = time.perf_counter()
            labelled = predictor.label([image])[1]
            found[every] = (labelled, time.perf_counter() - begun)
    some, all_of = found[False][0], found[True][0]
    windows = some.windows
    if windows is None:
        raise SystemExit(
            f"{name}: every window was run: the plan is not of CT, or air is not background to its network"
        )
    shape = " × ".join(map(str, some.mask.shape))
    differ = some.whole_mask != all_of.whole_mask
    inside, beside = int((differ & patient).sum()), int((differ & ~patient).sum())
    return [
        Row(f"{name}: windows not run", windows.air / windows.total, n=f"{windows.air} of {windows.total}, {shape}"),
        Row(f"{name}: labels of the patient that differ", inside, must_reach="0", met=inside == 0, unit="voxels"),
        Row(f"{name}: labels in the air that are gone", beside, unit="voxels"),
        Row(f"{name}: times faster", found[True][1] / found[False][1], n="1 run each", unit="×"),
    ]


def main() -> None:
    """Train, answer, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="4m", help="of each of the two networks")
    options = parser.parse_args()
    data = _write(WORK / "air-data")
    model, without = (
        _trained(name, data, options.budget, air) for name, air in (("air-learnt", 0.1), ("air-not-learnt", 0.0))
    )
    (called, scores), (other_called, other_scores) = _said_of_air(model), _said_of_air(without)
    noises = ", ".join(f"{noise:.0f}" for noise in NOISE_HU)
    rows = [Row("air that is called something", called, peer=other_called, n=f"noise of {noises} HU")]
    rows += [
        Row(f"mean Dice of unseen phantoms, {name}", score, peer=other_scores[name], n=f"{len(UNSEEN)} phantoms")
        for name, score in scores.items()
    ]
    rows += [row for study in _studies() for row in _left_out(model, *study)]
    low = model.plan.normalisation[0].low
    notes = [f"Patch {model.plan.patch}, spacing {model.plan.grid.spacing}; values below {low:.0f} HU are cut off."]
    title = "Windows of air: what is learnt of them, and that they are not run"
    write_table("windows_of_air", title, rows, peer="the same, learnt without made-up air", notes=notes)


if __name__ == "__main__":
    sys.exit(main())
