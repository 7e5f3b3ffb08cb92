"""COCO, Pascal VOC, BIDS, and masks in a file per class: what is read, and what is said when something is amiss."""

from __future__ import annotations

import json

import numpy as np
import pytest

from layout_samples import bids, coco, mask_picture, masks_per_class, picture, square, voc, voc_boxes, volume
from osler.datasets.layouts import open_dataset
from osler.errors import DatasetError, GridMismatch, NoLabels, UsageError
from osler.workflows.inspect import inspect

BOXES = [{"id": 1, "image_id": 0, "category_id": 3, "bbox": [1, 2, 4, 4]}]


def test_coco_categories_are_labels_by_id_and_images_without_annotation_are_empty(tmp_path):
    dataset = open_dataset(coco(tmp_path))
    assert list(zip(dataset.labels.names, dataset.labels.values, strict=True)) == [("nucleus", 3), ("cell", 7)]
    assert {record.split for record in dataset} == {"train"}
    assert not dataset.load(dataset.records[2]).mask.array.any()
    assert dataset.manifest.notes[0] == "no image shows dust, so they are no labels"
    assert "1 images have no annotation" in dataset.manifest.notes[1]


def test_coco_in_folders_of_splits_with_a_category_of_id_0(tmp_path):
    for split in ("train", "valid"):
        picture(tmp_path / split / "a.png")
        shapes = [{"id": 1, "image_id": "x", "category_id": 0, "segmentation": [square(1, 2, 4)]}]
        content = {"images": [{"id": "x", "file_name": "a.png", "width": 12, "height": 10}], "annotations": shapes,
                   "categories": [{"id": 0, "name": "polyp"}, {"id": 1, "name": "bubble"}]}  # fmt: skip
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path)
    assert [(r.name, r.split) for r in dataset] == [("train-a", "train"), ("valid-a", "validation")]
    assert (dataset.labels.names, dataset.labels.values) == (("polyp",), (1,))
    assert np.unique(dataset.load(dataset.records[1]).mask.array).tolist() == [0, 1]


def test_coco_boxes_are_no_masks_but_say_what_an_image_shows(tmp_path):
    root = coco(tmp_path, annotations=BOXES)
    with pytest.raises(NoLabels, match=r"the 1 annotations of instances_train.json are boxes.*--task multilabel"):
        open_dataset(root)
    shown = open_dataset(root, task="multilabel")
    assert shown.labels.kind == "several"
    assert (shown.labels.names, [r.target for r in shown]) == (("nucleus",), [(1,), (0,), (0,)])


def test_coco_files_in_which_some_shapes_are_missing_are_refused(tmp_path):
    shapes = [*BOXES, {"id": 2, "image_id": 1, "category_id": 7, "segmentation": [square(3, 4, 5)]}]
    with pytest.raises(DatasetError, match=r"1 of 2 annotations of instances_train\.json have a box and no shape"):
        open_dataset(coco(tmp_path, annotations=shapes))


def test_a_coco_image_that_is_missing_or_of_another_size_is_named(tmp_path):
    root = coco(tmp_path)
    picture(root / "images/1.png", size=(11, 10))
    with pytest.raises(GridMismatch, match="the mask of 1 has 12×10 voxels and its image 11×10"):
        open_dataset(root)
    (root / "images/1.png").unlink()
    with pytest.raises(DatasetError, match=r"lists 1.png, which is not there"):
        open_dataset(root)


def test_a_coco_file_that_contradicts_itself_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="annotation 1 is of image 0 and category 5, which the file does not list"):
        open_dataset(coco(tmp_path, annotations=[{**BOXES[0], "category_id": 5}]))


def test_voc_masks_take_their_names_from_the_list_and_their_splits_from_image_sets(tmp_path):
    dataset = open_dataset(voc(tmp_path))
    assert (dataset.labels.names, dataset.labels.values) == (("heart", "lung"), (1, 2))
    assert [r.split for r in dataset] == ["train", "train", "validation"]
    assert dataset.load(dataset.records[0]).mask.shape == (12, 10)


def test_voc_images_without_a_mask_are_left_out_and_counted(tmp_path):
    root = voc(tmp_path)
    picture(root / "JPEGImages/y.jpg")
    assert open_dataset(root).manifest.notes == ("1 images have no mask in SegmentationClass and are not used",)


def test_void_pixels_of_voc_are_not_taken_for_background(tmp_path):
    root = voc(tmp_path)
    mask_picture(root / "SegmentationClass/x1.png", (0, 1, 255))
    with pytest.raises(DatasetError, match="pixels of value 255, which VOC leaves open"):
        open_dataset(root)
    found = inspect(root)
    assert found.cases == 3
    assert [p.what for p in found.problems if p.code == "incomplete"] == [
        "1 masks in SegmentationClass have pixels of value 255, which VOC leaves open (void): they are neither "
        "background nor a class"
    ]
    assert [p.details for p in found.problems if p.code == "mask-values"] == [{"x1": "the mask holds 255"}]


def test_a_list_of_classes_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="hold 2, which the list of classes does not name"):
        open_dataset(voc(tmp_path / "a", names="_background_\nheart\n"))
    with pytest.raises(DatasetError, match=r"class_names.txt does not begin with the background"):
        open_dataset(voc(tmp_path / "b", names="heart\nlung\n"))


def test_cvat_names_its_classes_with_colours(tmp_path):
    root = voc(tmp_path)
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nvein:1,2,3::\nskin:4,5,6::\n"
    )
    assert open_dataset(root).labels.names == ("vein", "skin")


def test_voc_boxes_are_counted_and_learnt_as_several_labels_when_asked(tmp_path):
    root = voc_boxes(tmp_path)
    with pytest.raises(NoLabels, match=r"holds 3 boxes on 3 images \(RBC 2, WBC 1\), and boxes are no masks"):
        open_dataset(root)
    dataset = open_dataset(root, task="multilabel")
    assert (dataset.labels.names, [r.target for r in dataset]) == (("RBC", "WBC"), [(1, 1), (1, 0), (0, 0)])
    with pytest.raises(UsageError, match="'classify' cannot be learnt from"):
        open_dataset(root, task="classify")


def test_the_real_blood_cells_say_that_they_are_boxes(shared):
    with pytest.raises(NoLabels, match=r"3856 boxes on 289 images \(RBC 3280, WBC 294, Platelets 282\)"):
        open_dataset(shared / "blood-cells")
    dataset = open_dataset(shared / "blood-cells", task="multilabel")
    assert (len(dataset), dataset.labels.names) == (289, ("Platelets", "RBC", "WBC"))


def test_bids_gives_patients_sessions_channels_labels_and_clinical_columns(tmp_path):
    dataset = open_dataset(bids(tmp_path))
    assert [r.name for r in dataset] == [f"sub-{s}_ses-{n}" for s in ("01", "02") for n in ("1", "2")]
    assert (dataset.manifest.patients, dataset.records[1].patient) == ("given", "sub-01")
    assert dataset.manifest.channels == ("FLAIR", "T1w")
    assert list(zip(dataset.labels.names, dataset.labels.values, strict=True)) == [("grey matter", 1), ("lesion", 2)]
    assert dataset.records[0].columns == {"age": "44", "sex": "F", "participant_label": "x"}
    assert dataset.records[2].columns["age"] == ""
    assert dataset.manifest.notes == ("T2w lie on another grid than the masks and are not used",)


def test_bids_masks_per_label_become_one_mask(tmp_path):
    for subject in ("01", "02"):
        stem = f"sub-{subject}/anat/sub-{subject}"
        volume(tmp_path / f"{stem}_T1w.nii.gz")
        for label in ("GM", "WM"):
            volume(tmp_path / f"derivatives/a/{stem}_label-{label}_mask.nii.gz", labels=1)
    dataset = open_dataset(tmp_path)
    assert (dataset.labels.names, dataset.manifest.channels) == (("GM", "WM"), ("image",))
    assert [len(r.mask.layers) for r in dataset] == [2, 2]
    assert dataset.load(dataset.records[0]).overlaps


def test_a_bids_mask_in_another_space_takes_the_image_in_that_space(tmp_path):
    volume(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    there = tmp_path / "derivatives/a/sub-01/anat"
    volume(there / "sub-01_space-MNI_desc-preproc_T1w.nii.gz", shape=(9, 9, 9))
    volume(there / "sub-01_space-MNI_label-lesion_mask.nii.gz", shape=(9, 9, 9), labels=1)
    record = open_dataset(tmp_path).records[0]
    assert record.images["image"].path.endswith("space-MNI_desc-preproc_T1w.nii.gz")
    (there / "sub-01_space-MNI_desc-preproc_T1w.nii.gz").unlink()
    with pytest.raises(DatasetError, match="has no image with the same entities"):
        open_dataset(tmp_path)


def test_bids_without_masks_in_several_places_or_on_no_grid_is_refused(tmp_path):
    volume(tmp_path / "sub-01/anat/sub-01_T1w.nii.gz")
    with pytest.raises(NoLabels, match="a BIDS data set without masks"):
        open_dataset(tmp_path)
    volume(tmp_path / "derivatives/a/sub-01/anat/sub-01_dseg.nii.gz", labels=1, shift=0.5)
    with pytest.raises(GridMismatch, match=r"sub-01_dseg.nii.gz lies up to 0.5 voxels away"):
        open_dataset(tmp_path)
    volume(tmp_path / "derivatives/b/sub-01/anat/sub-01_dseg.nii.gz", labels=1)
    with pytest.raises(DatasetError, match=r"several places: derivatives/a, derivatives/b"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path / "derivatives/b")) == 1


def test_a_folder_per_class_gives_labels_and_tells_which_files_are_not_there(tmp_path):
    dataset = open_dataset(masks_per_class(tmp_path))
    assert (dataset.labels.names, dataset.labels.values) == (("liver", "tumour"), (1, 2))
    assert dataset.manifest.notes[0].endswith("tumour in 1 of 3")
    assert np.unique(dataset.load(dataset.records[0]).mask.array).tolist() == [1, 2]


def test_a_suffix_per_class_gives_the_same(tmp_path):
    for n in range(11):
        picture(tmp_path / f"images/a{n}.png")
        for name in ("liver", "left_kidney"):
            mask_picture(tmp_path / f"masks/a{n}_{name}.png")
    dataset = open_dataset(tmp_path)
    assert (len(dataset), dataset.labels.names) == (11, ("left_kidney", "liver"))
    assert [layer.path for layer in dataset.records[1].mask.layers] == [
        "masks/a1_left_kidney.png",
        "masks/a1_liver.png",
    ]


def test_a_folder_per_case_with_a_mask_per_class(tmp_path):
    for case in ("s01", "s02"):
        volume(tmp_path / case / "ct.nii.gz")
        for organ in ("liver", "spleen", "aorta"):
            volume(tmp_path / case / "segmentations" / f"{organ}.nii.gz", labels=1)
    dataset = open_dataset(tmp_path)
    assert ([r.name for r in dataset], dataset.labels.names) == (["s01", "s02"], ("aorta", "liver", "spleen"))
    assert dataset.load(dataset.records[0]).mask.shape == (6, 5, 4)


def test_masks_beside_images_in_folders_of_classes_are_never_taken_for_images(tmp_path):
    for name in ("benign", "malignant"):
        for n in range(3):
            picture(tmp_path / name / f"{name} ({n}).png")
            mask_picture(tmp_path / name / f"{name} ({n})_mask.png")
    mask_picture(tmp_path / "benign/benign (0)_mask_1.png", (255, 0))
    dataset = open_dataset(tmp_path)
    assert (len(dataset), dataset.labels.names, dataset.labels.kind) == (6, ("foreground",), "mask")
    assert len(dataset.records[0].mask.layers) == 2
    assert dataset.records[0].columns == {"folder": "benign"}
    classes = open_dataset(tmp_path, task="classify")
    assert (len(classes), classes.labels.names) == (6, ("benign", "malignant"))
    assert [r.target for r in classes] == [0, 0, 0, 1, 1, 1]


def test_an_image_without_any_mask_and_a_mask_without_an_image_are_named(tmp_path):
    root = masks_per_class(tmp_path)
    picture(root / "images/b.png")
    with pytest.raises(DatasetError, match="the image b has no mask of any class"):
        open_dataset(root)
    (root / "images/b.png").unlink()
    mask_picture(root / "masks/liver/c.png")
    with pytest.raises(DatasetError, match=r"the mask masks/liver/c has no image in images"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("maker", "file", "content", "problem"),
    [
        (coco, "annotations/instances_train.json", b'{"images": [], "annotations": [], "categories": [', "is no JSON"),
        (
            coco,
            "annotations/instances_train.json",
            b'{"images": 1, "annotations": [], "categories": []}',
            "is no COCO file",
        ),
        (voc, "class_names.txt", b"\xff\xfe", "class_names.txt cannot be read"),
        (voc, "ImageSets/Segmentation/val.txt", b"\xff", "val.txt cannot be read"),
        (bids, "participants.tsv", b"\xff", "participants.tsv cannot be read"),
        (bids, "derivatives/manual/dseg.tsv", b"value\tname\n1\tx\n", "dseg.tsv does not name values"),
    ],
)
def test_a_damaged_list_is_named(tmp_path, maker, file, content, problem):
    root = maker(tmp_path)
    (root / file).write_bytes(content)
    with pytest.raises(DatasetError, match=problem):
        open_dataset(root)
