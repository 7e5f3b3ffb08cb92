from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pydicom
import pytest

from osler.datasets.plan import GridPlan, NormalisationPlan
from osler.errors import ModelError, OutputExists, PathNotFound, Unknown
from osler.progress import CancelToken, Silent
from osler.studies.formats import read_image, write_image
from osler.studies.image import Image
from osler.workflows.predict import predict
from tiny_models import make_model, make_plan, thresholds


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    """Two labels by thresholds, on intensities divided by 100; its grid is that of no source."""
    grid = GridPlan(resize="spacing", spacing=(0.9, 1.2, 1.0), orientation="LPS")
    plan = make_plan(names=("Anterior", "Posterior"), grid=grid)
    return make_model(tmp_path_factory.mktemp("m") / "seg", plan, *thresholds(1.0, 2.0))


@pytest.fixture(scope="module")
def heart(tmp_path_factory):
    plan = make_plan(
        dimensions=2,
        labels={"kind": "mask", "labels": [{"name": "bright", "value": 255}]},
        grid=GridPlan(resize="spacing", spacing=(1.0, 1.0)),
        patch=(64, 64),
    )
    return make_model(tmp_path_factory.mktemp("m") / "heart", plan, *thresholds(1.0))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    plan = make_plan("classify", names=("dark", "bright"), dimensions=2, patch=(16, 16))
    weights, bias = np.array([[-4.0], [4.0]]), np.array([4.0, -4.0])  # bright from a mean of 100 upwards
    return make_model(tmp_path_factory.mktemp("m") / "cls", plan, weights, bias)


class _Told(Silent):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


def _picture(path, level):
    array = np.full((1, 20, 30), level, np.uint8)
    array[0, 0, 0] = level + 1
    write_image(Image(array), path)
    return path


def _table(folder):
    return {row["study"]: row for row in csv.DictReader((folder / "summary.csv").open())}


def test_a_real_volume_gets_mask_findings_and_volumes_on_its_own_grid(shared, segmenter, tmp_path):
    path = shared / "hippocampus" / "imagesTr" / "hippocampus_001.nii.gz"
    result = predict(segmenter.path, path, output=tmp_path)
    source, mask = nibabel.load(path), nibabel.load(tmp_path / "hippocampus_001" / "mask.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine)
    values = np.asarray(mask.dataobj)
    assert set(np.unique(values)) <= {0, 1, 2}
    voxel = abs(np.linalg.det(source.affine[:3, :3]))
    row = _table(tmp_path)["hippocampus_001"]
    assert float(row["volume_mm3_Anterior"]) == pytest.approx((values == 1).sum() * voxel, rel=1e-6)
    assert row["status"] == "ok"
    assert float(row["seconds"]) > 0
    assert float(row["peak_mb"]) > 10
    written = json.loads((tmp_path / "hippocampus_001" / "findings.json").read_text())
    assert written["study"] == "hippocampus_001"
    assert written["answer"] == result[0].answer
    assert (tmp_path / "hippocampus_001" / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_the_mask_lies_where_the_threshold_says(segmenter, tmp_path):
    """A cube in a rotated, flipped, anisotropic volume (of the plan's spacing) comes back where it was."""
    array = np.full((1, 20, 24, 16), 10, np.float32)
    array[0, 4:12, 6:18, 3:9] = 150
    affine = np.array([[0, -0.9, 0, 5.0], [1.2, 0, 0, -7], [0, 0, -1.0, 9], [0, 0, 0, 1]])
    write_image(Image(array, affine), tmp_path / "cube.nii.gz")
    predict(segmenter, tmp_path / "cube.nii.gz", output=tmp_path / "out")
    mask = np.asarray(nibabel.load(tmp_path / "out" / "cube" / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, (array[0] > 100).astype(np.uint8))


def test_a_picture_gets_a_png_with_the_data_sets_values(shared, heart, tmp_path):
    path = sorted((shared / "cardiac-mr" / "images").iterdir())[0]
    predict(heart, path, output=tmp_path)
    mask = read_image(tmp_path / path.stem / "mask.png").array[0]
    expected = read_image(path).array[0] > 100
    np.testing.assert_array_equal(mask == 255, expected)
    assert set(np.unique(mask)) <= {0, 255}
    assert float(_table(tmp_path)[path.stem]["area_px_bright"]) == expected.sum()


def test_a_dicom_series_gets_a_mask_in_its_geometry(shared, tmp_path):
    folder = next(p.parent for p in sorted((shared / "brain-mr-dicom").rglob("*")) if p.is_file())
    plan = make_plan(
        names=("bright",),
        grid=GridPlan(resize="spacing", spacing=(4.0, 4.0, 6.0), orientation="RAS"),
        normalisation=(NormalisationPlan(kind="image", low=0.5, high=99.5),),
    )
    model = make_model(tmp_path / "m", plan, *thresholds(1.0))
    predict(model, folder, output=tmp_path / "out")
    mask = nibabel.load(tmp_path / "out" / folder.name / "mask.nii.gz")
    image = read_image(folder)
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-3)


def test_classes_get_a_label_and_probabilities_that_sum_to_one(classifier, tmp_path):
    paths = [_picture(tmp_path / f"p{level}.png", level) for level in (20, 180)]
    predict(classifier, paths, output=tmp_path / "out")
    table = _table(tmp_path / "out")
    assert list(table["p20"]) == ["study", "status", "seconds", "peak_mb", "label", "p_dark", "p_bright"]
    assert [table[name]["label"] for name in ("p20", "p180")] == ["dark", "bright"]
    assert float(table["p20"]["p_dark"]) + float(table["p20"]["p_bright"]) == pytest.approx(1, abs=1e-5)


def test_a_bad_study_is_told_and_the_others_go_on(classifier, tmp_path):
    good = _picture(tmp_path / "good.png", 20)
    (tmp_path / "bad.png").write_bytes(good.read_bytes()[:60])
    last = _picture(tmp_path / "last.png", 180)
    told = _Told()
    result = predict(classifier, [good, tmp_path / "bad.png", last], output=tmp_path / "out", progress=told)
    assert [found.study for found in result] == ["good", "last"]
    assert list(result.failed) == ["bad"]
    assert len(told.lines) == 1
    assert told.lines[0].startswith("bad failed: ")
    table = _table(tmp_path / "out")
    assert table["bad"]["status"].startswith("failed: ")
    assert table["last"]["label"] == "bright"
    assert not (tmp_path / "out" / "bad").exists()
    assert any("bad" in line for line in result.summary())
    assert json.loads(json.dumps(result.record()))["failed"].keys() == {"bad"}


NO_PLACE = (
    "ImagePositionPatient or ImageOrientationPatient is missing: the slice has no place in the patient and is a picture"
)


def _slice(folder, modality):
    """A single DICOM image without a place in the patient."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.SeriesInstanceUID, data.Modality, data.PhotometricInterpretation = "1.2.3", modality, "MONOCHROME2"
    data.Rows = data.Columns = data.BitsAllocated = data.BitsStored = 16
    data.SamplesPerPixel, data.HighBit, data.PixelRepresentation = 1, 15, 1
    data.PixelData = np.random.default_rng(0).integers(0, 300, (16, 16)).astype(np.int16).tobytes()
    path = folder / f"{modality}.dcm"
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def _for_modality(folder, modality):
    plan = make_plan("classify", names=("dark", "bright"), dimensions=2, patch=(16, 16), modality=modality)
    return make_model(folder, plan, np.array([[-4.0], [4.0]]), np.array([4.0, -4.0]))


def test_a_modality_that_cannot_be_compared_is_said_in_findings_table_and_summary(classifier, tmp_path):
    """The model was trained on pictures, which do not say what they are."""
    paths = [_slice(tmp_path, "CT"), _picture(tmp_path / "p.png", 20)]
    result = predict(classifier, paths, output=tmp_path / "out")
    told = "the study is of modality CT, and the model does not know the modality that it was trained on"
    findings = json.loads((tmp_path / "out" / "CT" / "findings.json").read_text())
    assert [note.startswith(told) for note in findings["notes"] if note != NO_PLACE] == [True]
    assert json.loads((tmp_path / "out" / "p" / "findings.json").read_text())["notes"] == []
    table = _table(tmp_path / "out")
    assert table["CT"]["status"] == "ok"
    assert table["CT"]["note"].startswith(told)
    assert table["p"]["note"] == ""
    assert any(line.startswith(f"note on CT: {told}") for line in result.summary())
    assert [names for note, names in result.record()["notes"].items() if note != NO_PLACE] == [["CT"]]


def test_studies_that_do_not_say_what_they_are_share_one_line(tmp_path):
    model = _for_modality(tmp_path / "m", "CT")
    paths = [_picture(tmp_path / f"p{n}.png", 20 + n) for n in range(5)]
    told = [line for line in predict(model, [*paths, _slice(tmp_path, "CT")]).summary() if line.startswith("note")]
    told = [line for line in told if NO_PLACE not in line]
    what = "the study does not say its modality, and the model is for CT: check that it is CT"
    assert told == [f"note on p0, p1, p2 and 2 more: {what}"]


def test_a_study_of_another_modality_than_the_models_is_refused(tmp_path):
    model = _for_modality(tmp_path / "m", "MR")
    result = predict(model, [_slice(tmp_path, "CT"), _slice(tmp_path, "MR")])
    assert "is of modality CT, the plan is for MR" in result.failed["CT"]
    assert [found.study for found in result] == ["MR"]
    assert set(result.notes) <= {NO_PLACE}
    xray = _for_modality(tmp_path / "x", "DX")
    assert len(predict(xray, _slice(tmp_path, "CR"))) == 1


def test_an_engine_that_there_is_not_leaves_no_folder(classifier, tmp_path):
    path = _picture(tmp_path / "p.png", 20)
    with pytest.raises(Unknown, match="no engine is called 'nope'"):
        predict(classifier, path, output=tmp_path / "deep" / "out", engine="nope")
    assert not (tmp_path / "deep").exists()


def test_every_file_that_a_prediction_reads_is_checked_and_no_other(classifier, tmp_path):
    path = _picture(tmp_path / "p.png", 20)
    for name, refused in (
        ("model.json", True),
        ("plan.json", True),
        ("graphs/member0.xml", True),
        ("graphs/member0.bin", True),
        ("weights/member0.safetensors", False),  # which only the torch engine reads; osler verify tells
    ):
        copy = tmp_path / name.replace("/", "-")
        shutil.copytree(classifier.path, copy)
        changed = (copy / name).read_bytes().replace(b'"tests"', b'"toast"')
        (copy / name).write_bytes(changed if name == "model.json" else changed + b" ")
        if refused:
            with pytest.raises(ModelError, match="was changed"):
                predict(copy, path)
        else:
            assert len(predict(copy, path)) == 1


def test_two_inputs_of_one_name_get_their_parents_names(classifier, tmp_path):
    for folder in ("monday", "tuesday"):
        (tmp_path / folder).mkdir()
        _picture(tmp_path / folder / "scan.png", 20)
    predict(classifier, [tmp_path / d / "scan.png" for d in ("monday", "tuesday")], output=tmp_path / "out")
    assert set(_table(tmp_path / "out")) == {"monday-scan", "tuesday-scan"}


def test_nothing_is_overwritten_without_force(classifier, tmp_path):
    path = _picture(tmp_path / "scan.png", 20)
    predict(classifier, path, output=tmp_path / "out")
    before = (tmp_path / "out" / "scan" / "findings.json").stat().st_mtime_ns
    with pytest.raises(OutputExists, match="scan holds results already"):
        predict(classifier, path, output=tmp_path / "out")
    assert (tmp_path / "out" / "scan" / "findings.json").stat().st_mtime_ns == before
    predict(classifier, path, output=tmp_path / "out", force=True)
    assert (tmp_path / "out" / "scan" / "findings.json").stat().st_mtime_ns > before


def test_a_stop_keeps_what_is_finished(heart, tmp_path):
    token = CancelToken()

    class StopAfterTwo(Silent):
        done = 0

        def advance(self, stage, amount=1.0, note=""):
            self.done += 1
            if self.done == 2:
                token.cancel()

    names = [f"p{n}" for n in range(80)]
    paths = [_picture(tmp_path / f"{name}.png", 2 * n + 20) for n, name in enumerate(names)]
    result = predict(heart, paths, output=tmp_path / "out", progress=StopAfterTwo(), cancel=token)
    done = len(result)  # what was in hand at that moment is finished too
    assert 2 <= done < 60
    assert [found.study for found in result] == names[:done]
    assert result.unreached == tuple(names[done:])
    assert not result.failed
    assert not result.complete
    stopped = f"stopped: {80 - done} studies were not reached; the same command with --continue goes on"
    assert result.summary()[-1] == stopped
    assert result.record()["unreached"] == names[done:]
    assert set(_table(tmp_path / "out")) == set(names[:done])


def test_without_an_output_the_mask_comes_back_in_memory(heart, tmp_path):
    path = _picture(tmp_path / "p.png", 180)
    result = predict(heart, str(path))
    mask = result.studies[0].mask
    assert mask is not None
    assert mask.array.shape == (1, 20, 30)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.png"]


def test_channels_are_matched_by_name_or_by_order(tmp_path):
    plan = make_plan(
        names=("second",),
        channels=("T1", "T2"),
        normalisation=(NormalisationPlan(kind="dataset", low=0, high=300),) * 2,
    )
    model = make_model(tmp_path / "m", plan, np.array([[0.0, 0.0], [0.0, 50.0]]), np.array([0.0, -5000.0]))
    volumes = np.random.default_rng(0).uniform(0, 200, (2, 16, 16, 16)).astype(np.float32)
    for n in (0, 1):
        write_image(Image(volumes[n : n + 1], np.eye(4)), tmp_path / f"case_000{n}.nii.gz")
    result = predict(model, tmp_path / "case_0000.nii.gz", output=tmp_path / "out")
    assert len(result) == 1
    mask = np.asarray(nibabel.load(tmp_path / "out" / "case" / "mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, volumes[1] > 100)


def test_a_missing_channel_is_named(classifier, tmp_path):
    plan = make_plan(channels=("T1", "FLAIR"), normalisation=(NormalisationPlan(kind="image", low=0, high=100),) * 2)
    model = make_model(tmp_path / "m", plan, np.zeros((3, 2)), np.zeros(3))
    write_image(Image(np.zeros((1, 8, 8, 8), np.uint8), np.eye(4)), tmp_path / "scan.nii.gz")
    result = predict(model, tmp_path / "scan.nii.gz")
    assert "needs T1, FLAIR" in result.failed["scan"]


def test_mistakes_are_answered_before_any_work(classifier, tmp_path):
    with pytest.raises(PathNotFound, match="no-such"):
        predict(classifier, tmp_path / "no-such.png", output=tmp_path / "out")
    with pytest.raises(PathNotFound, match="no model folder"):
        predict(tmp_path / "nowhere", tmp_path)
    assert not (tmp_path / "out").exists()
    damaged = tmp_path / "damaged"
    shutil.copytree(classifier.path, damaged)
    (damaged / "graphs" / "member0.bin").unlink()
    with pytest.raises(ModelError, match=r"member0\.bin"):
        predict(damaged, _picture(tmp_path / "scan.png", 20))


def test_many_small_pictures_go_through_together(classifier, tmp_path):
    image = _picture(tmp_path / "p.png", 20)
    paths = [shutil.copy(image, tmp_path / f"q{n}.png") for n in range(200)]
    assert len(predict(classifier, paths)) == 200


def test_a_prediction_starts_without_torch(classifier, tmp_path):
    path = _picture(tmp_path / "p.png", 20)
    program = (
        "import sys; from osler.workflows.predict import predict;"
        f"predict({str(classifier.path)!r}, {str(path)!r}, output={str(tmp_path / 'out')!r});"
        "heavy = {'torch', 'monai', 'lightning_fabric', 'matplotlib', 'sklearn', 'pydicom', 'nibabel'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "monai", "lightning_fabric"} & set(_names(done.stdout))


def _names(text):
    return text.strip("[]\n ").replace("'", "").split(", ")
