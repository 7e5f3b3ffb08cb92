"""Blending slab by slab against the plain way over the whole study."""

from __future__ import annotations

import threading

import ml_dtypes
import numpy as np
import pytest

from osler.inference.slabs import blend
from osler.inference.windows import sliding

PATCH = (16, 12, 20)
WEIGHTS = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
PLACE = np.random.default_rng(1).normal(size=(5, *PATCH)).astype(np.float32)


class Study:
    """An array as ``SlabSource`` gives it; planes may not be asked for that lie before those of the last call."""

    def __init__(self, array, axis, backwards):
        self._array = np.flip(array, axis + 1) if backwards else array
        self.axis, self.reversed, self.shape, self._last = axis, backwards, array.shape[1:], 0

    def read(self, start, stop):
        assert start >= self._last
        self._last = start
        return np.take(self._array, range(start, stop), axis=self.axis + 1)


def network(windows):
    """An answer that depends on where in the window a voxel lies, as a network's does near its borders."""
    return np.einsum("fc,bcxyz->bfxyz", WEIGHTS, windows) * PLACE


def joined(array, axis, backwards, **options):
    whole, seen = None, np.zeros(array.shape[1:], int)
    for block in blend(Study(array, axis, backwards), PATCH, network, **options):
        whole = np.full((len(block.values), *array.shape[1:]), np.nan, np.float32) if whole is None else whole
        whole[(slice(None), *block.place)] = block.values
        seen[block.place] += 1
    assert (seen == 1).all()
    return np.flip(whole, axis + 1) if backwards else whole


@pytest.mark.parametrize("shape", [(40, 30, 50), (16, 12, 20), (7, 30, 15), (33, 12, 61), (41, 5, 20), (17, 13, 21)])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("backwards", [False, True])
def test_slabs_are_the_whole_study_blended(shape, axis, backwards):
    array = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    plain = sliding(array, PATCH, network, overlap=0.5, batch=3)
    np.testing.assert_allclose(joined(array, axis, backwards, overlap=0.5, batch=2), plain, atol=1e-5)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.8])
def test_any_overlap_gives_the_same_as_the_plain_way(overlap):
    array = np.random.default_rng(3).normal(size=(2, 37, 29, 45)).astype(np.float32)
    plain = sliding(array, PATCH, network, overlap=overlap)
    np.testing.assert_allclose(joined(array, 2, False, overlap=overlap), plain, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("backwards", [False, True])
def test_weights_about_a_voxel_off_the_middle_go_the_right_way_round(axis, backwards):
    array = np.random.default_rng(4).normal(size=(2, 33, 30, 50)).astype(np.float32)
    plain = sliding(array, PATCH, network, weights="gaussian")
    np.testing.assert_allclose(joined(array, axis, backwards, weights="gaussian"), plain, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sums_of_bfloat16_answers_are_off_by_no_more_than_the_answers(axis):
    array = np.random.default_rng(5).normal(size=(2, 60, 50, 70)).astype(np.float32)

    def rounded(windows):
        return network(windows).astype(ml_dtypes.bfloat16)

    exact = sliding(array, PATCH, network, overlap=0.5)
    study = Study(array, axis, False)
    found = np.zeros_like(exact)
    for block in blend(study, PATCH, rounded, overlap=0.5):
        assert block.values.dtype == np.float32
        found[(slice(None), *block.place)] = block.values
    size = sliding(array, PATCH, lambda windows: np.abs(network(windows)), overlap=0.5)  # of what was added up
    assert (np.abs(found - exact) <= 2 * 2**-8 * size + 1e-6).all()


def test_a_slab_leaves_as_soon_as_no_window_touches_it():
    study = Study(np.zeros((2, 16, 12, 200), np.float32), 2, False)
    read = []
    for block in blend(study, PATCH, network):
        read.append(study._last + PATCH[2] - block.origin[2])  # planes that were read beyond the slab's first
    assert len(read) > 10
    assert max(read) <= 2 * PATCH[2]


def test_the_network_is_at_the_next_windows_while_some_are_blended():
    study = Study(np.zeros((2, 160, 12, 40), np.float32), 2, False)
    begun = threading.Semaphore(0)

    def run(windows):
        begun.release()
        return network(windows)

    blocks = blend(study, PATCH, run)
    next(blocks)
    assert begun.acquire(timeout=60)
    assert begun.acquire(timeout=60)  # though nobody has asked for another block
    blocks.close()


def test_what_fails_in_the_network_is_raised_and_ends_the_work():
    study = Study(np.zeros((2, 160, 12, 40), np.float32), 2, False)

    def run(windows):
        raise MemoryError("none left")

    with pytest.raises(MemoryError, match="none left"):
        list(blend(study, PATCH, run))
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("osler-ahead")]


def test_rows_leave_as_soon_as_no_window_touches_them():
    study = Study(np.zeros((2, 160, 12, 40), np.float32), 2, False)
    rows, asked = [], []

    def run(windows):
        asked.append(len(rows))
        return network(windows)

    for block in blend(study, PATCH, run):
        rows.append((block.place[0].start, block.place[0].stop))
    # one window per row: when it is run, the rows before it have left, but for the one that is being blended
    assert all(max(0, row - 1) <= left <= row for row, left in enumerate(asked[:19]))
    assert all(stop - start <= PATCH[0] for start, stop in rows)
    assert rows[18][1] == 160
