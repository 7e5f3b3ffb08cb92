"""Mask figures against MONAI, SciPy's distance transform, and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from osler.metrics.masks import surface_points
from osler.metrics.segmentation import average_surface_distance, dice, hausdorff_95, iou, surface_dice
from osler.studies.geometry import Array

SPACING = (1.0, 0.8, 2.5)


@pytest.fixture(params=[0, 1, 2])
def blobs(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    """Two overlapping blobs with rough surfaces; the second touches the border of the grid."""
    draw = np.random.default_rng(request.param)
    smooth = ndimage.gaussian_filter(draw.normal(size=(30, 28, 16)), 3)
    other = 0.8 * smooth + 0.2 * ndimage.gaussian_filter(draw.normal(size=(30, 28, 16)), 3)
    return smooth > smooth.std() * 0.7, other > other.std() * 0.6


def _batched(mask: Array) -> object:
    torch = pytest.importorskip("torch")
    return torch.from_numpy(mask[None, None].astype(np.float32))


def test_overlap_equals_monai(blobs: tuple[Array, Array]) -> None:
    monai = pytest.importorskip("monai.metrics")
    truth, prediction = blobs
    expected = float(monai.compute_dice(_batched(prediction), _batched(truth)))
    assert dice(truth, prediction) == pytest.approx(expected, abs=1e-6)
    assert iou(truth, prediction) == pytest.approx(expected / (2 - expected), abs=1e-6)


def test_hausdorff_distance_equals_monai_with_anisotropic_spacing(blobs: tuple[Array, Array]) -> None:
    monai = pytest.importorskip("monai.metrics")
    truth, prediction = blobs
    expected = monai.compute_hausdorff_distance(
        _batched(prediction), _batched(truth), include_background=True, percentile=95, spacing=list(SPACING)
    )
    assert hausdorff_95(truth, prediction, SPACING) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.5])
def test_surface_dice_equals_monai(blobs: tuple[Array, Array], tolerance: float) -> None:
    monai = pytest.importorskip("monai.metrics")
    truth, prediction = blobs
    expected = monai.compute_surface_dice(
        _batched(prediction), _batched(truth), [tolerance], include_background=True, spacing=list(SPACING)
    )
    assert surface_dice(truth, prediction, SPACING, tolerance=tolerance) == pytest.approx(float(expected), abs=1e-6)


def test_surface_and_mean_distance_equal_scipys_distance_transform(blobs: tuple[Array, Array]) -> None:
    truth, prediction = blobs
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in blobs]
    np.testing.assert_allclose(surface_points(truth, np.array(SPACING)), np.argwhere(edges[0]) * SPACING)
    maps = [ndimage.distance_transform_edt(~edge, sampling=SPACING) for edge in edges]
    both = np.concatenate([maps[1][edges[0]], maps[0][edges[1]]])
    assert average_surface_distance(truth, prediction, SPACING) == pytest.approx(both.mean())


def test_two_points_are_as_far_apart_as_the_spacing_says() -> None:
    truth, prediction = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    truth[1, 1, 1], prediction[4, 1, 5] = True, True
    assert hausdorff_95(truth, prediction, (1, 1, 1)) == 5
    assert hausdorff_95(truth, prediction, (2, 1, 2)) == 10
    assert surface_dice(truth, prediction, (1, 1, 1), tolerance=5) == 1
    assert surface_dice(truth, prediction, (1, 1, 1), tolerance=4.9) == 0


def test_shifted_squares_by_hand() -> None:
    truth, prediction = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    truth[2:6, 2:6], prediction[2:6, 3:7] = True, True
    assert dice(truth, prediction) == 0.75
    assert iou(truth, prediction) == 0.6
    assert hausdorff_95(truth, prediction, (1, 3)) == 3


def test_one_empty_mask_scores_0_and_has_no_distance() -> None:
    mask, empty = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    for truth, prediction in ((mask, empty), (empty, mask)):
        assert dice(truth, prediction) == 0
        assert surface_dice(truth, prediction, (1, 1)) == 0
        assert np.isnan(hausdorff_95(truth, prediction, (1, 1)))
        assert np.isnan(average_surface_distance(truth, prediction, (1, 1)))


def test_two_empty_masks_are_undefined() -> None:
    empty = np.zeros((3, 3), bool)
    assert np.isnan(dice(empty, empty))
    assert np.isnan(surface_dice(empty, empty, (1, 1)))


def test_distances_do_not_depend_on_where_the_masks_lie(blobs: tuple[Array, Array]) -> None:
    truth, prediction = (np.pad(mask, 4) for mask in blobs)
    moved = [np.roll(mask, 2, axis=0) for mask in (truth, prediction)]
    assert hausdorff_95(*moved, SPACING) == pytest.approx(hausdorff_95(*blobs, SPACING))
