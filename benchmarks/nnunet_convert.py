"""A converted nnU-Net beside nnU-Net: the same labels and probabilities, and the time from file to file.

    NNUNET_PYTHON=nnunet/bin/python python benchmarks/nnunet_convert.py [--runs N] [--quick]

The agreement is with the answers in ``shared/data/nnunet-hippocampus/reference``. nnU-Net runs in an environment of its
own (``benchmarks/peers/nnunet_predict.py`` says how to make it); without NNUNET_PYTHON its times are "not run".
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from _alternate import alternate, times_faster
from _runs import DATA, ROOT, WORK, Run, osler, run
from _table import Row, write_table

TRAINED = DATA / "nnunet-hippocampus"
FOLDER = TRAINED / "Dataset004_Hippocampus" / "nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres"
PLACE = WORK / "nnunet-convert"
MUST_AGREE, MUST_BE_NEAR, MUST_BE_FASTER = 0.995, 0.005, 5.0


def agreement(model: Path) -> list[Row]:
    """Labels and probabilities of each reference volume."""
    from osler.datasets.preparation import prepare, restore, restore_labels
    from osler.inference.predictor import Predictor
    from osler.models.folder import Model
    from osler.studies.formats import read_image

    rows, opened = [], Model.open(model)
    for precision in ("float32", "bf16"):
        with Predictor(opened, precision=precision) as predictor:
            for truth in sorted((TRAINED / "reference").glob("*.nii.gz")):
                prepared = prepare([read_image(DATA / "hippocampus" / "imagesTr" / truth.name)], opened.plan)
                answer = predictor.predict(prepared)
                labels = restore_labels(answer, prepared.trace, opened.plan.labels)
                expected = np.asarray(nibabel.load(truth).dataobj)
                foreground = (labels > 0) | (expected > 0)
                name, count = truth.name.split(".")[0], f"{foreground.sum()} voxels"
                share = float((labels == expected)[foreground].mean())
                rows.append(Row(f"{name}, {precision}: same label", share, n=count, must_reach="0.995",
                                met=share >= MUST_AGREE))  # fmt: skip
                stored = truth.with_name(f"{name}.npz")
                if stored.is_file():
                    reference = np.load(stored)
                    theirs = reference[reference.files[0]].transpose(0, 3, 2, 1)
                    far = float(np.abs(restore(answer, prepared.trace) - theirs).max())
                    exact = precision == "float32"
                    rows.append(Row(f"{name}, {precision}: largest difference of a probability", far, n=count,
                                    must_reach="< 0.005" if exact else "",
                                    met=far < MUST_BE_NEAR if exact else None))  # fmt: skip
    return rows


def inputs() -> dict[str, Path]:
    """The six small volumes, and one of eight of them side by side, as nnU-Net wants its files named."""
    small, large = PLACE / "six", PLACE / "mosaic"
    for folder in (small, large):
        folder.mkdir(parents=True)
    names = [truth.name for truth in sorted((TRAINED / "reference").glob("*.nii.gz"))]
    for name in names:
        shutil.copy(DATA / "hippocampus" / "imagesTr" / name, small / name.replace(".nii.gz", "_0000.nii.gz"))
    first = nibabel.load(DATA / "hippocampus" / "imagesTr" / names[0])
    mosaic = np.tile(np.asarray(first.dataobj), (2, 2, 2))
    nibabel.save(nibabel.Nifti1Image(mosaic, first.affine), large / "mosaic_0000.nii.gz")
    return {f"six volumes of about {first.shape}": small, f"one volume of {mosaic.shape}": large}


def timed(model: Path) -> list[Row]:
    """From file to file, process start included."""
    rows = []
    python = os.environ.get("NNUNET_PYTHON")
    script = ROOT / "benchmarks" / "peers" / "nnunet_predict.py"
    for what, folder in inputs().items():
        ways: dict[str, Callable[[], Run]] = {}
        for precision in ("float32", "bf16"):
            command = ("predict", model, folder, "-o", PLACE / f"out-{precision}", "--force", "--precision", precision)
            ways[precision] = partial(osler, *command)
        if python:
            ways["nnU-Net"] = partial(run, [python, script, FOLDER, folder, PLACE / "out-nnunet"])
        found = alternate(ways)
        theirs = found.get("nnU-Net")
        for precision in ("float32", "bf16"):
            ours = found[precision]
            beside = {} if theirs is None else {"peer": theirs.median}
            rows.append(ours.row(f"{what}, {precision}: seconds", **beside))
            memory = {} if theirs is None else {"peer": theirs.peak_mb / 1000}
            rows.append(Row(f"{what}, {precision}: peak memory", ours.peak_mb / 1000, unit="GB", **memory))
            if theirs is not None:
                ratio = times_faster(f"{what}, {precision}: times faster", ours, theirs)
                claim = {"must_reach": "5", "aim": "10", "met": ratio.value >= MUST_BE_FASTER}
                rows.append(Row(**{**ratio.__dict__, **(claim if precision == "bf16" else {})}))
    return rows


if __name__ == "__main__":
    shutil.rmtree(PLACE, ignore_errors=True)
    converted = PLACE / "model"
    made = osler("convert", TRAINED, "--output", converted)
    parity = made.record["parity"][0]
    write_table(
        "nnunet_convert",
        "A trained nnU-Net, converted",
        [*agreement(converted), *timed(converted)],
        peer="nnUNetv2_predict",
        notes=[
            f"Conversion took {made.seconds:.1f} s; logits of the exported graph differ from torch's by at most "
            f"{parity['difference']:.2g} (largest {parity['largest']:.3g}).",
            "Times are from process start to the last file, fastest to slowest in brackets, in turns; without "
            "mirroring, on the processor. Osler also writes findings and pictures.",
            "nnU-Net sums windows in half precision; its own answer is what is compared with.",
        ],
        extra={"parity": parity},
    )
