from __future__ import annotations

import errno

import numpy as np
import pytest

from osler.errors import StorageError
from osler.report.mask_file import MaskFile
from osler.studies.formats import write_image
from osler.studies.image import Image

SHEARED = np.array([[1, 0.2, 0, 5], [0, 1.1, 0.2, -7], [0, -0.2, 2.5, 9], [0, 0, 0, 1.0]])


def _mask(shape=(23, 17, 31), dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 3, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32])
@pytest.mark.parametrize("affine", [np.eye(4), SHEARED, np.diag([-0.7, 0.8, 3.0, 1.0])])
@pytest.mark.parametrize("known", [True, False])
def test_planes_give_the_same_bytes_as_the_whole_mask(tmp_path, dtype, affine, known):
    mask = _mask(dtype=dtype)
    image = Image(mask[None], affine, orientation_known=known)
    write_image(image, tmp_path / "whole.nii.gz")
    file = MaskFile(tmp_path / "study", image, mask.dtype)
    for first in range(0, mask.shape[2], 7):
        file.write(mask[..., first : first + 7])
    file.finish()
    np.testing.assert_array_equal(file.volume().read().array[0], mask)
    file.place(tmp_path / "planes.nii.gz")
    assert (tmp_path / "planes.nii.gz").read_bytes() == (tmp_path / "whole.nii.gz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["planes.nii.gz", "whole.nii.gz"]


def test_an_axis_longer_than_nifti_1_can_count_makes_nifti_2(tmp_path):
    mask = np.zeros((2, 1, 33_000), np.uint8)
    mask[1, 0, 32_999] = 1
    image = Image(mask[None])
    write_image(image, tmp_path / "whole.nii.gz")
    file = MaskFile(tmp_path / "study", image, mask.dtype)
    file.write(mask)
    file.finish()
    file.place(tmp_path / "planes.nii.gz")
    assert (tmp_path / "planes.nii.gz").read_bytes() == (tmp_path / "whole.nii.gz").read_bytes()


def test_an_abandoned_mask_leaves_nothing(tmp_path):
    file = MaskFile(tmp_path / "study", Image(_mask()[None]), np.dtype(np.uint8))
    file.write(_mask())
    assert [path.name[0] for path in tmp_path.iterdir()] == ["."]
    file.abandon()
    file.abandon()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_nothing_stays(tmp_path, monkeypatch):
    file = MaskFile(tmp_path / "study", Image(_mask()[None]), np.dtype(np.uint8))

    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "no space")

        def close(self):
            raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(file, "_file", Full())
    with pytest.raises(StorageError, match="disk is full"):
        file.write(_mask())
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StorageError, match="no file or folder can be made"):
        MaskFile(tmp_path / "missing" / "study", Image(_mask()[None]), np.dtype(np.uint8))
