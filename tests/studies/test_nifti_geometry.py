"""What a NIfTI header says of place, in every combination, and volumes, pairs and byte orders."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.errors import GeometryError, Unreadable, Unsuitable, UsageError
from osler.studies.formats import read_frames, read_image, write_image
from osler.studies.image import Image

FIRST = np.array([[0.0, -2, 0, 1], [2.0, 0, 0, 2], [0, 0, 3.0, 3], [0, 0, 0, 1]])
MOVED = FIRST + np.array([[0, 0, 0, 5.0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
SHEARED = np.array([[1.0, 0.3, 0, 1], [0, 1, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])


def _two_forms(
    path: Path, sform: np.ndarray | None, sform_code: int, qform: np.ndarray | None, qform_code: int, **header: object
) -> Path:
    file = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
    file.set_qform(qform, code=qform_code)
    file.set_sform(sform, code=sform_code)
    for name, value in header.items():
        file.header[name] = value
    nibabel.save(file, path)
    return path


def test_forms_that_agree_are_one(tmp_path: Path) -> None:
    image = read_image(_two_forms(tmp_path / "a.nii", FIRST, 1, FIRST, 1))
    np.testing.assert_allclose(image.affine, FIRST, atol=1e-5)
    assert image.orientation_known


@pytest.mark.parametrize("seed", range(20))
def test_the_rounding_of_a_qform_is_no_contradiction(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * generator.uniform(0.3, 5, 3)
    affine[:3, 3] = generator.uniform(-500, 500, 3)
    np.testing.assert_allclose(
        read_image(_two_forms(tmp_path / "a.nii", affine, 1, affine, 1)).affine, affine, atol=1e-4
    )


def test_half_turns_whose_quaternions_round_worst_are_no_contradiction(tmp_path: Path) -> None:
    for angle in (179.99, 179.999, 180.0):
        cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        affine = np.array([[cosine, -sine, 0, 10.0], [sine, cosine, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])
        np.testing.assert_allclose(
            read_image(_two_forms(tmp_path / "a.nii", affine, 1, affine, 1)).affine, affine, atol=1e-5
        )


def test_forms_of_one_space_that_differ_are_refused(tmp_path: Path) -> None:
    path = _two_forms(tmp_path / "two.nii", FIRST, 1, MOVED, 1)
    with pytest.raises(GeometryError, match=r"two\.nii: its sform and its qform both stand for the space scanner"):
        read_image(path)


def test_of_two_spaces_the_sform_counts(tmp_path: Path) -> None:
    image = read_image(_two_forms(tmp_path / "a.nii", MOVED, 2, FIRST, 1))
    np.testing.assert_allclose(image.affine, MOVED, atol=1e-5)


def test_two_spaces_that_mirror_each_other_are_refused(tmp_path: Path) -> None:
    path = _two_forms(tmp_path / "a.nii", np.diag([-1.0, 1, 1, 1]) @ FIRST, 2, FIRST, 1)
    with pytest.raises(GeometryError, match=r"aligned \(2\), mirrors its qform, for the space scanner"):
        read_image(path)


def test_an_atlas_whose_voxels_are_larger_is_refused(tmp_path: Path) -> None:
    path = _two_forms(tmp_path / "a.nii", FIRST @ np.diag([1.2, 1.2, 1.2, 1]), 4, FIRST, 1)
    with pytest.raises(GeometryError, match=r"MNI 152 \(4\), makes voxels 1.73 times as large"):
        read_image(path)


def test_a_sheared_sform_beside_its_unsheared_qform_is_no_contradiction(tmp_path: Path) -> None:
    np.testing.assert_allclose(
        read_image(_two_forms(tmp_path / "a.nii", SHEARED, 1, SHEARED, 1)).affine, SHEARED, atol=1e-5
    )


def test_a_handedness_that_is_neither_is_refused(tmp_path: Path) -> None:
    path = _two_forms(tmp_path / "a.nii", None, 0, FIRST, 1)
    data = bytearray(path.read_bytes())
    data[76:80] = np.float32(-0.5).tobytes()  # pixdim[0]
    path.write_bytes(data)
    with pytest.raises(GeometryError, match="left and right are not known"):
        read_image(path)


def test_a_unit_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = _two_forms(tmp_path / "a.nii", FIRST, 1, None, 0, xyzt_units=5)
    with pytest.raises(GeometryError, match="a unit with the code 5"):
        read_image(path)


def test_an_empty_sform_is_refused_though_its_code_is_set(tmp_path: Path) -> None:
    path = _two_forms(tmp_path / "a.nii", FIRST, 1, FIRST, 1)
    data = bytearray(path.read_bytes())
    data[280:328] = bytes(48)
    path.write_bytes(data)
    with pytest.raises(GeometryError, match="affine of its sform must be finite and invertible"):
        read_image(path)


def test_volumes_are_channels_or_frames_as_they_are_asked_for(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(3, 4, 5, 2)
    file = nibabel.Nifti1Image(array, FIRST)
    file.header.set_xyzt_units("mm", "msec")
    file.header.set_zooms((2, 2, 3, 1500))
    file.header["toffset"] = 500
    nibabel.save(file, tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz").array.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz", index=1).array[0], array[..., 1])
    frames = read_frames(tmp_path / "a.nii.gz")
    assert frames.times_s == (0.5, 2.0)
    assert [one.array.shape for one in frames.images] == [(1, 3, 4, 5)] * 2
    assert len(read_frames(tmp_path / "a.nii.gz", start=1).images) == 1
    with pytest.raises(UsageError, match="2 frames and frame 2 was asked for"):
        read_image(tmp_path / "a.nii.gz", index=2)


def test_volumes_of_several_channels_must_be_chosen(tmp_path: Path) -> None:
    array = np.arange(360, dtype=np.int16).reshape(3, 4, 5, 2, 3)
    nibabel.save(nibabel.Nifti1Image(array, FIRST), tmp_path / "a.nii")
    with pytest.raises(Unsuitable, match="2 frames of 3 channels each"):
        read_image(tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii", index=1).array, np.moveaxis(array[:, :, :, 1], -1, 0))


def test_colours_are_channels_and_partial_transparency_is_refused(tmp_path: Path) -> None:
    colours = np.zeros((3, 4, 5), [(name, "u1") for name in "RGBA"])
    colours["G"], colours["A"] = 7, 255
    nibabel.save(nibabel.Nifti1Image(colours, FIRST), tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").array[:, 0, 0, 0].tolist() == [0, 7, 0]
    colours["A"][0, 0, 0] = 3
    nibabel.save(nibabel.Nifti1Image(colours, FIRST), tmp_path / "b.nii")
    with pytest.raises(Unsuitable, match="partly transparent"):
        read_image(tmp_path / "b.nii")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair, nibabel.Nifti2Pair])
@pytest.mark.parametrize("order", ["<", ">"])
def test_pairs_and_both_byte_orders(kind: type, order: str, tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = tmp_path / ("a.hdr" if "Pair" in kind.__name__ else "a.nii")
    nibabel.save(kind(array, FIRST, header=kind.header_class(endianness=order), dtype=np.int16), path)
    image = read_image(path)
    np.testing.assert_array_equal(image.array[0], array)
    np.testing.assert_allclose(image.affine, FIRST)
    assert image.array.dtype == np.int16
    assert image.array.dtype.isnative


def test_analyze_is_refused_since_it_does_not_say_where_left_is(tmp_path: Path) -> None:
    nibabel.save(nibabel.AnalyzeImage(np.zeros((3, 4, 5), np.int16), None), tmp_path / "old.hdr")
    with pytest.raises(Unreadable, match=r"Analyze 7\.5"):
        read_image(tmp_path / "old.hdr")
    with pytest.raises(Unreadable, match=r"is the data of old.hdr"):
        read_image(tmp_path / "old.img")


def test_scaling_is_that_of_nibabel_to_single_precision(tmp_path: Path) -> None:
    stored = np.arange(-12, 48, dtype=np.int32).reshape(3, 4, 5) * 40_000_000
    file = nibabel.Nifti1Image(stored, FIRST)
    file.header.set_slope_inter(1e-3, -7)
    nibabel.save(file, tmp_path / "a.nii")
    reference = nibabel.load(tmp_path / "a.nii").get_fdata().astype(np.float32)
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii").array[0], reference)


def test_a_long_axis_is_written_as_nifti_2(tmp_path: Path) -> None:
    write_image(Image(np.zeros((1, 40_000, 2, 1), np.uint8), np.eye(4)), tmp_path / "long.nii")
    assert isinstance(nibabel.load(tmp_path / "long.nii"), nibabel.Nifti2Image)
    assert read_image(tmp_path / "long.nii").array.shape == (1, 40_000, 2, 1)


def test_absurd_sizes_and_bombs_take_no_memory(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30_000))
    header.set_data_dtype(np.float64)
    header["magic"], header["vox_offset"] = b"n+1", 352
    absurd = header.binaryblock + bytes(4) + bytes(1000)
    (tmp_path / "absurd.nii").write_bytes(absurd)
    (tmp_path / "absurd.nii.gz").write_bytes(gzip.compress(absurd))
    for name in ("absurd.nii", "absurd.nii.gz"):
        with pytest.raises(Unreadable, match=rf"{name} is cut off: its header announces 216,000,000,000,352"):
            read_image(tmp_path / name)
    header.set_data_shape((1000, 1000, 600))
    header.set_data_dtype(np.uint8)
    bomb = gzip.compress(header.binaryblock + bytes(4), 9) + gzip.compress(bytes(2**24), 9) * 36
    (tmp_path / "bomb.nii.gz").write_bytes(bomb)
    with pytest.raises(Unreadable, match="as a decompression bomb does"):
        read_image(tmp_path / "bomb.nii.gz")
