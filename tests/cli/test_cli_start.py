"""Starting loads only what the command needs; how long it takes is in ``benchmarks/startup.py``."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from tiny_models import make_model, make_plan, thresholds

HEAVY = ("torch", "monai", "lightning", "lightning_fabric", "torchmetrics", "sklearn", "onnxruntime", "tensorboard")
ARRAYS = ("numpy", "scipy", "nibabel", "pydicom", "PIL", "blosc2", "openvino", "tifffile")


def _modules_after(code: str) -> set[str]:
    program = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)), file=sys.stdout)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(ended.stdout.splitlines()[-1])}


def test_import_osler_loads_no_array_library() -> None:
    assert not _modules_after("import osler") & {*HEAVY, *ARRAYS, "pydantic", "rich", "typer"}


def test_help_loads_no_array_library() -> None:
    code = "from osler.cli import main; assert main(['predict', '--help']) == 0"
    assert not _modules_after(code) & {*HEAVY, *ARRAYS}


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Each command that a hospital runs, with a model and data on which it does its whole work."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "model").mkdir()
    make_model(folder / "model", make_plan(), *thresholds(0.5, 1.5))
    for part in ("images", "masks"):
        (folder / "data" / part).mkdir(parents=True)
        for number in range(3):
            array = np.zeros((16, 16, 16), np.uint8)
            array[4 : 8 + number, 4:8, 4:8] = 1
            array[12:, 12:, 12:] = 2
            values = array if part == "masks" else array.astype(np.float32) * 100
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), folder / "data" / part / f"case_{number}.nii.gz")
    model, data = str(folder / "model"), str(folder / "data")
    return {
        "inspect": ["inspect", data],
        "predict": ["predict", model, f"{data}/images/case_0.nii.gz", "--output", str(folder / "out"), "--force"],
        "verify": ["verify", model],
    }


@pytest.mark.parametrize("name", ["inspect", "predict", "verify"])
def test_what_a_hospital_runs_does_its_whole_work_without_torch(commands: dict[str, list[str]], name: str) -> None:
    loaded = _modules_after(f"from osler.cli import main; assert main({commands[name]!r}) == 0")
    assert "numpy" in loaded
    assert not loaded & {*HEAVY}


def test_evaluating_imports_no_torch() -> None:
    assert not _modules_after("import osler; osler.evaluate") & {*HEAVY}
