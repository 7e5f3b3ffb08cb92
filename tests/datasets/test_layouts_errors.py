"""A user's mistakes get an answer in one sentence; and patients out of names."""

from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest

from layout_samples import class_folders, decathlon, images_and_masks, mask_picture, medmnist, nnunet, picture, volume
from osler.datasets.layouts import list_dataset, open_dataset, propose_pattern
from osler.errors import DatasetError, GridMismatch, NoLabels, PathNotFound, TooFew, Unknown, UnknownLayout, UsageError
from osler.workflows.inspect import inspect


def test_no_such_path(tmp_path):
    with pytest.raises(PathNotFound, match="nope does not exist"):
        open_dataset(tmp_path / "nope")


def test_an_empty_folder(tmp_path):
    with pytest.raises(DatasetError, match="is empty"):
        open_dataset(tmp_path)


def test_images_without_labels(tmp_path):
    picture(tmp_path / "1.png")
    with pytest.raises(NoLabels, match=r"nothing that says what they show \(1 .png\)"):
        open_dataset(tmp_path)


def test_images_without_masks(tmp_path):
    picture(tmp_path / "images" / "1.png")
    with pytest.raises(NoLabels, match=r"images: 1 .png"):
        open_dataset(tmp_path)


def test_an_unknown_layout_says_what_was_seen_and_what_the_nearest_lacks(tmp_path):
    for n in range(3):
        picture(tmp_path / f"images/{n}.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/read me.txt").write_text("x")
    seen = r"images: 3 .png \(0.png ...\); notes: 1 .txt \(read me.txt ...\)"
    with pytest.raises(UnknownLayout, match=rf"{seen}.*'image-mask-folders': it lacks the folder 'masks' with"):
        open_dataset(tmp_path)


def test_a_folder_of_data_sets_names_one_of_them(tmp_path):
    class_folders(tmp_path / "skin")
    decathlon(tmp_path / "liver")
    with pytest.raises(UnknownLayout, match=r"name .*liver instead, which is laid out as 'decathlon'"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["nnunet-hippocampus", "dicom-encodings"])
def test_what_is_no_labelled_image_set_is_refused(shared, name):
    with pytest.raises((UnknownLayout, NoLabels)):
        open_dataset(shared / name)


def test_two_series_of_one_study_are_not_two_classes(shared):
    with pytest.raises(UnknownLayout, match=r"22 .dcm"):
        open_dataset(shared / "brain-mr-dicom" / "Study1")


def test_one_class(tmp_path):
    picture(tmp_path / "benign" / "1.png")
    with pytest.raises(TooFew, match="all images lie in one folder, 'benign', and one class is nothing to tell apart"):
        open_dataset(tmp_path)


def test_an_empty_class_folder_is_named(tmp_path):
    root = class_folders(tmp_path)
    (root / "normal").mkdir()
    with pytest.raises(DatasetError, match="class folder normal holds no image"):
        open_dataset(root)


def test_an_image_without_a_mask_and_a_mask_without_an_image_are_named(tmp_path):
    root = images_and_masks(tmp_path)
    picture(root / "images/extra.png")
    with pytest.raises(DatasetError, match="the image extra has no mask"):
        open_dataset(root)
    (root / "images/extra.png").unlink()
    mask_picture(root / "masks/spare.png")
    with pytest.raises(DatasetError, match=r"the mask masks/spare.png has no image"):
        open_dataset(root)


def test_an_inspection_lists_every_image_without_a_mask_and_every_mask_without_an_image(tmp_path):
    root = images_and_masks(tmp_path / "d")
    cases = len(open_dataset(root))
    for name in ("extra1", "extra2"):
        picture(root / f"images/{name}.png")
    mask_picture(root / "masks/spare.png")
    with pytest.raises(DatasetError, match=r"the image extra1 has no mask, and 1 more like it \(osler inspect lists"):
        open_dataset(root)
    found = inspect(root, fix=tmp_path / "fixed")
    assert found.cases == cases + 2
    problems = [p for p in found.problems if p.code in ("incomplete", "no-answer")]
    assert [p.cases for p in problems] == [("extra1", "extra2"), ()]
    assert problems[1].what == "masks without an image in images: 1 (masks/spare.png)"
    assert len(open_dataset(tmp_path / "fixed")) == cases


def test_an_inspection_lists_every_row_of_a_table_that_lacks_something(tmp_path):
    for name in "abcdef":
        picture(tmp_path / f"d/{name}.png")
    rows = ["image,value", "a.png,1", "b.png,", "c.png,much", "gone.png,3", "d.png,2.5", "e.png,", "f.png,4"]
    (tmp_path / "d/manifest.csv").write_text("\n".join(rows))
    with pytest.raises(DatasetError, match=r"row 5: gone\.png does not exist"):
        open_dataset(tmp_path / "d")
    found = inspect(tmp_path / "d", fix=tmp_path / "fixed")
    listed = {p.what: p.cases for p in found.problems if p.code == "incomplete"}
    assert listed == {
        "1 case: a file that does not exist": ("gone",),
        "2 cases: no value": ("b", "e"),
        "1 case: a value that is not a number": ("c",),
    }
    assert sorted(r.name for r in open_dataset(tmp_path / "fixed")) == ["a", "d", "f"]


def test_a_mask_of_another_size_is_named(tmp_path):
    root = images_and_masks(tmp_path)
    mask_picture(root / "masks/a1.png", size=(10, 12))
    with pytest.raises(GridMismatch, match="mask of a1 has 10×12 voxels and its image 12×10"):
        open_dataset(root)


def test_a_volume_mask_of_another_shape_or_place_is_named(tmp_path):
    root = decathlon(tmp_path)
    volume(root / "labelsTr/liver_001.nii.gz", labels=2, shape=(6, 5, 5))
    with pytest.raises(GridMismatch, match="liver_001 has 6×5×5 voxels"):
        open_dataset(root)
    volume(root / "labelsTr/liver_001.nii.gz", labels=2, shift=7)
    with pytest.raises(GridMismatch, match="liver_001 lies up to 7 voxels away"):
        open_dataset(root)


def test_all_masks_that_do_not_fit_are_named(tmp_path):
    root = images_and_masks(tmp_path)
    names = sorted(path.stem for path in (root / "masks").iterdir())
    for name in names[:3]:
        mask_picture(root / f"masks/{name}.png", size=(10, 12))
    with pytest.raises(GridMismatch, match=f"3 of {len(names)} masks do not fit") as told:
        open_dataset(root)
    assert all(f"the mask of {name} has 10×12 voxels" in told.value.problem for name in names[:3])
    assert len(list_dataset(root)) == len(names)


def test_jpeg_masks_are_refused(tmp_path):
    for n in range(2):
        picture(tmp_path / f"images/{n}.png")
        picture(tmp_path / f"masks/{n}.jpg", value=255)
    with pytest.raises(DatasetError, match="2 masks are JPEG"):
        open_dataset(tmp_path)


def test_masks_that_are_pictures_are_refused(tmp_path):
    root = images_and_masks(tmp_path)
    mask_picture(root / "masks/a1.png", tuple(range(100)))
    with pytest.raises(DatasetError, match="look like pictures rather than labels"):
        open_dataset(root)


def test_empty_masks_are_no_labels(tmp_path):
    root = images_and_masks(tmp_path)
    for n in range(3):
        mask_picture(root / f"masks/a{n}.png", (0,))
    with pytest.raises(NoLabels, match="every mask is empty"):
        open_dataset(root)


def test_a_missing_file_of_the_decathlon_is_named(tmp_path):
    root = decathlon(tmp_path)
    (root / "labelsTr/liver_002.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"labelsTr/liver_002.nii.gz, which is not there"):
        open_dataset(root)


def test_a_missing_channel_or_mask_of_nnunet_is_named(tmp_path):
    root = nnunet(tmp_path)
    (root / "imagesTr/brain_001_0001.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"brain_001 has channels T1, and dataset.json names FLAIR, T1"):
        open_dataset(root)
    volume(root / "imagesTr/brain_001_0001.nii.gz")
    (root / "labelsTr/brain_002.nii.gz").unlink()
    with pytest.raises(DatasetError, match="brain_002 has no mask"):
        open_dataset(root)


def test_an_ignore_label_is_refused_rather_than_taken_for_background(tmp_path):
    root = nnunet(tmp_path, labels={"background": 0, "tumour": 1, "ignore": 2})
    with pytest.raises(DatasetError, match="'ignore' label"):
        open_dataset(root)


def test_a_dataset_json_without_labels(tmp_path):
    root = decathlon(tmp_path)
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**content, "labels": {"0": "background"}}))
    with pytest.raises(NoLabels, match="no label but the background"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("maker", "task"), [(class_folders, "segment"), (images_and_masks, "classify"), (medmnist, "segment")]
)
def test_a_task_that_the_data_cannot_answer(tmp_path, maker, task):
    with pytest.raises(UsageError, match=f"'{task}' cannot be learnt from"):
        open_dataset(maker(tmp_path), task=task)


def test_a_damaged_archive(tmp_path):
    root = medmnist(tmp_path)
    data = (root / "newmnist.npz").read_bytes()
    (root / "newmnist.npz").write_bytes(data[:300] + b"\0" * 200 + data[500:])
    with pytest.raises(DatasetError, match=r"newmnist.npz is damaged"):
        open_dataset(root)


def test_two_files_of_one_name(tmp_path):
    root = class_folders(tmp_path)
    PIL.Image.fromarray(np.zeros((4, 4), np.uint8)).save(root / "benign/benign_0.jpg")
    with pytest.raises(DatasetError, match="two cases are both called 'benign-benign_0'"):
        open_dataset(root)


def test_a_layout_can_be_asked_for_and_must_fit(tmp_path):
    root = class_folders(tmp_path)
    assert open_dataset(root, layout="class-folders", name="x").manifest.name == "x"
    with pytest.raises(UnknownLayout, match="is not laid out as 'decathlon'"):
        open_dataset(root, layout="decathlon")
    with pytest.raises(Unknown, match="no layout 'zip'"):
        open_dataset(root, layout="zip")


def names(pattern: str, *counts: int) -> list[str]:
    return [
        pattern.format(*(n // int(np.prod(counts[i + 1 :], initial=1)) % c for i, c in enumerate(counts)))
        for n in range(int(np.prod(counts)))
    ]


@pytest.mark.parametrize(
    ("cases", "pattern", "groups"),
    [
        (names("SC-HF-I-{:02d}-IM-0001-{:04d}", 8, 5), "^(.+?)-IM", 8),
        (names("patient{:03d}_frame{:02d}", 10, 2), "^([^_]+)_", 10),
        (names("case_{:05d}_slice_{:02d}", 12, 4), "^(.+?)_slice", 12),
        (names("P{:02d}-visit{}-s{}", 9, 2, 3), "^([^-]+)-", 9),
        (names("LIDC.IDRI.{:04d}.{:03d}", 6, 4), r"^((?:[^.]+\.){2}[^.]+)\.", 6),
    ],
)
def test_a_pattern_is_proposed_when_names_share_prefixes_in_groups(cases, pattern, groups):
    import re

    assert propose_pattern(cases) == pattern
    assert len({re.search(pattern, case)[1] for case in cases}) == groups


@pytest.mark.parametrize(
    "cases",
    [
        names("hippocampus_{:03d}", 50),
        names("benign_{}", 40) + names("malignant_{}", 40),
        [f"{c}_{n}" for c in ("a", "b", "c", "d", "e", "f") for n in range(10)],
        names("train-{:06d}", 99),
        names("BraTS2021_{:05d}", 30),
        names("P{:02d}_scan", 30),
        names("P{}_{}", 4, 20),
        ["x"],
        [],
    ],
)
def test_no_pattern_is_proposed_otherwise(cases):
    assert propose_pattern(cases) is None


def test_a_given_pattern_a_proposed_one_and_none(tmp_path):
    for n in range(12):
        picture(tmp_path / "ab"[n % 2] / f"p{n // 2}_{n}.png")
    proposed = open_dataset(tmp_path)
    assert proposed.manifest.patients == "pattern"
    assert proposed.records[0].patient == "p0"
    given = open_dataset(tmp_path, patient=r"p\d")
    assert given.records[0].patient == "p0"
    off = open_dataset(tmp_path, patient="none")
    assert off.manifest.patients == "unknown"
    assert off.manifest.proposed_pattern == "^([^_]+)_"
    assert all(r.patient is None for r in off)


def test_a_pattern_must_match_every_name_and_be_one(tmp_path):
    root = class_folders(tmp_path)
    with pytest.raises(UsageError, match=r"does not match 3 of 6 names \(malignant_0, malignant_1"):
        open_dataset(root, patient="benign_(.)")
    with pytest.raises(UsageError, match="is not a regular expression"):
        open_dataset(root, patient="(")
