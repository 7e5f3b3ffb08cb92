"""Augmentation of a whole batch on the training device.

Everything random is drawn by ``draw`` on the CPU from one generator and returned as plain tensors; ``apply`` only
computes. Applying the same draw twice gives the same bits, and a draw can be stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from osler.datasets.plan import AugmentationPlan

__all__ = ["Draw", "apply", "draw", "source_shape"]

_COARSE = 16  # voxels between control points of the elastic field


@dataclass(frozen=True)
class Draw:
    """The parameters of one batch of B.

    ``affine`` (B, D, D) maps centred output voxels to centred source voxels; ``shift`` (B, D) in voxels; ``elastic``
    (B, D, *coarse) in voxels. The intensity parameters are (B,) and do not apply where ``chosen[name]`` is false.
    ``noise_seed`` seeds the noise field, which is drawn on the device.
    """

    affine: Tensor
    shift: Tensor
    elastic: Tensor | None
    chosen: dict[str, Tensor]
    values: dict[str, Tensor]
    noise_seed: int


def source_shape(patch: tuple[int, ...], plan: AugmentationPlan) -> tuple[int, ...]:
    """The shape to read so that moderate rotation, scaling and shift still find voxels at the patch's border."""
    margin = 1.0 + 0.5 * plan.scale + 0.005 * plan.rotation + plan.shift
    return tuple(int(size * margin + 0.5) // 2 * 2 + size % 2 for size in patch)


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _rotation(generator: torch.Generator, count: int, dimensions: int, degrees: float) -> Tensor:
    """(B, D, D) rotations; in 3D about the three axes in turn."""
    result = torch.eye(dimensions).repeat(count, 1, 1)
    planes = [(0, 1)] if dimensions == 2 else [(0, 1), (0, 2), (1, 2)]
    for first, second in planes:
        angle = torch.deg2rad(_uniform(generator, count, -degrees, degrees))
        turn = torch.eye(dimensions).repeat(count, 1, 1)
        turn[:, first, first] = turn[:, second, second] = torch.cos(angle)
        turn[:, first, second] = -torch.sin(angle)
        turn[:, second, first] = torch.sin(angle)
        result = result @ turn
    return result


def _draw_affine(plan: AugmentationPlan, count: int, generator: torch.Generator) -> Tensor:
    dimensions = len(plan.flips)
    matrix = _rotation(generator, count, dimensions, plan.rotation)
    # one common and one small separate factor per axis; log-uniform so that growing and shrinking are as likely
    common = _uniform(generator, count, -plan.scale, plan.scale)[:, None]
    separate = torch.stack([_uniform(generator, count, -plan.scale, plan.scale) for _ in range(dimensions)], 1) * 0.3
    matrix = matrix * torch.exp(common + separate)[:, None, :]
    shear = torch.eye(dimensions).repeat(count, 1, 1)
    for row in range(dimensions):
        for column in range(dimensions):
            if row != column:
                shear[:, row, column] = _uniform(generator, count, -plan.shear, plan.shear)
    sign = torch.ones(count, dimensions)
    for axis, allowed in enumerate(plan.flips):
        flip = torch.rand(count, generator=generator) < 0.5
        if allowed:
            sign[flip, axis] = -1
    return (matrix @ shear) * sign[:, None, :]


_INTENSITY: dict[str, Callable[[AugmentationPlan], tuple[float, float]]] = {
    "brightness": lambda p: (-p.brightness, p.brightness),
    "contrast": lambda p: (-p.contrast, p.contrast),
    "gamma": lambda p: (-p.gamma, p.gamma),
    "blur": lambda p: (0.3 * p.blur, p.blur),
    "noise": lambda p: (0.0, p.noise),
    "low_resolution": lambda p: (1.0 - p.low_resolution, 1.0),
}


def draw(plan: AugmentationPlan, patch: tuple[int, ...], count: int, generator: torch.Generator) -> Draw:
    """Draw the parameters of a batch.

    Args:
        plan: the strengths.
        patch: spatial shape of the output.
        count: B.
        generator: a CPU generator; the only source of randomness.
    """
    dimensions = len(patch)
    affine = _draw_affine(plan, count, generator)
    shift = torch.stack([_uniform(generator, count, -plan.shift, plan.shift) * size for size in patch], 1)
    coarse = tuple(max(3, size // _COARSE + 2) for size in patch)
    elastic = None
    if plan.elastic:
        bent = (torch.rand(count, generator=generator) < plan.probability).float() * plan.elastic
        field = torch.randn(count, dimensions, *coarse, generator=generator)
        elastic = field * bent.reshape(-1, *([1] * (dimensions + 1)))
    chosen, values = {}, {}
    for name, limits in _INTENSITY.items():
        chosen[name] = (torch.rand(count, generator=generator) < plan.probability) & (getattr(plan, name) > 0)
        values[name] = _uniform(generator, count, *limits(plan))
    chosen["erase"] = torch.rand(count, generator=generator) < plan.erase
    values["erase"] = torch.rand(count, 2 * dimensions, generator=generator)
    noise_seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator))
    return Draw(affine, shift, elastic, chosen, values, noise_seed)


def _grid(drawn: Draw, patch: tuple[int, ...], source: tuple[int, ...], device: torch.device) -> Tensor:
    """(B, *patch, D) sampling positions in grid_sample's coordinates (last axis first, −1 to 1, faces aligned).

    A place is a sum of one term per axis, so that only the last sum is of the size of the patch.
    """
    half = torch.tensor([size / 2 for size in source])
    affine = (drawn.affine / half[:, None]).flip(1).to(device)  # (B, D, D), from voxels to those coordinates
    grid = (drawn.shift / half).flip(1).to(device).reshape(-1, *([1] * len(patch)), len(patch))
    for axis, size in enumerate(patch):
        places = torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2
        form = [1] * len(patch)
        form[axis] = size
        grid = grid + (places[:, None] * affine[:, None, :, axis]).reshape(-1, *form, len(patch))
    if drawn.elastic is None:
        return grid
    bent = drawn.elastic.flatten(1).any(1).nonzero()[:, 0]
    if len(bent):
        mode = "bilinear" if len(patch) == 2 else "trilinear"
        field = (drawn.elastic[bent] / half.reshape(-1, *([1] * len(patch)))).flip(1).to(device)
        bend = functional.interpolate(field, size=patch, mode=mode, align_corners=True)
        grid[bent.to(device)] += bend.movedim(1, -1)
    return grid


def _blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of each sample by its own sigma in voxels; (B, C, *S)."""
    radius = max(1, int(3 * float(sigma.max()) + 0.5))
    taps = torch.arange(-radius, radius + 1, device=x.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None].to(x.device)) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (B, taps)
    count, channels, *shape = x.shape
    dimensions = len(shape)
    convolve = functional.conv2d if dimensions == 2 else functional.conv3d
    flat = x.reshape(1, count * channels, *shape)
    for axis in range(dimensions):
        form = [1] * dimensions
        form[axis] = 2 * radius + 1
        weight = kernel.repeat_interleave(channels, 0).reshape(count * channels, 1, *form)
        padding = [0, 0] * dimensions
        padding[2 * (dimensions - 1 - axis)] = padding[2 * (dimensions - 1 - axis) + 1] = radius
        flat = convolve(functional.pad(flat, padding, mode="replicate"), weight, groups=count * channels)
    return flat.reshape(x.shape)


def _low_resolution(x: Tensor, factor: Tensor) -> Tensor:
    """Each sample is shrunk by its own factor (nearest) and brought back (linear), as if acquired coarser."""
    mode = "bilinear" if x.ndim == 4 else "trilinear"
    rows = []
    for row, scale in enumerate(factor.tolist()):
        sample = x[row : row + 1]
        small = [max(2, round(size * scale)) for size in sample.shape[2:]]
        shrunk = functional.interpolate(sample, size=small, mode="nearest-exact")
        rows.append(functional.interpolate(shrunk, size=sample.shape[2:], mode=mode, align_corners=False))
    return torch.cat(rows)


def _gamma(x: Tensor, log_gamma: Tensor) -> Tensor:
    """Power of the intensities within each sample's own range; the range stays."""
    axes = tuple(range(2, x.ndim))
    low, high = x.amin(axes, keepdim=True), x.amax(axes, keepdim=True)
    span = (high - low).clamp_min(1e-6)
    power = torch.exp(log_gamma.to(x.device)).reshape(-1, *([1] * (x.ndim - 1)))
    return ((x - low) / span).clamp(0, 1) ** power * span + low


def _contrast(x: Tensor, log_factor: Tensor) -> Tensor:
    mean = x.mean(tuple(range(2, x.ndim)), keepdim=True)
    return (x - mean) * torch.exp(log_factor.to(x.device)).reshape(-1, *([1] * (x.ndim - 1))) + mean


def _brightness(x: Tensor, amount: Tensor) -> Tensor:
    return x + amount.to(x.device).reshape(-1, *([1] * (x.ndim - 1)))


def _erase(x: Tensor, numbers: Tensor) -> Tensor:
    """A box of 10 to 35 % of each axis becomes the sample's mean."""
    x = x.clone()
    dimensions = x.ndim - 2
    for row, drawn in enumerate(numbers.tolist()):
        box = []
        for axis, size in enumerate(x.shape[2:]):
            length = max(1, int(size * (0.1 + 0.25 * drawn[axis])))
            start = int(drawn[dimensions + axis] * (size - length + 1))
            box.append(slice(start, start + length))
        x[row][(slice(None), *box)] = x[row].mean()
    return x


_STEPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "low_resolution": _low_resolution,
    "blur": _blur,
    "contrast": _contrast,
    "gamma": _gamma,
    "brightness": _brightness,
    "erase": _erase,
}


def apply(drawn: Draw, image: Tensor, mask: Tensor | None, patch: tuple[int, ...]) -> tuple[Tensor, Tensor | None]:
    """Resample once (affine and elastic composed), then change intensities.

    Args:
        drawn: from ``draw``.
        image: (B, C, *source), float32, normalised; zero outside the study.
        mask: (B, *source) class indices, or None.
        patch: spatial shape of the result.

    Returns:
        image (B, C, *patch) and mask (B, *patch) int64.
    """
    grid = _grid(drawn, patch, tuple(image.shape[2:]), image.device)
    # outside a patch of a volume lies zero, as in inference; around a whole picture lies its darkest value
    outside = image.amin(tuple(range(2, image.ndim)), keepdim=True) if mask is None else torch.zeros(())
    outside = outside.to(image.device)
    image = functional.grid_sample(image - outside, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    image = image + outside
    if mask is not None:
        labels = mask[:, None].to(torch.float32)
        mask = functional.grid_sample(labels, grid, mode="nearest", padding_mode="zeros", align_corners=False)
        mask = mask[:, 0].round().long()
    for name, step in _STEPS.items():
        rows = drawn.chosen[name].nonzero()[:, 0].to(image.device)
        if len(rows):
            image[rows] = step(image[rows], drawn.values[name][rows.cpu()])
    rows = drawn.chosen["noise"].nonzero()[:, 0].to(image.device)
    if len(rows):
        generator = torch.Generator(device=image.device).manual_seed(drawn.noise_seed)
        field = torch.randn(image[rows].shape, generator=generator, device=image.device)
        image[rows] = image[rows] + field * drawn.values["noise"][rows.cpu()].to(image.device).reshape(
            -1, *([1] * (image.ndim - 1))
        )
    return image, mask
