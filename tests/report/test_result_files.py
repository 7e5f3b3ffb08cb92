from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.errors import NotWritable, OutputExists, StorageError
from osler.findings.finding import Findings
from osler.report.files import SummaryRow, ensure_free, mask_name, output_folder, write_study, write_summary
from osler.studies.formats import read_image
from osler.studies.image import Image, Source

FINDINGS = Findings(study="x", model="m", task="segment", answer=["a"])


def _rows(path):
    return list(csv.DictReader(path.open()))


def test_a_mask_of_a_volume_keeps_affine_shape_and_values(tmp_path):
    affine = np.array([[0, -0.7, 0, 3.0], [0.6, 0.1, 0, -4], [0, 0, 2.5, 5], [0, 0, 0, 1]])
    image = Image(np.zeros((1, 5, 6, 7), np.float32), affine, "MR", source=Source(format="nifti"))
    mask = np.zeros((5, 6, 7), np.uint16)
    mask[1, 2, 3] = 300
    write_study(tmp_path / "x", FINDINGS, image=image, mask=mask)
    written = nibabel.load(tmp_path / "x" / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask)


@pytest.mark.parametrize(("value", "dtype"), [(255, np.uint8), (4000, np.uint16)])
def test_a_mask_of_a_picture_is_a_png_with_the_same_values(tmp_path, value, dtype):
    import PIL.Image

    image = Image(np.zeros((3, 9, 4), np.uint8), spacing_known=False, source=Source(format="raster"))
    mask = np.zeros((9, 4), dtype)
    mask[8, 1] = value
    write_study(tmp_path / "x", FINDINGS, image=image, mask=mask)
    seen = np.asarray(PIL.Image.open(tmp_path / "x" / "mask.png"))
    assert seen.shape == (4, 9)  # rows, columns
    assert seen[1, 8] == value
    assert (seen > 0).sum() == 1


def test_dicom_gets_nifti_in_the_series_geometry(shared, tmp_path):
    folder = sorted(p for p in (shared / "brain-mr-dicom").rglob("*") if p.is_dir() and any(p.glob("*.dcm")))
    image = read_image(folder[0] if folder else next((shared / "brain-mr-dicom").iterdir()))
    assert mask_name(image) == "mask.nii.gz"
    mask = (image.array[0] > image.array.mean()).astype(np.uint8)
    write_study(tmp_path / "x", FINDINGS, image=image, mask=mask)
    written = nibabel.load(tmp_path / "x" / "mask.nii.gz")
    np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask)


def test_findings_are_read_back_as_they_were(tmp_path):
    write_study(tmp_path / "x", FINDINGS, image=Image(np.zeros((1, 2, 2))), overlay=b"png")
    assert Findings.model_validate(json.loads((tmp_path / "x" / "findings.json").read_text())) == FINDINGS
    assert (tmp_path / "x" / "overlay.png").read_bytes() == b"png"
    assert not list((tmp_path / "x").glob("*.part"))


def test_results_of_another_model_do_not_stay_beside_the_new_ones(tmp_path):
    image = Image(np.zeros((1, 3, 3, 3)))
    write_study(tmp_path / "x", FINDINGS, image=image, mask=np.zeros((3, 3, 3), np.uint8), overlay=b"png")
    (tmp_path / "x" / "IM0001.dcm").write_text("the user's own file")
    write_study(tmp_path / "x", FINDINGS, image=image)
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["IM0001.dcm", "findings.json"]


def test_the_summary_has_the_fixed_columns_first_and_a_row_for_a_failure(tmp_path):
    rows = [
        SummaryRow("a", "ok", 1.25, 100.4, {"label": "x,y", "p_x": 0.123456789, "p_y": 1e-9}),
        SummaryRow("b", "failed: it is\nempty", 0.0, 0.0),
    ]
    write_summary(tmp_path / "summary.csv", rows)
    head = (tmp_path / "summary.csv").read_text().splitlines()[0]
    assert head == "study,status,seconds,peak_mb,label,p_x,p_y"
    first, second = _rows(tmp_path / "summary.csv")
    assert first["label"] == "x,y"
    assert float(first["p_x"]) == pytest.approx(0.123457)
    assert second["status"] == "failed: it is empty"
    assert second["label"] == ""


def test_a_table_of_failures_has_the_tasks_columns_too(tmp_path):
    write_summary(tmp_path / "s.csv", [SummaryRow("b", "failed: x", 0, 0)], columns=("value", "low", "high"))
    assert (tmp_path / "s.csv").read_text().startswith("study,status,seconds,peak_mb,value,low,high\n")


def test_large_volumes_are_written_in_full(tmp_path):
    write_summary(tmp_path / "s.csv", [SummaryRow("b", "ok", 0, 0, {"volume_mm3_liver": 1234567.25})])
    assert _rows(tmp_path / "s.csv")[0]["volume_mm3_liver"] == "1234567.25"


def test_nothing_is_overwritten_without_force(tmp_path):
    write_study(tmp_path / "b", FINDINGS, image=Image(np.zeros((1, 2, 2))))
    with pytest.raises(OutputExists, match=r"b holds results already.*--force"):
        ensure_free(tmp_path, ["a", "b"], force=False)
    ensure_free(tmp_path, ["a", "b"], force=True)
    ensure_free(tmp_path, ["a"], force=False)


def test_an_existing_summary_is_not_overwritten_either(tmp_path):
    (tmp_path / "summary.csv").write_text("")
    with pytest.raises(OutputExists, match=r"summary.csv"):
        ensure_free(tmp_path, ["a"], force=False)


def test_a_place_that_cannot_be_written_is_told_before_any_work(tmp_path):
    (tmp_path / "out").write_text("")
    for place, reason in (
        (tmp_path / "out", "there is a file of this name"),
        (tmp_path / "out" / "below", "a part of this path is a file"),
        (Path("/proc/x"), "no file or folder can be made there"),
    ):
        with pytest.raises(NotWritable, match=reason), output_folder(place):
            pytest.fail("work was begun")


def _fail_in(folder, *, with_a_result):
    with output_folder(folder):
        if with_a_result:
            (folder / "findings.json").write_text("{}")
        raise ValueError("a fault")


def test_folders_that_were_made_for_nothing_go_again_and_results_stay(tmp_path):
    for name, with_a_result in (("nothing", False), ("something", True)):
        with pytest.raises(ValueError, match="a fault"):
            _fail_in(tmp_path / "new" / name, with_a_result=with_a_result)
        assert (tmp_path / "new").exists() == with_a_result
    assert [p.name for p in (tmp_path / "new" / "something").iterdir()] == ["findings.json"]
    assert not (tmp_path / "new" / "nothing").exists()


def test_notes_are_the_last_column_and_only_there_when_there_are_some(tmp_path):
    rows = [SummaryRow("a", "ok", 0, 0, {"label": "x"}), SummaryRow("b", "ok", 0, 0, {"label": "y"}, "check it")]
    write_summary(tmp_path / "s.csv", rows)
    assert [row["note"] for row in _rows(tmp_path / "s.csv")] == ["", "check it"]
    assert (tmp_path / "s.csv").read_text().startswith("study,status,seconds,peak_mb,label,note\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_storage_error_and_leaves_no_half_file(tmp_path, monkeypatch):
    def full(self, data):
        with open("/dev/full", "wb", buffering=0) as device:
            device.write(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match=r"the disk is full"):
        write_study(tmp_path / "x", FINDINGS, image=Image(np.zeros((1, 2, 2))))
    assert list((tmp_path / "x").iterdir()) == []
