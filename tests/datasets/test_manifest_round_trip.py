"""A written manifest opens to the same dataset, as CSV and as Parquet, whatever layout it came from."""

from __future__ import annotations

import json
import sys

import pyarrow
import pyarrow.parquet
import pytest

from layout_samples import MAKERS, class_folders, coco, decathlon, medmnist, picture, table, volume
from osler.datasets.dataset import Dataset
from osler.datasets.layouts import open_dataset, write_manifest
from osler.datasets.manifest import ImageRef
from osler.errors import DatasetError, MissingExtra, OutputExists, UsageError


def resolved(dataset: Dataset, ref: ImageRef | None) -> object:
    root = dataset.manifest.root
    if ref is None:
        return None
    layers = [((root / layer.path).resolve(), layer.value) for layer in ref.layers]
    return (root / ref.path).resolve(), ref.key, ref.index, ref.channel, layers


def assert_same(one: Dataset, other: Dataset) -> None:
    for field in ("name", "labels", "modality", "channels"):
        assert getattr(one.manifest, field) == getattr(other.manifest, field), field
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for field in ("name", "target", "patient", "site", "split", "columns"):
            assert getattr(a, field) == getattr(b, field), (a.name, field)
        assert {c: resolved(one, r) for c, r in a.images.items()} == {
            c: resolved(other, r) for c, r in b.images.items()
        }
        assert resolved(one, a.mask) == resolved(other, b.mask)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", MAKERS)
def test_every_layout_makes_a_manifest_that_opens_to_the_same_dataset(tmp_path, name, suffix):
    dataset = open_dataset(MAKERS[name](tmp_path / "data"))
    file, labels = write_manifest(dataset, tmp_path / f"elsewhere/set{suffix}")
    again = open_dataset(file)
    assert labels.name == "set.labels.json"
    assert_same(dataset, again)
    case, same = dataset.load(dataset.records[0]), again.load(again.records[0])
    assert (case.study.image.array == same.study.image.array).all()
    assert case.mask is None or (case.mask.array == same.mask.array).all()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(("task", "kind"), [("ordinal", "grades"), ("regress", "number"), ("multilabel", "several")])
def test_every_kind_of_answer_makes_the_round_trip(tmp_path, suffix, task, kind):
    root = coco(tmp_path / "data") if task == "multilabel" else medmnist(tmp_path / "data", depth=5)
    dataset = open_dataset(root, task=task)
    assert dataset.labels.kind == kind
    assert_same(dataset, open_dataset(write_manifest(dataset, tmp_path / f"m{suffix}")[0]))


def test_channels_of_one_file_make_the_round_trip(tmp_path):
    root = decathlon(tmp_path / "brain")
    for n in range(3):
        volume(root / f"imagesTr/liver_{n:03d}.nii.gz", shape=(6, 5, 4, 2))
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**content, "modality": {"0": "FLAIR", "1": "T1w"}}))
    dataset = open_dataset(root)
    assert_same(dataset, open_dataset(write_manifest(dataset, tmp_path / "m.csv")[0]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("name", ["hippocampus", "pneumoniamnist", "breast-ultrasound"])
def test_the_real_sets_make_the_round_trip(shared, tmp_path, name, suffix):
    dataset = open_dataset(shared / name)
    assert_same(dataset, open_dataset(write_manifest(dataset, tmp_path / f"m{suffix}")[0]))


def test_the_order_of_classes_survives_and_a_new_class_is_asked_about(tmp_path):
    dataset = open_dataset(class_folders(tmp_path / "data"))
    file, labels = write_manifest(dataset, tmp_path / "m.csv")
    content = json.loads(labels.read_text())
    content["labels"]["labels"] = [{"name": "malignant", "value": 0}, {"name": "benign", "value": 1}]
    labels.write_text(json.dumps(content))
    assert open_dataset(file).labels.names == ("malignant", "benign")
    file.write_text(file.read_text().replace(",malignant", ",scar"))
    with pytest.raises(DatasetError, match=r"m.csv, row 5: the label 'scar' is not in m.labels.json"):
        open_dataset(file)
    labels.unlink()
    assert open_dataset(file).labels.names == ("benign", "scar")


def test_a_newer_or_damaged_label_file_is_refused(tmp_path):
    file, labels = write_manifest(open_dataset(class_folders(tmp_path / "data")), tmp_path / "m.csv")
    labels.write_text(labels.read_text().replace('"schema_version": 2', '"schema_version": 99'))
    with pytest.raises(DatasetError, match=r"written by a newer Osler \(version 99\)"):
        open_dataset(file)
    labels.write_text('{"labels": {"kind": "guess"}}')
    with pytest.raises(DatasetError, match=r"m.labels.json cannot be used: labels.kind: input should be"):
        open_dataset(file)


def test_masks_per_label_in_a_table_written_by_hand(tmp_path):
    volume(tmp_path / "a.nii.gz")
    for name in ("l1", "l2", "k"):
        volume(tmp_path / f"{name}.nii.gz", labels=1)
    (tmp_path / "manifest.csv").write_text("image,mask_liver,mask_kidney\na.nii.gz,l1.nii.gz | l2.nii.gz,k.nii.gz\n")
    dataset = open_dataset(tmp_path)
    assert (dataset.labels.names, dataset.labels.values) == (("liver", "kidney"), (1, 2))
    assert [layer.value for layer in dataset.records[0].mask.layers] == [1, 1, 2]
    (tmp_path / "manifest.csv").write_text("image,mask_liver\na.nii.gz,nowhere.nii.gz\n")
    with pytest.raises(DatasetError, match=r"row 2: nowhere.nii.gz does not exist"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("s.npz#key=train_images&index=x", "does not exist"),
        ("s.npz#row=3", "does not exist"),
        ("t.npz#index=1", "does not"),
    ],
)
def test_a_part_of_a_file_that_is_not_understood_is_refused(tmp_path, cell, problem):
    medmnist(tmp_path, name="s.npz")
    (tmp_path / "m.csv").write_text(f"image,label\n{cell},a\n")
    with pytest.raises(DatasetError, match=problem):
        open_dataset(tmp_path / "m.csv")


def test_a_file_whose_name_holds_a_hash_is_that_file(tmp_path):
    picture(tmp_path / "a#index=1.png")
    picture(tmp_path / "b.png")
    (tmp_path / "m.csv").write_text("image,label\na#index=1.png,x\nb.png,y\n")
    assert open_dataset(tmp_path / "m.csv").records[0].images["image"] == ImageRef(path="a#index=1.png")


def test_names_of_cases_are_their_own(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    (tmp_path / "m.csv").write_text("case,image,label\none,a.png,x\nOne,b.png,y\n")
    with pytest.raises(DatasetError, match=r"row 3: the case 'One' is in row 2 already"):
        open_dataset(tmp_path / "m.csv")


def parquet_of(folder, **columns):
    for n in range(4):
        picture(folder / f"{n}.png")
    rows = {"image": [f"{n}.png" for n in range(4)], **columns}
    pyarrow.parquet.write_table(pyarrow.table(rows), folder / "manifest.parquet")
    return folder


def test_parquet_columns_keep_their_meaning_whatever_their_type(tmp_path):
    import datetime

    root = parquet_of(
        tmp_path,
        label=pyarrow.array([1.0, 2.0, 10.0, 2.0]),
        patient=pyarrow.array([7, 8, 9, 10]),
        site=pyarrow.array(["Oslo", None, "Oslo", "Oslo"]).dictionary_encode(),
        smoker=[True, False, None, True],
        creatinine=[1.0, 1.25, float("nan"), 2.0],
        seen=[datetime.date(2024, 1, 31)] * 4,
    )
    dataset = open_dataset(root)
    assert dataset.labels.names == ("1", "2", "10")
    assert [r.patient for r in dataset] == ["7", "8", "9", "10"]
    assert [r.columns["smoker"] for r in dataset] == ["1", "0", "", "1"]
    assert [r.columns["creatinine"] for r in dataset] == ["1.0", "1.25", "", "2.0"]
    assert (dataset.records[0].site, dataset.records[1].site) == ("Oslo", None)
    assert dataset.records[0].columns["seen"] == "2024-01-31"


def test_parquet_lists_of_labels_are_several_labels(tmp_path):
    root = parquet_of(tmp_path, labels=[["mass"], [], ["mass", "oedema"], ["oedema"]])
    dataset = open_dataset(root)
    assert (dataset.labels.kind, dataset.labels.names) == ("several", ("mass", "oedema"))
    assert [r.target for r in dataset] == [(1, 0), (0, 0), (1, 1), (0, 1)]


def test_parquet_numbers_and_nullable_labels(tmp_path):
    assert [r.target for r in open_dataset(parquet_of(tmp_path / "a", value=[0.5, 1.0, 1e-7, 3.0]))] == [
        0.5,
        1.0,
        1e-7,
        3.0,
    ]
    several = parquet_of(tmp_path / "b", label_x=[1, 0, None, 1], label_y=[True, False, True, True])
    assert [r.target for r in open_dataset(several)] == [(1, 1), (0, 0), (None, 1), (1, 1)]


def test_a_parquet_file_that_is_damaged_or_holds_no_cells_is_refused(tmp_path):
    root = parquet_of(tmp_path, label=list("abab"), box=[{"x": 1}] * 4)
    with pytest.raises(DatasetError, match=r"the column box of manifest.parquet holds a dict"):
        open_dataset(root)
    (root / "manifest.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DatasetError, match=r"manifest.parquet cannot be read as Parquet"):
        open_dataset(root)


def test_a_folder_with_two_manifests_asks_which(tmp_path):
    write_manifest(open_dataset(table(tmp_path)), tmp_path / "manifest.parquet")
    with pytest.raises(DatasetError, match=r"holds both manifest.csv and manifest.parquet"):
        open_dataset(tmp_path)


def test_without_pyarrow_the_answer_is_the_install_command(tmp_path, monkeypatch):
    root = parquet_of(tmp_path, label=list("abab"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtra, match=r"pip install 'osler\[parquet\]'"):
        open_dataset(root)


def test_nothing_is_overwritten_and_other_suffixes_are_refused(tmp_path):
    dataset = open_dataset(class_folders(tmp_path / "data"))
    write_manifest(dataset, tmp_path / "m.csv")
    with pytest.raises(OutputExists, match=r"m.csv exists already"):
        write_manifest(dataset, tmp_path / "m.csv")
    write_manifest(dataset, tmp_path / "m.csv", overwrite=True)
    with pytest.raises(UsageError, match=r"let it end in .csv or .parquet"):
        write_manifest(dataset, tmp_path / "m.xlsx")


def test_a_manifest_remembers_that_names_say_nothing_of_patients(shared, tmp_path):
    proposed = open_dataset(shared / "cardiac-mr")
    assert (proposed.manifest.patients, proposed.manifest.patients_declined) == ("pattern", False)
    declined = open_dataset(shared / "cardiac-mr", patient="none")
    table, _ = write_manifest(declined, tmp_path / "cardiac.csv")
    again = open_dataset(table)
    assert (again.manifest.patients, again.manifest.patients_declined) == ("unknown", True)
    assert again.records == tuple(
        one.model_copy(update={"images": record.images, "mask": record.mask})
        for one, record in zip(declined.records, again.records, strict=True)
    )
    assert open_dataset(table, patient="^(.*?)-IM").manifest.patients == "pattern"
    table.write_text("patient," + table.read_text().replace("\n", "\nx,").removesuffix("x,"))
    assert open_dataset(table).manifest.patients == "given"


def test_a_manifest_of_data_whose_patients_nobody_declined_gets_a_proposal(tmp_path):
    for n in range(12):
        picture(tmp_path / f"d/{'ab'[n % 2]}/p{n // 2:02d}_{n}.png")
    dataset = open_dataset(tmp_path / "d")
    assert dataset.manifest.patients == "pattern"
    table, labels = write_manifest(dataset.with_records(dataset.records), tmp_path / "m.csv")
    assert '"patients": ""' in labels.read_text()
    assert open_dataset(table).manifest.patients == "given"
