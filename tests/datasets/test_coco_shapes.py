"""Shapes of COCO files become masks: run lengths exactly as pycocotools has them, polygons by pixel centres."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as reference

from osler.datasets.coco import decode_runs, fill_polygon


@pytest.mark.parametrize("seed", range(5))
def test_compressed_run_lengths_are_those_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    rows = rng.random((37, 53)) < (0.02, 0.5, 0.98, 0.3, 0.7)[seed]
    if seed > 2:  # long runs need several characters
        rows = np.kron(rows, np.ones((40, 30), bool))
    encoded = reference.encode(np.asfortranarray(rows.astype(np.uint8)))
    runs = decode_runs(encoded["counts"])
    filled = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(rows.shape[::-1]).T
    assert np.array_equal(filled, rows)
    assert np.array_equal(decode_runs(encoded["counts"].decode()), runs)


def test_run_lengths_that_end_too_early_are_refused():
    with pytest.raises(ValueError, match="end in the middle"):
        decode_runs("o")


def test_a_square_fills_the_pixels_that_it_covers():
    filled = fill_polygon(np.array([[2, 1], [6, 1], [6, 4], [2, 4]], float), 10, 8)
    assert filled.sum() == 12
    assert filled[1:4, 2:6].all()


def test_what_lies_outside_the_picture_is_cut_off():
    filled = fill_polygon(np.array([[-5, -5], [50, -5], [50, 50], [-5, 50]], float), 10, 8)
    assert filled.all()


def test_a_polygon_that_crosses_itself_is_filled_by_the_even_odd_rule():
    bow_tie = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], float)
    filled = fill_polygon(bow_tie, 10, 10)
    assert not filled[2, 4:6].any()
    assert filled[5, 1]
    assert filled[5, 8]


@pytest.mark.parametrize("seed", range(8))
def test_polygons_agree_with_pycocotools_but_for_their_edge(seed):
    """pycocotools traces the outline on a grid five times finer, so single pixels of the outline may differ."""
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 25))
    radii = rng.uniform(15, 45, 25)
    points = np.stack([60 + radii * np.cos(angles), 50 + radii * np.sin(angles)], axis=1)
    encoded = reference.frPyObjects([points.ravel().tolist()], 100, 120)
    theirs = reference.decode(encoded)[..., 0].astype(bool)
    ours = fill_polygon(points, 100, 120)
    outline = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1).sum()
    assert (ours != theirs).sum() < 0.12 * outline
    assert abs(int(ours.sum()) - int(theirs.sum())) < 0.05 * outline
    area = 0.5 * abs(np.dot(points[:, 0], np.roll(points[:, 1], 1)) - np.dot(points[:, 1], np.roll(points[:, 0], 1)))
    assert ours.sum() == pytest.approx(area, rel=0.01)


@pytest.mark.parametrize("points", [[[0, 0], [1, 1]], [[0, 0], [1, float("nan")], [2, 2]]])
def test_a_polygon_that_is_none_is_refused(points):
    with pytest.raises(ValueError, match="at least three points"):
        fill_polygon(np.array(points, float), 5, 5)
