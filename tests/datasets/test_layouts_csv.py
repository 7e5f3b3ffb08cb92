"""The CSV manifest: columns, dialects, and what is said when a row is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from osler.datasets.layouts import open_dataset
from osler.errors import DatasetError, NoLabels, TooFew, UsageError

HEAD = "image,label\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcd":
        PIL.Image.fromarray(np.full((4, 4), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
        PIL.Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / f"{name}_mask.png")
    return tmp_path


def opened(folder: Path, text: str, **options):
    (folder / "manifest.csv").write_bytes(text.encode("utf-8"))
    return open_dataset(folder, **options)


def test_all_known_columns_are_read_and_others_are_subgroups(folder):
    text = "image,label,patient,site,split,sex\n" + "\n".join(
        f"{n}.png,{label},P{n},Oslo,{split},f"
        for n, label, split in zip("abcd", "xyxy", ["train", "val", "test", "train"], strict=True)
    )
    dataset = opened(folder, text)
    first = dataset.records[1]
    assert (first.patient, first.site, first.split, first.target) == ("Pb", "Oslo", "validation", 1)
    assert first.columns == {"sex": "f", "site": "Oslo"}
    assert dataset.manifest.patients == "given"


def test_excel_with_byte_order_mark_semicolons_and_quotes(folder):
    text = '\ufeffImage;Label;note\r\n"a.png";"ill; very";"line one\r\nline two"\r\nb.png;well;\r\n\r\n'
    dataset = opened(folder, text)
    assert dataset.labels.names == ("ill; very", "well")
    assert dataset.records[0].columns == {"note": "line one\nline two"}


def test_several_labels_with_unknown_ones(folder):
    dataset = opened(folder, "image,label_Mass,label_oedema\na.png,1,0\nb.png,,1\n")
    assert dataset.labels.kind == "several"
    assert dataset.labels.names == ("Mass", "oedema")
    assert [r.target for r in dataset] == [(1, 0), (None, 1)]


def test_numbers_come_from_value_and_grades_from_grade(folder):
    assert [r.target for r in opened(folder, "image,value\na.png,1.5\nb.png,2e1\n")] == [1.5, 20.0]
    graded = opened(folder, "image,grade\na.png,10\nb.png,9\nc.png,10\n")
    assert graded.labels.kind == "grades"
    assert graded.labels.names == ("9", "10")


def test_a_column_called_label_holds_classes_even_when_they_look_like_numbers(folder):
    dataset = opened(folder, "image,label\na.png,0\nb.png,1\n")
    assert dataset.labels.kind == "classes"
    with pytest.raises(UsageError, match="'regress' cannot be learnt"):
        opened(folder, "image,label\na.png,0\nb.png,1\n", task="regress")


def test_the_task_chooses_between_mask_and_label(folder):
    text = "image,mask,label\na.png,a_mask.png,x\nb.png,b_mask.png,y\n"
    assert opened(folder, text).labels.kind == "mask"
    assert opened(folder, text).records[0].columns == {"label": "x"}
    classes = opened(folder, text, task="classify")
    assert classes.labels.names == ("x", "y")
    assert all(r.mask is None for r in classes)


def test_two_answers_without_a_task_are_not_guessed_at(folder):
    with pytest.raises(DatasetError, match=r"several answers, 'label' and 'value'.*--task classify or regress"):
        opened(folder, "image,label,value\na.png,x,1\nb.png,y,2\n")


def test_channels_are_columns(folder):
    dataset = opened(folder, "image_T1,image_T2,label\na.png,b.png,x\nc.png,d.png,y\n")
    assert dataset.manifest.channels == ("T1", "T2")
    assert dataset.records[1].images["T2"].path == "d.png"


def test_labels_json_names_the_values_of_masks(folder):
    (folder / "labels.json").write_text('{"1": "heart", "2": "spine"}')
    assert opened(folder, "image,mask\na.png,a_mask.png\nb.png,b_mask.png\n").labels.names == ("heart",)
    (folder / "labels.json").write_text('{"2": "spine"}')
    with pytest.raises(DatasetError, match=r"hold 1, which labels.json does not name"):
        opened(folder, "image,mask\na.png,a_mask.png\nb.png,b_mask.png\n")


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (HEAD, DatasetError, "has no rows"),
        ("path,label\na.png,x\n", DatasetError, r"no column 'image' \(it has path, label\)"),
        ("image,age\na.png,3\n", NoLabels, "no column with answers"),
        (HEAD + "a.png,x\nnone.png,y\n", DatasetError, "row 3: none.png does not exist"),
        (HEAD + "a.png,x\nb.png,\n", DatasetError, "row 3: no label"),
        (HEAD + "a.png,x\nb.png,y,z\n", DatasetError, "row 3: 3 cells, and the header has 2"),
        (HEAD + "a.png,x\nb.png,x\n", TooFew, "only one class, 'x'"),
        (HEAD + "a.png,x\na.png,y\n", DatasetError, "row 3: a.png is in row 2 already"),
        ("image,value\na.png,tall\n", DatasetError, "row 2: the value 'tall' is not a number"),
        ("image,value\na.png,nan\n", DatasetError, "is not a number"),
        ("image,label_x\na.png,maybe\n", DatasetError, "row 2: label_x is 'maybe'"),
        ("image,label_x,label_y\na.png,,\n", DatasetError, "row 2: no label is filled in"),
        ("image,label,split\na.png,x,holdout\n", DatasetError, "row 2: the split 'holdout' is not known"),
        ("image,label,patient\na.png,x,1\nb.png,y,\n", DatasetError, "row 3: no patient"),
        ("image,label,label\na.png,x,y\n", DatasetError, "two columns of one name"),
        ('image,label\na.png,"x\n', DatasetError, "check its quotes"),
    ],
)
def test_a_wrong_table_is_answered_in_one_sentence(folder, text, error, words):
    with pytest.raises(error, match=words):
        opened(folder, text)


def test_text_that_is_not_utf8_is_refused(folder):
    (folder / "manifest.csv").write_bytes("image,label\na.png,gutartig\nb.png,bösartig\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="CSV UTF-8"):
        open_dataset(folder)
