"""Tilted stacks made upright and back, and what a network sees of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from osler.datasets.plan import GridPlan
from osler.datasets.preparation import trace_of
from osler.studies.image import Image
from osler.studies.tilt import made_tilted, made_upright, upright_of


def _tilted(degrees: float, *, flip: bool = False) -> np.ndarray:
    """Index to RAS+ of slices that are tilted about the x axis and stacked along z, 0.8×0.5×2.5 mm."""
    angle = np.radians(degrees)
    affine = np.eye(4)
    affine[:3, 0] = [-0.8, 0, 0]
    affine[:3, 1] = [0, -0.5 * np.cos(angle), 0.5 * np.sin(angle)]
    affine[:3, 2] = [0, 0, -2.5 if flip else 2.5]
    affine[:3, 3] = [30, 40, 50]
    return affine


def _smooth(points: np.ndarray) -> np.ndarray:
    """A field of the world (3, ...), so that every grid can be asked what it should hold."""
    x, y, z = points
    return np.sin(x / 9) + np.cos(y / 7) + np.sin((y + z) / 11)


def _on(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    index = np.indices(shape).reshape(3, -1)
    return _smooth((affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]).reshape(shape)


@pytest.mark.parametrize("degrees", [-25, 10, 20])
@pytest.mark.parametrize("flip", [False, True])
def test_the_upright_grid_is_right_angled_and_holds_the_same_world(degrees: float, flip: bool) -> None:
    shape, affine = (20, 60, 16), _tilted(degrees, flip=flip)
    grid = upright_of(shape, affine)
    assert grid is not None
    axes = grid.affine[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag(np.diag(axes.T @ axes)), atol=1e-9)
    upright = made_upright(_on(shape, affine)[None], grid)[0]
    expected = _on(grid.shape, grid.affine)
    inside = made_upright(np.ones((1, *shape)), grid)[0] >= 1  # the smallest value outside is 1 too: taken from a mask
    mask = made_upright(np.ones((1, *shape), np.uint8), grid, labels=True)[0] > 0
    inner = mask & np.roll(mask, 1, 1) & np.roll(mask, -1, 1) & inside
    assert inner.mean() > 0.3
    assert np.abs(upright - expected)[inner].max() < 2e-3  # linear interpolation of a field of 7 mm at 0.5 mm


def test_every_voxel_comes_back_to_its_place() -> None:
    shape, affine = (7, 30, 9), _tilted(18)
    grid = upright_of(shape, affine)
    assert grid is not None
    labels = np.random.default_rng(0).integers(0, 5, (1, *shape)).astype(np.uint8)
    np.testing.assert_array_equal(made_tilted(made_upright(labels, grid, labels=True), grid, labels=True), labels)
    values = _on(shape, affine)[None].astype(np.float32)
    back = made_tilted(made_upright(values, grid), grid)
    assert np.abs(back - values)[:, :, 2:-2].max() < 5e-3


def test_the_world_of_a_voxel_is_the_same_on_both_grids() -> None:
    shape, affine = (7, 30, 9), _tilted(18)
    grid = upright_of(shape, affine)
    assert grid is not None
    for i, j, k in ((0, 0, 0), (6, 29, 8), (3, 11, 5)):
        there = [i + grid.shifts[k, 0], j + grid.shifts[k, 1], k, 1]
        np.testing.assert_allclose(grid.affine @ there, affine @ [i, j, k, 1], atol=1e-9)
        assert all(0 <= place <= size - 1 for place, size in zip(there, grid.shape, strict=False))


def test_what_is_upright_or_skewed_in_the_plane_is_left_alone() -> None:
    straight = np.diag([-0.8, -0.5, 2.5, 1.0])
    assert upright_of((5, 6, 7), straight) is None
    rounded = straight.copy()
    rounded[1, 2] = 1e-4
    assert upright_of((5, 6, 7), rounded) is None
    skewed = _tilted(20)
    skewed[1, 0] = 0.3
    assert upright_of((5, 60, 7), skewed) is None
    assert upright_of((5, 6), straight) is None


def test_a_tilted_study_is_prepared_upright_with_the_spacing_along_the_normal() -> None:
    affine = _tilted(20)
    image = Image(_on((20, 60, 16), affine)[None].astype(np.float32), affine)
    trace = trace_of(image, GridPlan(resize="spacing", spacing=(1.0, 1.0, 1.0), orientation="LPS"))
    assert trace.upright is not None
    assert trace.source_shape == (20, 60, 16)
    extent = np.array(trace.upright.shape) * [0.8, 0.5, 2.5 * np.cos(np.radians(20))]
    assert trace.working_shape == tuple(np.rint(extent).astype(int).tolist())


def test_shearing_agrees_with_a_general_resampler() -> None:
    shape, affine = (8, 40, 10), _tilted(15)
    grid = upright_of(shape, affine)
    assert grid is not None
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    index = np.indices(grid.shape).reshape(3, -1)
    there = (np.linalg.inv(affine) @ grid.affine @ np.vstack([index, np.ones(index.shape[1])]))[:3]
    expected = map_coordinates(values, there, order=1, mode="constant", cval=float(values.min())).reshape(grid.shape)
    inside = ((there >= 0) & (there <= np.array(shape)[:, None] - 1)).all(axis=0).reshape(grid.shape)
    np.testing.assert_allclose(made_upright(values[None], grid)[0][inside], expected[inside], atol=1e-4)
