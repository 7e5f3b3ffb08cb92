from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.errors import GeometryError, Unreadable, Unsuitable
from osler.studies.formats import read_image, read_labels, write_image
from osler.studies.image import Image

OBLIQUE = np.array([[0.9, 0.1, 0, -5], [-0.1, 0.9, 0.2, 7], [0, -0.2, 1.9, 11], [0, 0, 0, 1]])


def _save(array: np.ndarray, path: Path, affine: np.ndarray | None = None, **header: object) -> Path:
    file = nibabel.Nifti1Image(array, OBLIQUE if affine is None else affine)
    for name, value in header.items():
        file.header[name] = value
    nibabel.save(file, path)
    return path


def test_voxels_and_world_coordinates_are_those_of_nibabel(shared: Path) -> None:
    paths = sorted((shared / "hippocampus/imagesTr").glob("*.nii.gz"))[:5]
    for path in [*paths, shared / "ct-organs/ct.nii.gz", shared / "ct-organs/organs.nii.gz"]:
        image, reference = read_image(path), nibabel.load(path)
        np.testing.assert_array_equal(image.array[0], reference.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(image.affine, reference.affine, atol=1e-6)
        assert image.orientation_known


def test_integer_labels_keep_their_dtype(shared: Path) -> None:
    labels = read_labels(sorted((shared / "hippocampus/labelsTr").glob("*.nii.gz"))[0])
    assert labels.array.dtype == np.uint8
    assert set(np.unique(labels.array)) == {0, 1, 2}


def test_scaled_integers_become_floats(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    file = nibabel.Nifti1Image(stored, OBLIQUE)
    file.header.set_slope_inter(0.5, -10)
    nibabel.save(file, tmp_path / "scaled.nii.gz")
    image, reference = read_image(tmp_path / "scaled.nii.gz"), nibabel.load(tmp_path / "scaled.nii.gz")
    assert image.array.dtype == np.float32
    np.testing.assert_allclose(image.array[0], reference.get_fdata(), rtol=1e-6)


def test_a_fourth_axis_becomes_channels(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 99, (3, 4, 5, 2)).astype(np.int16)
    image = read_image(_save(array, tmp_path / "four.nii"))
    assert image.array.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(image.array[1], array[..., 1])


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 1)])
def test_one_slice_stays_3d(shape: tuple[int, ...], tmp_path: Path) -> None:
    assert read_image(_save(np.zeros(shape, np.uint8), tmp_path / "flat.nii")).array.shape == (1, 3, 4, 1)


def test_qform_is_used_where_there_is_no_sform(tmp_path: Path) -> None:
    file = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
    affine = np.array([[0, -2.0, 0, 1], [2.0, 0, 0, 2], [0, 0, 3.0, 3], [0, 0, 0, 1]])
    file.set_qform(affine, code=1)
    file.set_sform(None, code=0)
    nibabel.save(file, tmp_path / "q.nii.gz")
    np.testing.assert_allclose(read_image(tmp_path / "q.nii.gz").affine, affine, atol=1e-5)


def test_without_codes_only_the_spacing_is_known(tmp_path: Path) -> None:
    file = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
    file.header.set_zooms((0.7, 0.8, 2.0))
    nibabel.save(file, tmp_path / "bare.nii")
    image = read_image(tmp_path / "bare.nii")
    np.testing.assert_allclose(image.spacing, (0.7, 0.8, 2.0), rtol=1e-6)
    assert not image.orientation_known
    write_image(image, tmp_path / "copy.nii")
    copy = read_image(tmp_path / "copy.nii")
    assert not copy.orientation_known
    np.testing.assert_allclose(copy.affine, image.affine)


def test_microns_become_millimetres(tmp_path: Path) -> None:
    path = _save(np.zeros((3, 4, 5), np.uint8), tmp_path / "micron.nii", np.diag([500.0, 500, 500, 1]), xyzt_units=3)
    np.testing.assert_allclose(read_image(path).spacing, (0.5, 0.5, 0.5))


def test_an_affine_that_is_not_finite_is_refused_with_the_file(tmp_path: Path) -> None:
    path = _save(np.zeros((3, 4, 5), np.uint8), tmp_path / "broken.nii")
    data = bytearray(path.read_bytes())
    data[280:284] = np.float32(np.nan).tobytes()  # srow_x[0]
    path.write_bytes(data)
    with pytest.raises(GeometryError, match=r"broken.nii: the affine"):
        read_image(path)


def test_a_flipped_bit_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    path = _save(np.random.default_rng(0).integers(0, 99, (20, 20, 20)).astype(np.uint8), tmp_path / "bits.nii.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(Unreadable, match="bits"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file_is_said_to_be_so_in_plain_words(tmp_path: Path, suffix: str, share: float) -> None:
    path = _save(np.random.default_rng(0).integers(0, 99, (20, 20, 20)).astype(np.uint8), tmp_path / f"cut{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Unreadable, match=r"truncated|cut off|ends too early") as told:
        read_image(path)
    assert told.value.remedy == "copy or export it again"
    assert not any(word in told.value.problem for word in ("Error", "marker", "Expected", "object"))


def test_what_only_pretends_to_be_compressed_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "plain.nii.gz").write_text("no NIfTI")
    with pytest.raises(Unreadable, match="not compressed as its name says"):
        read_image(tmp_path / "plain.nii.gz")


def test_complex_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="complex64"):
        read_image(_save(np.zeros((3, 4, 5), np.complex64), tmp_path / "complex.nii"))


def test_float_labels_that_are_whole_become_integers_and_others_are_refused(tmp_path: Path) -> None:
    whole = _save(np.full((2, 2, 2), 3, np.float32), tmp_path / "whole.nii")
    assert read_labels(whole).array.dtype == np.uint8
    half = _save(np.full((2, 2, 2), 0.5, np.float32), tmp_path / "half.nii")
    with pytest.raises(Unsuitable, match=r"half.nii.*not whole"):
        read_labels(half)


def test_a_mask_of_several_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsuitable, match="2 channels"):
        read_labels(_save(np.zeros((2, 2, 2, 2), np.uint8), tmp_path / "two.nii"))


def test_other_tools_read_what_is_written(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 5, (1, 4, 5, 6))
    write_image(Image(array.astype(np.int64), OBLIQUE), tmp_path / "mask.nii.gz")
    reference = nibabel.load(tmp_path / "mask.nii.gz")
    assert reference.get_data_dtype() == np.int32
    np.testing.assert_array_equal(np.asarray(reference.dataobj), array[0])
    np.testing.assert_allclose(reference.affine, OBLIQUE, atol=1e-6)
