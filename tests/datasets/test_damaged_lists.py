"""Lists and annotations that are damaged: what fuzzing of the layouts found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from osler.datasets.layouts import open_dataset
from osler.datasets.layouts.files import check_text, read_text
from osler.errors import DatasetError


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.xml")
    with pytest.raises(DatasetError, match=r"a\.xml is no file"):
        check_text(tmp_path / "a.xml")


def test_a_list_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "participants.tsv").write_bytes(b"")
    os.truncate(tmp_path / "participants.tsv", 1 << 34)
    with pytest.raises(DatasetError, match=r"participants\.tsv has more than 64 MiB"):
        read_text(tmp_path / "participants.tsv")


def test_a_list_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DatasetError, match=r"a\.txt cannot be read"):
        read_text(tmp_path / "a.txt")


def test_a_name_too_long_for_the_disk_is_a_file_that_is_not_there(tmp_path: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
        PIL.Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / folder / "a.png")
    entry = {"image": "imagesTr/" + "9" * 3000, "label": "labelsTr/a.png"}
    content = {"labels": {"0": "background", "1": "x"}, "modality": {"0": "MRI"}, "training": [entry]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="is not there"):
        open_dataset(tmp_path)
