"""Augmentation: laws that hold for every draw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from osler.datasets.plan import AugmentationPlan
from osler.learning.augmentation import _blur, _grid, apply, draw, source_shape

OFF = {
    "rotation": 0.0,
    "scale": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "gamma": 0.0,
    "blur": 0.0,
    "noise": 0.0,
    "low_resolution": 0.0,
}


def off(dimensions: int, **changes: object) -> AugmentationPlan:
    return AugmentationPlan(**{"flips": (False,) * dimensions, **OFF, **changes})  # type: ignore[arg-type]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("shape", [(8, 10), (7, 9), (6, 8, 5)])
def test_everything_off_is_the_identity(shape: tuple[int, ...]) -> None:
    image = torch.randn(3, 2, *shape, generator=generator())
    mask = torch.randint(0, 4, (3, *shape), generator=generator())
    plan = off(len(shape))
    got, got_mask = apply(draw(plan, shape, 3, generator()), image, mask, shape)
    np.testing.assert_allclose(got.numpy(), image.numpy(), atol=1e-5)
    assert got_mask is not None
    assert torch.equal(got_mask, mask)


def test_the_same_draw_applied_twice_gives_the_same_bits() -> None:
    plan = AugmentationPlan(flips=(True, True, False), elastic=2.0, shear=0.1, shift=0.1, erase=0.5, probability=0.9)
    image = torch.randn(4, 1, 12, 12, 10, generator=generator())
    mask = torch.randint(0, 3, (4, 12, 12, 10), generator=generator())
    drawn = draw(plan, (10, 10, 8), 4, generator(5))
    one, two = apply(drawn, image, mask, (10, 10, 8)), apply(drawn, image, mask, (10, 10, 8))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(9, 12), (8, 11, 6)])
@pytest.mark.parametrize("elastic", [0.0, 2.0])
def test_sampling_places_are_those_of_the_plain_formula_in_float64(shape: tuple[int, ...], elastic: float) -> None:
    plan = AugmentationPlan(flips=(True,) * len(shape), elastic=elastic, shear=0.1, shift=0.1, probability=0.5)
    drawn = draw(plan, shape, 5, generator(2))
    source = tuple(size + 4 for size in shape)
    axes = [torch.arange(size, dtype=torch.float64) - (size - 1) / 2 for size in shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    moved = torch.einsum("...d,bed->b...e", places, drawn.affine.double())
    moved = moved + drawn.shift.double().reshape(-1, *([1] * len(shape)), len(shape))
    if drawn.elastic is not None:
        mode = "bilinear" if len(shape) == 2 else "trilinear"
        bend = torch.nn.functional.interpolate(drawn.elastic.double(), size=shape, mode=mode, align_corners=True)
        moved = moved + bend.movedim(1, -1)
    expected = (moved / torch.tensor([size / 2 for size in source])).flip(-1)
    torch.testing.assert_close(_grid(drawn, shape, source, torch.device("cpu")).double(), expected, rtol=0, atol=1e-6)


def test_a_draw_depends_on_the_generator_alone() -> None:
    plan = AugmentationPlan(flips=(True, True))
    assert torch.equal(draw(plan, (8, 8), 4, generator(1)).affine, draw(plan, (8, 8), 4, generator(1)).affine)
    assert not torch.equal(draw(plan, (8, 8), 4, generator(1)).affine, draw(plan, (8, 8), 4, generator(2)).affine)


def test_only_the_allowed_axis_is_mirrored() -> None:
    image = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(32, 1, 1, 1)
    got, _ = apply(draw(off(2, flips=(False, True)), (8, 8), 32, generator()), image, None, (8, 8))
    straight = torch.isclose(got, image, atol=1e-3).flatten(1).all(1)
    mirrored = torch.isclose(got, image.flip(3), atol=1e-3).flatten(1).all(1)
    assert bool((straight | mirrored).all())
    assert 0 < int(mirrored.sum()) < 32


def test_image_and_mask_move_together() -> None:
    mask = torch.zeros(6, 24, 24, dtype=torch.long)
    mask[:, 6:14, 8:20] = 1
    plan = off(2, rotation=30.0, scale=0.2, shear=0.1, elastic=1.5, probability=1.0)
    image, moved = apply(draw(plan, (24, 24), 6, generator()), mask[:, None].float(), mask, (24, 24))
    assert moved is not None
    agreement = ((image[:, 0] > 0.5) == (moved > 0)).float().mean()
    assert float(agreement) > 0.98


def test_a_mask_never_gets_a_value_that_it_did_not_have() -> None:
    mask = torch.randint(0, 2, (4, 16, 16), generator=generator()) * 5
    plan = off(2, rotation=40.0, scale=0.3)
    _, moved = apply(draw(plan, (16, 16), 4, generator()), mask[:, None].float(), mask, (16, 16))
    assert moved is not None
    assert set(moved.unique().tolist()) <= {0, 5}


def test_blur_equals_scipys() -> None:
    image = torch.randn(2, 1, 30, 31, generator=generator())
    ours = _blur(image, torch.tensor([0.6, 1.2]))
    for row, sigma in enumerate((0.6, 1.2)):
        theirs = gaussian_filter(
            image[row, 0].numpy(), sigma, mode="nearest", truncate=4 / 1.2 if sigma == 0.6 else 3.34
        )
        np.testing.assert_allclose(ours[row, 0].numpy(), theirs, atol=5e-3)


def test_the_range_stays_under_gamma_and_an_empty_image_stays_finite() -> None:
    plan = off(2, gamma=0.5, probability=1.0)
    image = torch.rand(3, 1, 8, 8, generator=generator())
    image[2] = 0.0
    got, _ = apply(draw(plan, (8, 8), 3, generator()), image, None, (8, 8))
    assert bool(torch.isfinite(got).all())
    assert float(got[0].max()) == pytest.approx(float(image[0].max()), abs=1e-4)


def test_the_source_is_larger_than_the_patch_as_the_strength_asks() -> None:
    assert source_shape((40, 41), off(2)) == (40, 41)
    grown = source_shape((40, 41), AugmentationPlan(flips=(False, False), rotation=20.0, scale=0.2))
    assert all(big > small and (big - small) % 2 == 0 for big, small in zip(grown, (40, 41), strict=True))
