"""A command leaves out the parts of libraries that it has no use for, and nobody misses them."""

from __future__ import annotations

import subprocess
import sys

import nibabel
import numpy as np
import pytest

from tiny_models import make_model, make_plan, thresholds


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lean")
    (folder / "model").mkdir()
    make_model(folder / "model", make_plan(), *thresholds(0.5, 1.5))
    array = np.zeros((20, 18, 17), np.float32)
    array[4:12, 4:12, 4:12] = 100
    scan = nibabel.Nifti1Image(array, np.eye(4))
    nibabel.save(scan, folder / "scan.nii.gz")
    # the header of a DICOM file, as an extension: what nibabel wants pydicom for
    scan.header.extensions.append(nibabel.nifti1.Nifti1Extension(2, b"\x08\x00\x60\x00CS\x02\x00MR"))
    nibabel.save(scan, folder / "with-dicom-header.nii.gz")
    return folder


def _run(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", ["scan", "with-dicom-header"])
def test_predicting_a_nifti_loads_neither_pydicom_nor_the_converter(place, name):
    arguments = ["predict", str(place / "model"), str(place / f"{name}.nii.gz"), "-o", str(place / name), "--force"]
    code = (
        f"import sys; from osler.cli import main; assert main({arguments!r}) == 0;"
        "print([m for m in ('pydicom', 'openvino.tools.ovc', 'requests') if m in sys.modules])"
    )
    assert _run(code) == "[]"
    assert (place / name / name / "mask.nii.gz").is_file()


def test_what_was_left_out_can_be_had_afterwards():
    code = (
        "from pathlib import Path; from osler.cli.lean import load_libraries;"
        "load_libraries([Path('a.nii.gz')], 'openvino');"
        "import pydicom, openvino.tools.ovc, nibabel;"
        "print(pydicom.Dataset.__name__, callable(openvino.tools.ovc.convert_model))"
    )
    assert _run(code) == "Dataset True"


def test_what_is_loaded_already_stays():
    code = (
        "import pydicom, sys; from pathlib import Path; from osler.cli.lean import load_libraries;"
        "load_libraries([Path('a.nii')], 'openvino'); print(sys.modules['pydicom'] is pydicom)"
    )
    assert _run(code) == "True"


def test_other_studies_and_engines_load_nothing_early():
    code = (
        "import sys; from pathlib import Path; from osler.cli.lean import load_libraries;"
        "load_libraries([Path('folder'), Path('a.png')], 'onnxruntime');"
        "print([m for m in ('nibabel', 'openvino') if m in sys.modules])"
    )
    assert _run(code) == "[]"
