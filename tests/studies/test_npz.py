from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from osler.errors import Unreadable, UsageError
from osler.studies.formats import read_image, read_labels


def test_a_row_of_pneumoniamnist_is_that_picture(shared: Path) -> None:
    path = shared / "pneumoniamnist/pneumoniamnist.npz"
    image = read_image(path, key="test_images", index=7)
    np.testing.assert_array_equal(image.array[0].T, np.load(path)["test_images"][7])
    assert (image.array.dtype, image.spacing_known) == (np.uint8, False)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((2, 5, 4), (1, 4, 5)), ((2, 5, 4, 3), (3, 4, 5)), ((2, 6, 5, 4), (1, 4, 5, 6)), ((2, 6, 5, 4, 3), (3, 4, 5, 6))],
)
def test_rows_become_i_j_and_k(shape: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path) -> None:
    rows = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    np.savez(tmp_path / "a.npz", images=rows)
    image = read_image(tmp_path / "a.npz", index=1)
    assert image.array.shape == expected
    last = rows[1, ..., -1] if expected[0] == 3 else rows[1]
    np.testing.assert_array_equal(image.array[-1], last.T)


def test_which_array_and_row_must_be_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train=np.zeros((3, 4, 4)), test=np.zeros((2, 4, 4)))
    with pytest.raises(UsageError, match="choose one of train, test"):
        read_image(tmp_path / "a.npz", index=0)
    with pytest.raises(UsageError, match="choose one from 0 to 1"):
        read_image(tmp_path / "a.npz", key="test", index=2)
    with pytest.raises(UsageError, match="no array 'valid'"):
        read_image(tmp_path / "a.npz", key="valid", index=0)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", labels=np.zeros((3, 1)))
    with pytest.raises(Unreadable, match="not images"):
        read_image(tmp_path / "a.npz", index=0)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(Unreadable, match="allow_pickle"):
        read_image(tmp_path / "a.npz")


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    for value in (1, 2):
        np.savez(tmp_path / "a.npz", masks=np.full((1, 4, 4 + value), value))
        assert read_labels(tmp_path / "a.npz").array.max() == value


def test_an_archive_that_would_unfold_to_gigabytes_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (700, 1024, 1024)})
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as file,
    ):
        file.write(header.getvalue())
        for _ in range(700):
            file.write(bytes(1024 * 1024))
    with pytest.raises(Unreadable, match="as a decompression bomb does"):
        read_image(tmp_path / "bomb.npz", index=0)
