"""Resampling against SciPy and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy.ndimage import zoom

from osler.errors import GeometryError
from osler.studies.resample import affine_after_resample, axis_map, resample


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("target", [(13, 40), (7, 5), (31, 20), (23, 17), (1, 60), (60, 60)])
def test_an_image_is_resampled_as_scipy_zoom_does(order, target):
    array = np.random.default_rng(0).normal(size=(2, 23, 17)).astype(np.float32)
    got = resample(array, target, order=order, antialias=False)
    factors = (target[0] / 23, target[1] / 17)
    expected = np.stack([zoom(c.astype(float), factors, order=order, mode="nearest", grid_mode=True) for c in array])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_volume_is_resampled_as_scipy_zoom_does(order):
    array = np.random.default_rng(1).normal(size=(1, 9, 14, 11)).astype(np.float32)
    got = resample(array, (13, 9, 17), order=order, antialias=False)
    expected = zoom(array[0].astype(float), (13 / 9, 9 / 14, 17 / 11), order=order, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(got[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("order", "filter_"), [(1, PillowImage.Resampling.BILINEAR), (3, PillowImage.Resampling.BICUBIC)]
)
@pytest.mark.parametrize("target", [(20, 15), (31, 7), (9, 33)])
def test_strong_reduction_averages_as_pillow_does(order, filter_, target):
    array = np.random.default_rng(2).normal(size=(1, 97, 83)).astype(np.float32)
    got = resample(array, target, order=order, antialias=True)
    expected = np.asarray(PillowImage.fromarray(array[0]).resize(target[::-1], filter_))
    np.testing.assert_allclose(got[0], expected, atol=1e-4)


def test_detail_that_the_output_cannot_hold_is_averaged_and_not_aliased():
    stripes = np.tile(np.array([0.0, 1.0]), 64)[None, :, None] * np.ones((1, 1, 4))
    assert np.ptp(resample(stripes, (32, 4), antialias=True)[:, 4:-4]) < 1e-3
    assert resample(stripes, (32, 4), antialias=True).mean() == pytest.approx(0.5, abs=1e-3)


def test_the_same_shape_is_an_exact_copy():
    array = np.arange(24, dtype=np.int16).reshape(1, 4, 6)
    got = resample(array, (4, 6), order=3)
    assert np.array_equal(got, array)
    assert not np.shares_memory(got, array)


def test_one_voxel_spreads_its_value():
    np.testing.assert_allclose(resample(np.full((1, 1, 1), 7.0), (5, 3), order=3), np.full((1, 5, 3), 7.0), rtol=1e-6)


def test_a_shape_of_other_dimension_is_refused():
    with pytest.raises(GeometryError, match="cannot be resampled"):
        resample(np.zeros((1, 4, 4)), (4, 4, 4))
    with pytest.raises(GeometryError, match="cannot be resampled"):
        resample(np.zeros((1, 4, 4)), (4, 0))


def test_the_outer_faces_stay_where_they_were():
    affine = np.array([[0, -2.0, 0, 5], [0.9, 0, 0.1, -7], [0, 0, 3.0, 11], [0, 0, 0, 1]])
    after = affine_after_resample(affine, (10, 20, 30), (4, 35, 31))
    for corner in ((0, 0, 0), (1, 0, 0), (1, 1, 1), (0, 1, 0)):
        old = affine @ [*(c * n - 0.5 for c, n in zip(corner, (10, 20, 30), strict=True)), 1]
        new = after @ [*(c * n - 0.5 for c, n in zip(corner, (4, 35, 31), strict=True)), 1]
        np.testing.assert_allclose(old, new)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(("before", "size"), [(40, 52), (100, 130), (15, 5), (60, 61), (7, 30)])
def test_later_outputs_need_no_earlier_inputs(order, before, size):
    along = axis_map(before, size, order=order, antialias=False)
    needs = np.array([along.needs(o, o + 1) for o in range(size)])
    assert (np.diff(needs, axis=0) >= 0).all()
