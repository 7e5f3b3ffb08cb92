"""Trees of DICOM series with SEG and RTSTRUCT: which labels belong to which image, and what they are called."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dicom_label_samples import OBLIQUE, Series, write_rtstruct, write_seg, write_series
from osler.datasets.layouts import dicom_tree, open_dataset, write_manifest
from osler.errors import DatasetError, NoLabels, Unsuitable, UsageError
from osler.studies.formats import read_image, write_image
from osler.studies.image import Image

LIVER = {"liver": ("10200004", "SCT", "Liver")}


def box(low: tuple[int, int, int], high: tuple[int, int, int], shape: tuple[int, int, int] = (12, 10, 5)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


ORGAN, LESION = box((2, 2, 1), (9, 8, 4)), box((4, 4, 2), (6, 6, 3))


def square(series: Series, k: int, low: float = 2.5, high: float = 6.5) -> tuple[str, np.ndarray, int]:
    corners = np.array([(low, low), (high, low), (high, high), (low, high)])
    return "CLOSED_PLANAR", series.place(corners[:, 0], corners[:, 1], np.full(4, float(k))), k


def tree(root: Path) -> list[Series]:
    """Two patients: one with a SEG in a folder of its own, one with an RTSTRUCT beside its slices; a bare series."""
    first = write_series(root / "a/ct", patient="A")
    write_seg(root / "a/seg/s.dcm", first, {"Liver": ORGAN})
    second = write_series(root / "b", patient="B", orientation=OBLIQUE, study="1.2.9")
    write_rtstruct(root / "b/rt.dcm", second, {"liver ": [square(second, 1), square(second, 2)]})
    return [first, second, write_series(root / "c/ct", patient="A", study="1.2.10")]


def test_labels_find_their_images_by_uid_and_their_names_agree(tmp_path: Path) -> None:
    tree(tmp_path)
    dataset = open_dataset(tmp_path)
    assert (dataset.manifest.layout, len(dataset), dataset.manifest.modality) == ("dicom-tree", 2, "CT")
    assert dataset.labels.names == ("Liver",)
    assert dataset.manifest.patients == "given"
    assert len({record.patient for record in dataset}) == 2
    masks = [dataset.load(record).mask for record in dataset]
    np.testing.assert_array_equal(masks[0].array[0] > 0, ORGAN)
    assert np.count_nonzero(masks[1].array) == 2 * 16
    assert any("1 images of the tree have none of the labels" in note for note in dataset.manifest.notes)


def test_names_and_patients_do_not_identify(tmp_path: Path) -> None:
    series = write_series(tmp_path / "x", patient="Miller-1950")
    write_seg(tmp_path / "s.dcm", series, {"Liver": ORGAN})
    manifest = open_dataset(tmp_path).manifest
    text = manifest.model_dump_json()
    assert "Miller" not in text
    assert series.uid not in text
    assert manifest.records[0].patient.startswith("patient-")


def test_a_flat_folder_of_two_series_and_their_labels_is_read(tmp_path: Path) -> None:
    for name, mask in (("a", ORGAN), ("b", LESION)):
        series = write_series(tmp_path / name, patient=name)
        write_seg(tmp_path / name / "seg.dcm", series, {"thing": mask})
        for file in sorted((tmp_path / name).iterdir()):
            file.rename(tmp_path / f"{name}-{file.stem}")  # no suffix either
        (tmp_path / name).rmdir()
    dataset = open_dataset(tmp_path)
    masks = [dataset.load(record).mask.array[0] > 0 for record in dataset]
    assert sorted(np.count_nonzero(mask) for mask in masks) == [LESION.sum(), ORGAN.sum()]


def test_several_segmentations_of_one_series_make_one_mask_and_the_smaller_label_wins(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    write_seg(tmp_path / "organ.dcm", series, {"organ": ORGAN})
    write_seg(tmp_path / "lesion.dcm", series, {"lesion": LESION})
    dataset = open_dataset(tmp_path)
    case = dataset.load(dataset.records[0])
    values = dict(zip(dataset.labels.names, dataset.labels.values, strict=True))
    assert values == {"lesion": 1, "organ": 2}
    assert np.count_nonzero(case.mask.array == 1) == LESION.sum()
    assert np.count_nonzero(case.mask.array == 2) == ORGAN.sum() - LESION.sum()
    assert case.overlaps == {(1, 2): int(LESION.sum())}


def test_lesions_of_one_name_in_two_files_are_joined_and_two_readers_are_refused(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    write_seg(tmp_path / "1.dcm", series, {"lesion": LESION})
    write_seg(tmp_path / "2.dcm", series, {"lesion": box((8, 8, 0), (10, 10, 2))})
    dataset = open_dataset(tmp_path)
    assert np.count_nonzero(dataset.load(dataset.records[0]).mask.array) == LESION.sum() + 8
    write_seg(tmp_path / "3.dcm", series, {"lesion": box((4, 4, 2), (7, 6, 3))})
    dataset = open_dataset(tmp_path)
    with pytest.raises(Unsuitable, match="hold the same label and overlap in 4 voxels"):
        dataset.load(dataset.records[0])


def test_a_copy_of_a_file_counts_once(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    shutil.copy(write_seg(tmp_path / "1.dcm", series, {"lesion": LESION}), tmp_path / "2.dcm")
    dataset = open_dataset(tmp_path)
    assert len(dataset.records[0].mask.layers) == 1
    assert "1 files of labels are copies" in dataset.manifest.notes[0]


def test_a_name_with_two_concepts_is_two_labels_and_codes_come_along(tmp_path: Path) -> None:
    one, other = write_series(tmp_path / "1", patient="1"), write_series(tmp_path / "2", patient="2")
    write_seg(tmp_path / "1.dcm", one, {"roi": ORGAN}, codes={"roi": LIVER["liver"]})
    write_seg(tmp_path / "2.dcm", other, {"ROI": ORGAN}, codes={"ROI": ("64033007", "SCT", "Kidney")})
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("ROI (Kidney)", "ROI (Liver)")
    assert dataset.labels.labels[1].concept.model_dump() == {"name": "Liver", "code": "10200004", "system": "SCT"}
    assert "'ROI' stand for several coded concepts" in dataset.manifest.notes[0]


def test_labels_json_picks_and_numbers_by_name_or_by_concept(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    masks = {
        "organ": ORGAN,
        "node 1": LESION,
        "node 2": box((9, 8, 0), (10, 9, 1)),
        "table": box((0, 0, 0), (12, 1, 5)),
    }
    codes = {name: ("59441001", "SCT", "Lymph node") for name in ("node 1", "node 2")}
    write_seg(tmp_path / "s.dcm", series, masks, codes=codes)
    (tmp_path / "labels.json").write_text(json.dumps({"5": "Organ", "7": "lymph node"}))
    dataset = open_dataset(tmp_path)
    assert dict(zip(dataset.labels.values, dataset.labels.names, strict=True)) == {5: "organ", 7: "lymph node"}
    mask = dataset.load(dataset.records[0]).mask.array
    assert {value: np.count_nonzero(mask == value) for value in (5, 7)} == {5: ORGAN.sum() - LESION.sum(), 7: 5}
    (tmp_path / "labels.json").write_text(json.dumps({"1": "spleen"}))
    with pytest.raises(NoLabels, match=r"'spleen', which no structure is called.*node 1, node 2, organ, table"):
        open_dataset(tmp_path)


def test_points_are_left_out_and_said(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    point = ("POINT", series.place(3, 3, 1)[None], None)
    write_rtstruct(tmp_path / "rt.dcm", series, {"iso": [point], "organ": [square(series, 1)], "planned": []})
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("organ",)
    assert "'iso' are points or lines" in dataset.manifest.notes[0]


def test_labels_without_their_images_are_refused_or_said(tmp_path: Path) -> None:
    gone = write_series(tmp_path / "gone")
    write_seg(tmp_path / "gone.dcm", gone, {"organ": ORGAN})
    shutil.rmtree(gone.folder)
    with pytest.raises(DatasetError, match=r"none of the 1 segmentations.*gone.dcm"):
        open_dataset(tmp_path)
    series = write_series(tmp_path / "ct")
    write_seg(tmp_path / "s.dcm", series, {"organ": ORGAN})
    assert (
        "1 files of labels are left out: their images are not in the tree" in open_dataset(tmp_path).manifest.notes[0]
    )


def test_without_references_the_only_image_in_the_frame_of_reference_is_meant(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct", frame="1.2.77")
    write_rtstruct(
        tmp_path / "rt.dcm", series, {"organ": [("CLOSED_PLANAR", square(series, 1)[1], None)]}, references=False
    )
    assert np.count_nonzero(open_dataset(tmp_path).load(open_dataset(tmp_path).records[0]).mask.array) == 16
    write_series(tmp_path / "late phase", frame="1.2.77")
    with pytest.raises(DatasetError, match=r"rt.dcm refers to 2 images"):
        open_dataset(tmp_path)


def test_a_damaged_file_of_labels_is_refused_by_name(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = write_seg(tmp_path / "s.dcm", series, {"organ": ORGAN}, SegmentSequence=[])
    with pytest.raises(
        DatasetError, match=f"{path.name} cannot be read as a DICOM segmentation: it describes no segment"
    ):
        open_dataset(tmp_path)


def test_dicom_without_labels_and_other_tasks_are_refused(tmp_path: Path) -> None:
    tree(tmp_path / "x")
    with pytest.raises(UsageError, match="cannot be learnt from DICOM segmentations"):
        open_dataset(tmp_path / "x", task="classify")
    assert dicom_tree.sniff(tmp_path / "x/c") is None
    assert "a/seg/s.dcm" in (dicom_tree.sniff(tmp_path / "x") or "")


def test_a_tree_becomes_a_table_and_comes_back(tmp_path: Path) -> None:
    series = tree(tmp_path / "x")[0]
    write_seg(tmp_path / "x/a/more.dcm", series, {"table": box((0, 0, 0), (12, 1, 5)), "lesion": LESION})
    dataset = open_dataset(tmp_path / "x")
    table, _ = write_manifest(dataset, tmp_path / "manifest.csv")
    assert "more.dcm#structure=2" in table.read_text()
    again = open_dataset(table)
    assert again.labels == dataset.labels
    for one, other in zip(dataset, again, strict=True):
        np.testing.assert_array_equal(dataset.load(one).mask.array, again.load(other).mask.array)


def test_a_mask_of_nifti_and_a_structure_of_dicom_do_not_mix_unnamed(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    write_seg(tmp_path / "s.dcm", series, {"organ": ORGAN})
    affine = read_image(tmp_path / "ct").affine
    write_image(Image(LESION[None].astype(np.uint8), affine), tmp_path / "lesion.nii.gz")
    (tmp_path / "manifest.csv").write_text("image,mask_organ,mask_lesion\nct,s.dcm#structure=1,lesion.nii.gz\n")
    dataset = open_dataset(tmp_path)
    with pytest.raises(Unsuitable, match=r"lesion\.nii\.gz lies beside DICOM structures and names none"):
        dataset.load(dataset.records[0])


def test_a_table_may_give_a_whole_structure_set_as_the_mask(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    write_rtstruct(tmp_path / "rt.dcm", series, {"organ": [square(series, 1)]})
    (tmp_path / "manifest.csv").write_text("image,mask\nct,rt.dcm\n")
    (tmp_path / "labels.json").write_text('{"1": "organ"}')
    dataset = open_dataset(tmp_path)
    assert np.count_nonzero(dataset.load(dataset.records[0]).mask.array) == 16


def test_labels_that_fit_two_images_cost_only_these_images(tmp_path: Path) -> None:
    tree(tmp_path)
    one = write_series(tmp_path / "early", frame="1.2.77", patient="C")
    write_series(tmp_path / "late", frame="1.2.77", patient="C")
    contour = ("CLOSED_PLANAR", square(one, 1)[1], None)
    write_rtstruct(tmp_path / "rt.dcm", one, {"organ": [contour]}, references=False)
    write_seg(tmp_path / "early.dcm", one, {"Liver": ORGAN})
    dataset = open_dataset(tmp_path)
    assert (len(dataset), dataset.labels.names) == (2, ("Liver",))
    assert any("1 files of labels fit several images each" in note for note in dataset.manifest.notes)
    assert any("(rt.dcm fits 2)" in note for note in dataset.manifest.notes)
