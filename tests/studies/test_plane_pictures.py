"""Pictures of volumes on disk against pictures of the same arrays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osler.studies.image import Image
from osler.studies.pictures import overlay
from osler.studies.plane_pictures import overlay_of_planes

LABELS = {1: "liver", 2: "spleen", 5: "aorta"}
AFFINES = {
    "RAS": np.diag([0.9, 1.1, 2.5, 1.0]),
    "LPS": np.diag([-0.9, -1.1, 2.5, 1.0]),
    "turned": np.array([[0, 0, 1.2, 3], [-0.9, 0, 0, 4], [0, -1.0, 0, 5], [0, 0, 0, 1.0]]),
    "oblique": np.array([[0.9, 0.1, 0, 5], [-0.1, -1.1, 0.2, -7], [0, -0.2, 2.5, 9], [0, 0, 0, 1.0]]),
    "few slices": np.diag([0.5, 0.5, 0.7, 1.0]),
}


def study(shape=(37, 30, 23), affine=AFFINES["RAS"], **changes):
    random = np.random.default_rng(0)
    array = random.normal(-300, 500, (1, *shape)).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    mask[8:20, 5:15, 2 : shape[2] // 2 + 1] = 1
    mask[25:30, 20:28, shape[2] // 2 :] = 5
    return Image(array, affine, **changes), mask


def both(image, mask):
    counts = [np.count_nonzero(mask, axis=tuple(n for n in range(3) if n != axis)) for axis in range(3)]
    options = {"caption": "study", "lines": ["liver: 20 mm3"]}
    plain = overlay(image, mask, LABELS, **options)
    planes = overlay_of_planes(image, replace(image, array=mask[None], curve=None), LABELS, counts, **options)
    return np.asarray(plain), np.asarray(planes)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_the_same_planes_are_drawn_the_same_way(affine):
    np.testing.assert_array_equal(*both(*study(affine=affine)))


@pytest.mark.parametrize(
    "changes",
    [
        {"modality": "CT"},
        {"modality": "CT", "window": (40.0, 300.0)},
        {"modality": "MR", "window": (40.0, 300.0)},
        {"modality": "MR", "window": (0.0, 60000.0)},
        {"curve": (np.array([-1000.0, 0.0, 500.0]), np.array([0.0, 0.7, 1.0]))},
        {"orientation_known": False},
        {"spacing_known": False},
    ],
)
def test_window_letters_and_scale_are_the_same(changes):
    np.testing.assert_array_equal(*both(*study(**changes)))


def test_without_a_label_the_middle_is_drawn():
    image, mask = study()
    np.testing.assert_array_equal(*both(image, np.zeros_like(mask)))


@pytest.mark.parametrize("shape", [(37, 30, 1), (150, 121, 97), (128, 128, 64)])
def test_percentiles_are_taken_from_the_same_voxels(shape, monkeypatch):
    monkeypatch.setattr("osler.studies.views._SAMPLE", 5000)
    np.testing.assert_array_equal(*both(*study(shape)))


@pytest.mark.parametrize("level", [-400.5, -400.0, -399.5])
@pytest.mark.parametrize("count", [2, 3])
def test_a_ct_whose_labels_lie_on_air_is_shown_through_the_lung_window(level, count):
    """The median is the mean of the two in the middle where their number is even."""
    image, mask = study((9, 9, 9), modality="CT")
    mask[...] = 0
    mask[4, 4, :count] = 1
    image.array[0, 4, 4, :3] = (level - 100, level + 100, level) if count == 2 else (level, -900, 900)
    np.testing.assert_array_equal(*both(image, mask))
