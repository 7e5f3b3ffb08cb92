"""Digests recognise content, and nothing else."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from layout_samples import class_folders, medmnist, nnunet
from osler.datasets.identity import content_digest, patient_digest
from osler.datasets.layouts import open_dataset
from osler.errors import PathNotFound
from osler.studies.phantoms.chest_ct import write_study


def test_a_copy_under_another_name_and_class_has_the_same_digest(tmp_path):
    root = class_folders(tmp_path)
    shutil.copy(root / "benign/benign_0.png", root / "malignant/other.png")
    digests = {r.name: content_digest(open_dataset(root), r, "salt") for r in open_dataset(root)}
    assert digests["benign_0"] == digests["other"]
    assert len(set(digests.values())) == len(digests) - 1


def test_the_digest_is_that_of_hashlib(tmp_path):
    dataset = open_dataset(class_folders(tmp_path))
    content = hashlib.sha256(dataset.path_of(dataset.records[0].images["image"]).read_bytes()).digest()
    assert content_digest(dataset, dataset.records[0], "s") == hashlib.sha256(b"s" + content).hexdigest()
    assert content_digest(dataset, dataset.records[0], "t") != content_digest(dataset, dataset.records[0], "s")


def test_rows_of_an_archive_count_by_their_pixels(tmp_path):
    dataset = open_dataset(medmnist(tmp_path))
    assert len({content_digest(dataset, r, "") for r in dataset}) == len(dataset)


def test_channels_and_series_count_whole(tmp_path):
    dataset = open_dataset(nnunet(tmp_path / "n"))
    before = content_digest(dataset, dataset.records[0], "")
    (tmp_path / "n/imagesTr/brain_000_0001.nii.gz").write_bytes(b"other")
    assert content_digest(dataset, dataset.records[0], "") != before
    for n, name in enumerate("aabb"):
        write_study(tmp_path / "d" / name / str(n), n // 2, size=(32, 32, 16))
    series = open_dataset(tmp_path / "d")
    digests = [content_digest(series, r, "") for r in series]
    assert digests[0] == digests[1]
    assert digests[1] != digests[2]


def test_a_file_that_went_away_is_named(tmp_path):
    dataset = open_dataset(class_folders(tmp_path))
    (tmp_path / "benign/benign_0.png").unlink()
    with pytest.raises(PathNotFound, match=r"benign_0.png"):
        content_digest(dataset, dataset.records[0], "")


def test_patients_are_digested_with_the_salt():
    assert patient_digest("P1", "a") != patient_digest("P1", "b")
    assert patient_digest("P1", "a") == patient_digest("P1", "a")
    assert "P1" not in patient_digest("P1", "a")
