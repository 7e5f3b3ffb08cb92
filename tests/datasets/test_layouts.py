"""Every layout, on small folders made here and on the real data."""

from __future__ import annotations

import json

import numpy as np
import pytest

from layout_samples import MAKERS, decathlon, images_and_masks, mask_picture, medmnist, nnunet, picture, volume
from osler.datasets.layouts import LAYOUTS, open_dataset
from osler.studies.phantoms.chest_ct import write_study

WITHOUT_IMAGES = ("signals", "tables")  # recognised, so that the answer says what they are; see test_no_images.py


@pytest.mark.parametrize("layout", [one for one in LAYOUTS if one.NAME not in WITHOUT_IMAGES], ids=lambda one: one.NAME)
def test_every_layout_conforms(layout, tmp_path):
    root = MAKERS[layout.NAME](tmp_path / "data")
    assert next(one.NAME for one in LAYOUTS if one.sniff(root)) == layout.NAME
    dataset = open_dataset(root)
    assert dataset.manifest.layout == layout.NAME
    assert layout.sniff(tmp_path / "nothing.txt") is None
    assert len({record.name for record in dataset}) == len(dataset)
    assert all(record.answered and set(record.images) == set(dataset.manifest.channels) for record in dataset)
    assert all(dataset.path_of(ref).exists() for record in dataset for ref in record.images.values())
    assert open_dataset(root).records == dataset.records
    case = dataset.load(dataset.records[0])
    assert case.mask is None or case.mask.shape == case.study.image.shape


def test_a_decathlon_folder_gives_labels_modality_and_each_file_its_own_patient(tmp_path):
    dataset = open_dataset(decathlon(tmp_path / "liver"))
    assert dataset.manifest.modality == "CT"
    assert dataset.labels.names == ("liver", "tumour")
    assert dataset.labels.values == (1, 2)
    assert dataset.manifest.patients == "unknown"


def test_decathlon_modalities_of_one_file_become_channels_by_name(tmp_path):
    root = decathlon(tmp_path / "brain")
    for n in range(3):
        volume(root / f"imagesTr/liver_{n:03d}.nii.gz", shape=(6, 5, 4, 2))
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**content, "modality": {"0": "FLAIR", "1": "T1w"}}))
    dataset = open_dataset(root)
    assert dataset.manifest.channels == ("FLAIR", "T1w")
    assert dataset.manifest.modality == "MR"
    images = dataset.load(dataset.records[0]).study.images
    assert {name: image.array.shape for name, image in images.items()} == {n: (1, 6, 5, 4) for n in ("FLAIR", "T1w")}


def test_nnunet_channels_become_images_of_one_study(tmp_path):
    dataset = open_dataset(nnunet(tmp_path / "Dataset001_Brain"))
    assert dataset.manifest.channels == ("T1", "FLAIR")
    assert list(dataset.load(dataset.records[1]).study.images) == ["T1", "FLAIR"]
    assert dataset.manifest.modality == "MR"
    assert dataset.records[0].name == "brain_000"


def test_nnunet_version_1_is_not_taken_for_the_decathlon(tmp_path):
    pairs = [
        {"image": f"./imagesTr/brain_{n:03d}.nii.gz", "label": f"./labelsTr/brain_{n:03d}.nii.gz"} for n in range(3)
    ]
    root = nnunet(tmp_path / "Task001", modality={"0": "T1", "1": "T2"}, channel_names=None, training=pairs,
                  labels={"0": "background", "1": "oedema", "2": "tumour"})  # fmt: skip
    dataset = open_dataset(root)
    assert dataset.manifest.layout == "nnunet"
    assert dataset.labels.names == ("oedema", "tumour")
    assert dataset.manifest.channels == ("T1", "T2")


def test_nnunet_regions_become_the_values_in_the_files(tmp_path):
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    dataset = open_dataset(nnunet(tmp_path / "d", labels=regions))
    assert dict(zip(dataset.labels.names, dataset.labels.values, strict=True)) == {"whole (1)": 1, "core": 2}


def test_classes_come_from_folders_and_grades_in_natural_order(tmp_path):
    for grade in ("0", "2", "10"):
        for n in range(2):
            picture(tmp_path / grade / f"{grade}_{n}.png")
    assert open_dataset(tmp_path).labels.kind == "classes"
    graded = open_dataset(tmp_path, task="ordinal")
    assert graded.labels.kind == "grades"
    assert graded.labels.names == ("0", "2", "10")
    assert [r.target for r in graded] == [0, 0, 1, 1, 2, 2]


def test_folders_of_splits_above_the_classes_are_given_splits(tmp_path):
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            picture(tmp_path / split / name / "1.png")
    dataset = open_dataset(tmp_path)
    assert dataset.labels.names == ("a", "b")
    assert [r.split for r in dataset].count("validation") == 2
    assert {r.name for r in dataset} == {f"{s}-{c}-1" for s in ("train", "val", "test") for c in "ab"}


def test_a_dicom_series_in_a_class_folder_is_one_case(tmp_path):
    for n, name in enumerate(("healthy", "ill")):
        write_study(tmp_path / name / f"p{n}", n, size=(32, 32, 16))
        write_study(tmp_path / name / f"q{n}", n + 5, size=(32, 32, 16))
    dataset = open_dataset(tmp_path)
    assert [r.name for r in dataset] == ["p0", "q0", "p1", "q1"]
    assert dataset.load(dataset.records[2]).study.image.modality == "CT"


def test_channels_in_class_folders_are_grouped_and_numberings_are_not(tmp_path):
    for name in ("a", "b"):
        for case in range(3):
            for channel in range(2):
                volume(tmp_path / f"channels/{name}/{name}{case}_{channel:04d}.nii.gz")
        for n in range(4):
            picture(tmp_path / f"numbers/{name}/{name}_{n:04d}.png")
    grouped = open_dataset(tmp_path / "channels")
    assert grouped.manifest.channels == ("0000", "0001")
    assert len(grouped) == 6
    assert len(open_dataset(tmp_path / "numbers")) == 8


def test_a_single_value_in_masks_is_foreground_and_several_are_named_by_value(tmp_path):
    assert open_dataset(images_and_masks(tmp_path / "one")).labels.names == ("foreground",)
    root = images_and_masks(tmp_path / "two")
    mask_picture(root / "masks/a2.png", (0, 1, 255))
    labels = open_dataset(root).labels
    assert labels.names == ("value 1", "value 255")
    assert labels.values == (1, 255)


@pytest.mark.parametrize(
    ("images", "masks", "suffix"), [("imgs", "labels", "_mask"), ("Image", "Segmentations", "_seg")]
)
def test_other_folder_names_and_suffixes_of_masks_are_known(tmp_path, images, masks, suffix):
    for n in range(2):
        picture(tmp_path / images / f"x{n}.jpg")
        mask_picture(tmp_path / masks / f"x{n}{suffix}.png")
    assert [r.name for r in open_dataset(tmp_path)] == ["x0", "x1"]


@pytest.mark.parametrize("pattern", ["{split}/{kind}", "{kind}/{split}"])
def test_splits_above_or_below_images_and_masks_are_given_splits(tmp_path, pattern):
    for split in ("train", "test"):
        picture(tmp_path / pattern.format(split=split, kind="images") / "x.png")
        mask_picture(tmp_path / pattern.format(split=split, kind="masks") / "x.png")
    assert {(r.name, r.split) for r in open_dataset(tmp_path)} == {("train-x", "train"), ("test-x", "test")}


def test_medmnist_in_3d_and_with_several_labels(tmp_path):
    dataset = open_dataset(medmnist(tmp_path, labels=3, depth=6) / "newmnist.npz")
    assert dataset.labels.kind == "several"
    assert dataset.labels.names == ("class 0", "class 1", "class 2")
    assert dataset.records[0].target == (0, 1, 0)
    assert dataset.load(dataset.records[5]).study.image.shape == (8, 8, 6)


def test_medmnist_names_of_a_known_set_and_its_task(tmp_path):
    labels = {"train_labels": np.arange(10).reshape(-1, 1) % 5, "train_images": np.zeros((10, 4, 4), np.uint8)}
    np.savez(tmp_path / "retinamnist_64.npz", **labels)
    assert open_dataset(tmp_path).labels.kind == "grades"
    assert open_dataset(tmp_path, task="regress").records[3].target == 3.0


def test_the_real_decathlon_set_is_recognised(shared):
    dataset = open_dataset(shared / "hippocampus")
    assert (len(dataset), dataset.labels.names, dataset.manifest.modality) == (207, ("Anterior", "Posterior"), "MR")
    assert dataset.manifest.patients == "unknown"


def test_the_real_medmnist_set_keeps_its_splits(shared):
    dataset = open_dataset(shared / "pneumoniamnist")
    splits = [r.split for r in dataset]
    assert [splits.count(s) for s in ("train", "validation", "test")] == [4708, 524, 624]
    assert dataset.labels.names == ("normal", "pneumonia")
    assert [r.target for r in dataset if r.split == "test"].count(1) == 390
    assert dataset.manifest.proposed_pattern is None


def test_the_real_class_folders_have_no_patients(shared):
    dataset = open_dataset(shared / "breast-ultrasound")
    assert len(dataset) == 618
    assert dataset.labels.names == ("benign", "malignant", "normal")
    assert dataset.manifest.patients == "unknown"
    assert open_dataset(shared / "breast-ultrasound", task="ordinal").labels.kind == "grades"


def test_the_real_images_and_masks_come_from_30_patients(shared):
    dataset = open_dataset(shared / "cardiac-mr")
    assert (len(dataset), dataset.labels.names, dataset.labels.values) == (526, ("foreground",), (255,))
    assert dataset.manifest.proposed_pattern == "^(.+?)-IM"
    assert len({r.patient for r in dataset}) == 30
    assert "SC-HF-I-01" in {r.patient for r in dataset}
