from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import GeometryError
from osler.studies.geometry import (
    LPS_TO_RAS,
    PICTURE_AFFINE,
    axis_codes,
    flip_and_permute,
    orientation_transform,
    spacing_of,
    volume_per_voxel,
)
from osler.studies.image import Image

SHAPE = (3, 4, 5)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Rotated, anisotropic, translated; any handedness."""
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * generator.uniform(0.3, 5, 3)
    affine[:3, 3] = generator.uniform(-200, 200, 3)
    return affine


@given(affines())
def test_codes_and_spacing_are_those_of_nibabel(affine: np.ndarray) -> None:
    assert axis_codes(affine) == "".join(nibabel.aff2axcodes(affine))
    np.testing.assert_allclose(spacing_of(affine), nibabel.affines.voxel_sizes(affine))
    assert volume_per_voxel(affine) == pytest.approx(np.prod(nibabel.affines.voxel_sizes(affine)))


@given(affines(), st.permutations(range(3)), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_turning_an_image_moves_no_voxel_in_the_world(
    affine: np.ndarray, order: list[int], flips: tuple[bool, bool, bool]
) -> None:
    array = np.arange(60).reshape(1, *SHAPE)
    turned, moved = flip_and_permute(array, affine, (order[0], order[1], order[2]), flips)
    for index in ((0, 0, 0), (1, 2, 1), tuple(size - 1 for size in turned.shape[1:])):
        old = np.argwhere(array[0] == turned[(0, *index)])[0]
        np.testing.assert_allclose((moved @ [*index, 1])[:3], (affine @ [*old, 1])[:3], atol=1e-9)


@given(affines(), st.sampled_from(["RAS", "LPS", "LPI", "SAR", "PIR"]))
def test_the_wanted_orientation_is_reached_as_nibabel_reaches_it(affine: np.ndarray, codes: str) -> None:
    array = np.arange(60).reshape(1, *SHAPE)
    turned, moved = flip_and_permute(array, affine, *orientation_transform(affine, codes))
    assert axis_codes(moved) == codes
    image = nibabel.Nifti1Image(array[0].astype(np.int16), affine)
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(tuple(codes))
    )
    np.testing.assert_array_equal(turned[0], np.asarray(image.as_reoriented(change).dataobj))


def test_dicom_left_posterior_is_negative_right_anterior() -> None:
    assert (LPS_TO_RAS @ [1, 2, 3, 1]).tolist() == [-1, -2, 3, 1]


def test_a_picture_is_seen_as_a_radiograph() -> None:
    assert axis_codes(PICTURE_AFFINE)[:2] == "LI"


def test_the_volume_of_a_sheared_voxel_is_exact() -> None:
    sheared = np.array([[1.0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert volume_per_voxel(sheared) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("array", "affine", "reason"),
    [
        (np.zeros((3, 4)), np.eye(4), "shape"),
        (np.zeros((1, 0, 4)), np.eye(4), "not empty"),
        (np.zeros((1, 3, 4)), np.zeros((4, 4)), "invertible"),
        (np.zeros((1, 3, 4)), np.full((4, 4), np.nan), "finite"),
        (np.zeros((1, 3, 4)), np.eye(3), "4×4"),
    ],
)
def test_an_image_without_sound_geometry_cannot_be_made(array: np.ndarray, affine: np.ndarray, reason: str) -> None:
    with pytest.raises(GeometryError, match=reason):
        Image(array, affine)
