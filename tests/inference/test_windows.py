from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import PlanError
from osler.inference.windows import gaussian, pad_to, sliding, window_starts


def _local(batch):
    """A network whose answer at a voxel is the voxel, doubled and negated: windows cannot matter."""
    return np.concatenate([2 * batch, -batch], axis=1)


def test_windows_cover_everything_and_overlap_enough():
    starts = window_starts((100, 40), (32, 40), 0.5)
    assert starts[1] == [0]
    assert starts[0][0] == 0
    assert starts[0][-1] == 68
    assert max(np.diff(starts[0])) <= 16


@given(size=st.integers(1, 200), patch=st.integers(1, 64), overlap=st.floats(0, 0.9))
@settings(max_examples=100, deadline=None)
def test_no_voxel_is_missed_whatever_the_sizes(size, patch, overlap):
    size = max(size, patch)
    covered = np.zeros(size, bool)
    for start in window_starts((size,), (patch,), overlap)[0]:
        covered[start : start + patch] = True
    assert covered.all()


def test_a_patch_larger_than_the_study_is_refused():
    with pytest.raises(PlanError, match="does not fit"):
        window_starts((10, 10), (16, 8))


def test_an_overlap_of_one_is_refused():
    with pytest.raises(PlanError, match="overlap"):
        window_starts((10,), (5,), 1.0)


def test_the_gaussian_agrees_with_scipy_in_the_middle():
    from scipy.signal.windows import gaussian as reference

    one = reference(24, 3.0)
    expected = np.maximum(one, 0.01)[:, None] * np.maximum(one, 0.01)[None]
    np.testing.assert_allclose(gaussian((24, 24)), expected, rtol=1e-5)


def test_blending_equals_the_textbook_sum_divided_by_the_sum_of_weights():
    generator = np.random.default_rng(0)
    array = generator.normal(size=(1, 20, 13)).astype(np.float32)
    patch, kernel = (8, 6), generator.normal(size=(8, 6)).astype(np.float32)
    result = sliding(array, patch, lambda batch: batch * kernel, overlap=0.5)
    total, weight = np.zeros((20, 13)), np.zeros((20, 13))
    rows, columns = window_starts((20, 13), patch, 0.5)
    for i in rows:
        for j in columns:
            place = (slice(i, i + 8), slice(j, j + 6))
            total[place] += array[0][place] * kernel * gaussian(patch)
            weight[place] += gaussian(patch)
    np.testing.assert_allclose(result[0], total / weight, rtol=2e-5, atol=2e-6)


def test_the_result_does_not_depend_on_the_batch_size():
    array = np.random.default_rng(1).normal(size=(2, 21, 18, 9)).astype(np.float32)
    results = [sliding(array, (8, 8, 8), _local, batch=batch) for batch in (1, 3, 64)]
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_a_window_that_covers_everything_equals_the_plain_call():
    array = np.random.default_rng(2).normal(size=(1, 16, 12)).astype(np.float32)
    np.testing.assert_array_equal(sliding(array, (16, 12), _local), _local(array[None])[0])


def test_a_local_network_gives_the_same_through_windows():
    array = np.random.default_rng(3).normal(size=(1, 30, 25, 11)).astype(np.float32)
    np.testing.assert_allclose(sliding(array, (8, 8, 8), _local), _local(array[None])[0], rtol=1e-5, atol=1e-6)


def test_two_dimensions_equal_three_of_one_slice():
    array = np.random.default_rng(4).normal(size=(1, 30, 25)).astype(np.float32)
    flat = sliding(array, (16, 16), _local)
    deep = sliding(array[..., None], (16, 16, 1), _local)
    np.testing.assert_array_equal(flat, deep[..., 0])


def test_a_study_smaller_than_the_patch_is_padded_on_both_sides_and_cut_back():
    array = np.arange(15, dtype=np.float32).reshape(1, 5, 3)
    padded, cut = pad_to(array, (8, 4), fill=-1)
    assert padded.shape == (1, 8, 4)
    assert (padded == -1).sum() == 32 - 15
    np.testing.assert_array_equal(padded[(slice(None), *cut)], array)
    np.testing.assert_allclose(sliding(array, (8, 4), _local), _local(array[None])[0])


def test_gaussian_weights_without_floor_are_those_of_a_filtered_point():
    from scipy.ndimage import gaussian_filter

    point = np.zeros((16, 9, 1))
    point[8, 4, 0] = 1
    filtered = gaussian_filter(point, [2, 9 / 8, 1 / 8], mode="constant")
    np.testing.assert_allclose(gaussian((16, 9, 1), "gaussian"), filtered / filtered.max(), atol=1e-7)


def test_blending_with_gaussian_weights_equals_the_textbook():
    generator = np.random.default_rng(0)
    array = generator.normal(size=(1, 20, 13)).astype(np.float32)
    patch, kernel = (8, 6), generator.normal(size=(8, 6)).astype(np.float32)
    result = sliding(array, patch, lambda batch: batch * kernel, weights="gaussian")
    total, weight = np.zeros((20, 13)), np.zeros((20, 13))
    rows, columns = window_starts((20, 13), patch, 0.5)
    importance = gaussian(patch, "gaussian")
    for i in rows:
        for j in columns:
            total[i : i + 8, j : j + 6] += array[0, i : i + 8, j : j + 6] * kernel * importance
            weight[i : i + 8, j : j + 6] += importance
    np.testing.assert_allclose(result[0], total / weight, atol=1e-5)
