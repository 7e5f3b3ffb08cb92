"""Laws of geometry: whatever the order and sign of the axes, oblique or sheared, no voxel moves in the world."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.studies.formats import read_image, write_image
from osler.studies.geometry import axis_codes, flip_and_permute, orientation_transform
from osler.studies.image import Image

SHAPE = (3, 4, 5)
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
ORIENTATIONS = [
    "".join(letters) for axes in itertools.permutations(("LR", "PA", "IS")) for letters in itertools.product(*axes)
]
LPS = np.diag([-1.0, -1, 1, 1])


def _affine(codes: str, seed: int, kind: str) -> np.ndarray:
    """Spacing, origin and a small turn (or shear) around the axes that ``codes`` names."""
    generator = np.random.default_rng(seed)
    columns = np.zeros((3, 3))
    for axis, letter in enumerate(codes):
        world = next(place for place, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        columns[world, axis] = 1 if letter in "RAS" else -1
    if kind == "oblique":
        turn, _ = np.linalg.qr(np.eye(3) + generator.uniform(-0.25, 0.25, (3, 3)))
        columns = turn * np.sign(np.diag(turn)) @ columns
    if kind == "sheared":
        columns = (np.eye(3) + np.triu(generator.uniform(-0.2, 0.2, (3, 3)), 1)) @ columns
    affine = np.eye(4)
    affine[:3, :3] = columns * generator.uniform(0.3, 5, 3)
    affine[:3, 3] = generator.uniform(-400, 400, 3)
    return affine


def _image(affine: np.ndarray) -> Image:
    return Image(np.arange(60, dtype=np.int16).reshape(1, *SHAPE), affine)


def _corners(affine: np.ndarray) -> np.ndarray:
    places = np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in SHAPE))]).T
    return (affine @ places)[:3]


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_written_read_turned_and_turned_back_is_equal(codes: str, suffix: str, tmp_path: Path) -> None:
    for kind in ("straight", "oblique", "sheared"):
        image = _image(_affine(codes, 7, kind))
        path = tmp_path / f"{kind}{suffix}"
        write_image(image, path)
        copy = read_image(path)
        np.testing.assert_array_equal(copy.array, image.array)
        np.testing.assert_allclose(_corners(copy.affine), _corners(image.affine), atol=1e-4)
        turned, affine = flip_and_permute(copy.array, copy.affine, *orientation_transform(copy.affine, "RAS"))
        assert axis_codes(affine) == "RAS"
        write_image(Image(turned, affine), tmp_path / f"turned-{kind}{suffix}")
        again = read_image(tmp_path / f"turned-{kind}{suffix}")
        back, affine = flip_and_permute(again.array, again.affine, *orientation_transform(again.affine, codes))
        assert axis_codes(affine) == codes == axis_codes(image.affine)
        np.testing.assert_array_equal(back, image.array)
        np.testing.assert_allclose(_corners(affine), _corners(image.affine), atol=1e-3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(ORIENTATIONS),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["straight", "oblique", "sheared"]),
    st.permutations(SUFFIXES),
)
def test_a_way_through_all_formats_keeps_the_world(
    tmp_path: Path, codes: str, seed: int, kind: str, order: list[str]
) -> None:
    image = _image(_affine(codes, seed, kind))
    passed = image
    for suffix in order:
        write_image(passed, tmp_path / f"a{suffix}", overwrite=True)
        passed = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(passed.array, image.array)
    np.testing.assert_allclose(_corners(passed.affine), _corners(image.affine), atol=1e-3)


@pytest.mark.parametrize("kind", ["straight", "oblique"])
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("codes", ORIENTATIONS[::5])
def test_what_is_written_lies_where_simpleitk_and_nibabel_read_it(
    codes: str, suffix: str, kind: str, tmp_path: Path
) -> None:
    image = _image(_affine(codes, 11, kind))
    write_image(image, tmp_path / f"a{suffix}")
    peer = SimpleITK.ReadImage(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(peer).T, image.array[0])
    np.testing.assert_allclose(_itk_affine(peer), image.affine, atol=1e-3)
    if suffix.startswith(".nii"):
        np.testing.assert_allclose(nibabel.load(tmp_path / f"a{suffix}").affine, image.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr"])
@pytest.mark.parametrize("codes", ORIENTATIONS[::5])
def test_what_simpleitk_writes_lies_where_simpleitk_reads_it(codes: str, suffix: str, tmp_path: Path) -> None:
    affine = _affine(codes, 13, "oblique")
    peer = SimpleITK.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(SHAPE).T)
    in_lps = LPS @ affine
    spacing = np.linalg.norm(in_lps[:3, :3], axis=0)
    peer.SetSpacing(spacing.tolist())
    peer.SetOrigin(in_lps[:3, 3].tolist())
    peer.SetDirection((in_lps[:3, :3] / spacing).ravel().tolist())
    SimpleITK.WriteImage(peer, tmp_path / f"a{suffix}")
    image = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(image.array[0], np.arange(60).reshape(SHAPE))
    np.testing.assert_allclose(image.affine, affine, atol=1e-3)
    assert image.orientation_known


def test_a_sheared_nifti_has_no_qform_which_cannot_hold_it(tmp_path: Path) -> None:
    image = _image(_affine("LPS", 3, "sheared"))
    write_image(image, tmp_path / "tilted.nii")
    header = nibabel.load(tmp_path / "tilted.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)
    np.testing.assert_allclose(header.get_zooms(), image.spacing, rtol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_orientation_that_is_not_known_does_not_become_known(suffix: str, tmp_path: Path) -> None:
    image = Image(np.zeros((1, *SHAPE), np.uint8), np.diag([0.5, 0.6, 2, 1]), orientation_known=False)
    write_image(image, tmp_path / f"a{suffix}")
    copy = read_image(tmp_path / f"a{suffix}")
    assert not copy.orientation_known
    np.testing.assert_allclose(copy.spacing, image.spacing, rtol=1e-6)


def _itk_affine(peer: SimpleITK.Image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.array(peer.GetDirection()).reshape(3, 3) * peer.GetSpacing()
    affine[:3, 3] = peer.GetOrigin()
    return LPS @ affine
