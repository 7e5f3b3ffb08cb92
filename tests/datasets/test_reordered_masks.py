"""A mask whose axes are stored otherwise than its image's is put into their order exactly, or refused."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff

from osler.datasets.manifest import ImageRef
from osler.datasets.mask_sources import compose_mask
from osler.datasets.plan import GridPlan, NormalisationPlan
from osler.datasets.preparation import check_images, grid_difference
from osler.datasets.reordered import laid_onto
from osler.studies.formats import open_volume
from osler.studies.image import Image
from tiny_models import make_plan

SHAPE = (7, 5, 4)
OBLIQUE = np.array([[0.9, -0.3, 0.1, -8], [0.4, 1.1, -0.2, 5], [0.05, 0.3, 2.0, 30], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).integers(0, 5, SHAPE).astype(np.uint8)


@pytest.mark.parametrize("affine", [np.diag([1, 1.2, 2, 1.0]), OBLIQUE])
def test_all_orders_and_directions_of_axes_come_back_exactly(affine: np.ndarray) -> None:
    image = Image(np.zeros((1, *SHAPE), np.float32), affine)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        orientation = np.array([[axis, sign] for axis, sign in zip(order, signs, strict=True)])
        stored = apply_orientation(VOXELS, orientation)
        mask = Image(stored[None], affine @ inv_ornt_aff(orientation, SHAPE))
        found = laid_onto(mask, image)
        np.testing.assert_array_equal(found.array[0], VOXELS)
        assert grid_difference(image, found) == ""
        changed = (order, signs) != ((0, 1, 2), (1, 1, 1))
        assert len(found.notes) == changed
        assert not changed or "without resampling" in found.notes[0]


def test_a_file_is_reordered_when_it_is_read_with_its_image(tmp_path: Path) -> None:
    affine = np.diag([1, 1.2, 2, 1.0])
    stored = np.diag([-1, 1.2, 2, 1.0])
    stored[0, 3] = SHAPE[0] - 1
    nibabel.save(nibabel.Nifti1Image(VOXELS[::-1].copy(), stored), tmp_path / "m.nii.gz")
    onto = Image(np.zeros((1, *SHAPE), np.float32), affine)
    mask = compose_mask(tmp_path, ImageRef(path="m.nii.gz"), onto=onto).image
    np.testing.assert_array_equal(mask.array[0], VOXELS)
    assert "stored LAS instead of RAS" in mask.notes[-1]


def test_a_mask_that_is_truly_mirrored_stays_as_it_is_and_is_named() -> None:
    image = Image(np.zeros((1, *SHAPE), np.float32), np.diag([1, 1.2, 2, 1.0]))
    mask = Image(VOXELS[None], np.diag([-1, 1.2, 2, 1.0]))
    assert laid_onto(mask, image) is mask
    assert "still lies up to 6 voxels away: it is truly mirrored" in grid_difference(image, mask)


@pytest.mark.parametrize("unknown", ["orientation_known", "spacing_known"])
def test_axes_that_no_header_gives_are_never_turned(unknown: str) -> None:
    image = Image(np.zeros((1, *SHAPE), np.float32), np.diag([1, 1.2, 2, 1.0]))
    affine = np.diag([-1, 1.2, 2, 1.0])
    affine[0, 3] = SHAPE[0] - 1
    mask = Image(VOXELS[None], affine, **{unknown: False})  # type: ignore[arg-type]
    assert laid_onto(mask, image) is mask


def test_volumes_that_are_still_in_their_files_are_compared_by_their_grids(tmp_path: Path) -> None:
    for name, step in (("a", 1), ("b", -1)):
        nibabel.save(
            nibabel.Nifti1Image(np.zeros((30, 20, 10), np.int16), np.diag([step, 1.2, 2, 1.0])),
            tmp_path / f"{name}.nii",
        )
    one, other = open_volume(tmp_path / "a.nii"), open_volume(tmp_path / "b.nii")
    assert one is not None
    assert other is not None
    assert "truly mirrored" in grid_difference(one, other)
    plan = make_plan(
        grid=GridPlan(resize="spacing", spacing=(1, 1.2, 2)),
        channels=("image",),
        normalisation=(NormalisationPlan(kind="image", low=0, high=100),),
    )
    check_images([one], plan)
