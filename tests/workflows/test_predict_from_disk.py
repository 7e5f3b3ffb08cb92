"""Prediction from file to file, plane by plane, against the same study whole in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.datasets.plan import GridPlan, NormalisationPlan
from osler.datasets.preparation import prepare
from osler.errors import StorageError
from osler.findings.finding import Findings
from osler.inference.decoders import DECODERS
from osler.inference.engines.openvino import OpenVinoEngine
from osler.inference.labelled import as_labelled
from osler.inference.predictor import Predictor
from osler.report.files import write_study
from osler.report.mask_file import MaskFile
from osler.report.pictures import picture_of
from osler.studies.files import JOURNAL
from osler.studies.formats import read_image, write_image
from osler.studies.image import Image
from osler.workflows.predict import predict
from tiny_models import make_model, make_plan, thresholds

AFFINES = {
    "straight": np.diag([1.0, 1.0, 1.0, 1.0]),
    "anisotropic": np.diag([-0.8, -0.7, 5.0, 1.0]),
    "oblique": np.array([[0.9, 0.1, 0, 5], [-0.1, 1.1, 0.2, -7], [0, -0.2, 2.5, 9], [0, 0, 0, 1.0]]),
    "turned": np.array([[0, 0, 1.2, 3], [-0.9, 0, 0, 4], [0, -1.0, 0, 5], [0, 0, 0, 1.0]]),
}
CT = NormalisationPlan(kind="dataset", low=-1e6, high=1e6, mean=0.0, std=100.0)
MR = NormalisationPlan(kind="image", low=0.5, high=99.5)


def model_of(folder, classes=3, normalisation=CT, **grid):
    names = tuple(f"organ{n}" for n in range(1, classes))
    settings = {"resize": "spacing", "spacing": (1.1, 1.2, 1.3), "orientation": "RAS", **grid}
    plan = make_plan(names=names, grid=GridPlan(**settings), normalisation=(normalisation,), mirror_axes=(0, 2))
    return make_model(folder, plan, *thresholds(*np.linspace(0.5, 2.5, classes - 1), slope=8.0), members=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_of(tmp_path_factory.mktemp("m") / "three")


def scan(path, shape=(41, 33, 57), affine=AFFINES["straight"], seed=0):
    """Smooth lumps, so that tiles hold one class and several."""
    from scipy.ndimage import zoom

    coarse = np.random.default_rng(seed).uniform(0, 300, tuple(max(2, n // 8) for n in shape))
    array = zoom(coarse, np.divide(shape, coarse.shape), order=1)[: shape[0], : shape[1], : shape[2]]
    write_image(Image(array.astype(np.int16)[None], affine), path)
    return path


def in_memory(model, path, folder, notes=(), **options):
    """What is written of the study whole in memory: nothing of the ways that are tested."""
    image, plan = read_image(path), model.plan
    with Predictor(model, **options) as predictor:
        trace, labelled = predictor.label([image])
        decoded = DECODERS["segment"].decode(labelled, trace, plan, predictor.calibration)
    findings = Findings(
        study=folder.name,
        model=model.info.name,
        task=plan.task,
        answer=decoded.answer,
        findings=decoded.findings,
        notes=notes,
    )
    picture = picture_of(image, findings, plan.labels, mask=decoded.mask)
    write_study(folder, findings, image=image, mask=decoded.mask, overlay=picture)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names_in(folder):
    return {one.name for one in folder.iterdir()}


def check(model, path, tmp_path, **options):
    result = predict(model, path, output=tmp_path / "out", **options)
    assert result.failed == {}
    study = next(one for one in (tmp_path / "out").iterdir() if one.is_dir())
    in_memory(model, path, tmp_path / "plain" / study.name, result.studies[0].notes, **options)
    assert contents(study) == contents(tmp_path / "plain" / study.name)
    assert names_in(tmp_path / "out") == {study.name, "summary.csv", JOURNAL}


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_every_file_is_as_from_memory(model, tmp_path, affine, suffix):
    check(model, scan(tmp_path / f"scan{suffix}", affine=affine), tmp_path)


@pytest.mark.parametrize("shape", [(41, 33, 57), (9, 7, 5), (30, 1, 40), (33, 29, 1), (17, 64, 16)])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_shape_and_number_of_threads_gives_the_same_files(model, tmp_path, shape, threads):
    check(model, scan(tmp_path / "scan.nii.gz", shape), tmp_path, threads=threads)


@pytest.mark.parametrize("classes", [2, 40])
@pytest.mark.parametrize("normalisation", [CT, MR], ids=["dataset", "image"])
@pytest.mark.parametrize("grid", [{}, {"resampling": "plain", "order": 3, "back": "logits", "crop": "nonzero"}])
def test_few_classes_and_many_any_normalisation_and_resampling(tmp_path, classes, normalisation, grid):
    check(model_of(tmp_path / "m", classes, normalisation, **grid), scan(tmp_path / "scan.nii.gz"), tmp_path)


def test_a_real_series_of_dicom_files_goes_the_same_way(shared, tmp_path):
    folder = next(p.parent for p in sorted((shared / "brain-mr-dicom").rglob("*")) if p.is_file())
    model = model_of(tmp_path / "m", normalisation=MR, spacing=(4.0, 4.0, 6.0))
    predict(model, folder, output=tmp_path / "out")
    image = read_image(folder)
    with Predictor(model) as predictor:
        _, labelled = predictor.label([image])
    written = nibabel.load(tmp_path / "out" / folder.name / "mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), labelled.mask)
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-3)


def test_labels_are_those_of_whole_probabilities(model, tmp_path):
    path = scan(tmp_path / "scan.nii.gz", affine=AFFINES["oblique"])
    predict(model, path, output=tmp_path / "out")
    with Predictor(model) as predictor:
        prepared = prepare([read_image(path)], model.plan)
        plain = as_labelled(predictor.predict(prepared), prepared.trace, model.plan.labels)
    mask = np.asarray(nibabel.load(tmp_path / "out" / "scan" / "mask.nii.gz").dataobj)
    assert (mask == plain.mask).mean() > 0.9999


def test_without_an_output_the_mask_is_given(model, tmp_path):
    path = scan(tmp_path / "scan.nii.gz")
    result = predict(model, path)
    in_memory(model, path, tmp_path / "scan")
    np.testing.assert_array_equal(result.studies[0].mask.array, read_image(tmp_path / "scan" / "mask.nii.gz").array)


def test_of_several_channels_each_is_read_from_its_file(tmp_path):
    plan = make_plan(channels=("a", "b"), normalisation=(CT, MR))
    weights, bias = thresholds(1.0, 2.0)
    model = make_model(tmp_path / "m", plan, np.hstack([weights, weights]), bias)
    for n in range(2):
        scan(tmp_path / "in" / f"x_000{n}.nii.gz" if n else _made(tmp_path / "in") / "x_0000.nii.gz", seed=n)
    predict(model, tmp_path / "in", output=tmp_path / "out")
    images = [read_image(tmp_path / "in" / f"x_000{n}.nii.gz") for n in range(2)]
    with Predictor(model) as predictor:
        _, labelled = predictor.label(images)
    written = read_image(tmp_path / "out" / "x" / "mask.nii.gz").array[0]
    np.testing.assert_array_equal(written, labelled.mask)


def _made(folder):
    folder.mkdir()
    return folder


@pytest.mark.parametrize("damage", ["cut", "checksum"])
def test_a_damaged_file_leaves_nothing_behind(model, tmp_path, damage):
    path = scan(tmp_path / "scan.nii.gz")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(bytes(data[: int(len(data) * 0.9)] if damage == "cut" else data))
    result = predict(model, path, output=tmp_path / "out")
    assert "truncated" in result.failed["scan"] or "damaged" in result.failed["scan"]
    assert names_in(tmp_path / "out") == {"summary.csv", JOURNAL}


def _osler_threads():
    return [one.name for one in threading.enumerate() if one.name.startswith(("osler-ahead", "osler-behind"))]


def test_an_interruption_leaves_nothing_behind(model, tmp_path, monkeypatch):
    path, calls, plain = scan(tmp_path / "scan.nii.gz"), [], OpenVinoEngine.run

    def run(self, inputs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return plain(self, inputs)

    monkeypatch.setattr(OpenVinoEngine, "run", run)
    with pytest.raises(KeyboardInterrupt):
        predict(model, path, output=tmp_path / "out")
    assert names_in(tmp_path / "out") == {JOURNAL}
    assert _osler_threads() == []


def test_a_disk_that_fills_up_stops_the_run_and_says_so(model, tmp_path, monkeypatch):
    def full(self, planes):
        raise StorageError("the disk is full")

    monkeypatch.setattr(MaskFile, "write", full)
    with pytest.raises(StorageError, match="disk is full"):
        predict(model, scan(tmp_path / "scan.nii.gz"), output=tmp_path / "out")
    assert names_in(tmp_path / "out") == {JOURNAL}
    assert _osler_threads() == []


def test_earlier_results_stay_until_the_new_ones_are_whole(model, tmp_path):
    path = scan(tmp_path / "scan.nii.gz")
    predict(model, path, output=tmp_path / "out")
    before = contents(tmp_path / "out" / "scan")
    path.write_bytes(path.read_bytes()[:-100])
    assert predict(model, path, output=tmp_path / "out", force=True).failed
    assert contents(tmp_path / "out" / "scan") == before


_SLOW = """
    import sys, time
    from osler.inference.engines.openvino import OpenVinoEngine
    from osler.workflows.predict import predict
    plain = OpenVinoEngine.run
    def run(self, inputs):
        time.sleep(0.02)
        return plain(self, inputs)
    OpenVinoEngine.run = run
    predict(sys.argv[1], sys.argv[2], output=sys.argv[3])
"""


@pytest.mark.parametrize("after", [0.0, 0.3])
def test_killed_at_any_moment_nothing_lies_under_its_final_name(model, tmp_path, after):
    path, output = scan(tmp_path / "scan.nii.gz"), tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_SLOW), model.path, path, output],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    try:
        until = time.monotonic() + 60
        while not list(output.glob(".*.nii.gz")) and time.monotonic() < until and child.poll() is None:
            time.sleep(0.01)
        time.sleep(after)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    (part,) = names_in(output) - {JOURNAL}
    assert part.startswith(".")
    predict(model, path, output=output)
    assert {"findings.json", "mask.nii.gz"} <= contents(output / "scan").keys()
    assert names_in(output) == {"scan", "summary.csv", JOURNAL}


@pytest.mark.parametrize(("suffix", "pictures"), [(".nii.gz", False), (".nii", False), (".nii.gz", True)])
def test_memory_does_not_grow_with_the_number_of_slices(model, tmp_path, suffix, pictures, monkeypatch):
    """What NumPy and Python allocate; the network's own memory depends on the patch."""
    monkeypatch.setattr("osler.studies.views._SAMPLE", 5000)  # a million, but these studies are small
    peaks = []
    for slices in (60, 480):
        path = scan(Path(tmp_path / f"scan{slices}{suffix}"), (96, 96, slices))
        tracemalloc.start()
        predict(model, path, output=tmp_path / f"out{slices}", pictures=pictures)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.4 * peaks[0]  # the voxels, and the rows of the resampling matrices, are eight times as many
    assert peaks[1] - peaks[0] < 0.2 * (480 - 60) * 96 * 96 * 2
