"""Candidates: networks and grids that a plan may choose from, in ascending cost, and what a step of each costs.

Everything is decided from the fingerprint and the hardware; nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from osler.datasets.fingerprint import Fingerprint
from osler.datasets.hardware import Hardware
from osler.datasets.plan import GridPlan, NetworkPlan, TaskName

__all__ = [
    "Candidate",
    "Variant",
    "answer_grid",
    "assumed_step_s",
    "candidates",
    "is_coarse",
    "low_resolution",
    "mask_grid",
    "step_cost",
    "steps_needed",
    "variants",
    "working_shape",
]

# Measured on one core of an EPYC with AVX-512 bf16, forward and backward, in 1e9 multiply-adds per second. Only the
# order of magnitude matters: training measures the real step time.
_THROUGHPUT = {"bf16": 130.0, "float32": 40.0, "gpu": 40_000.0}
_ORGAN_PATCHES = 6.0  # a voxel edge may be at most the smallest structure's extent divided by this
_MASK_PATCHES = {2: 3000, 3: 1000}  # that a U-Net of 16 filters must have seen
_NARROWEST = 16  # filters; a network below these does not learn with fewer steps
# In 3D nothing is gained below 16. Hippocampus, 52 unseen cases, mean Dice of a run each: after 60 s .40, .76, .81 and
# .80 with 8, 12, 16 and 24 filters; after 30 s .35 with 8 and .73 with 16.
_WIDTHS = {2: (8, 12, 16, 24, 32, 48, 64), 3: (16, 24, 32, 48, 64)}
_COARSE = {2: 2.25, 3: 4.0}  # how many times fewer voxels a patch of a coarse candidate has
_WHOLE = 1.8  # a picture of up to so many times the limit is taken whole
_PATCH_SHARE = 0.55  # of the study's extent per axis that a patch should see


class Variant(BaseModel):
    """How the arithmetic is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    precision: str
    channels_last: bool


class Candidate(BaseModel):
    """One network on one grid. ``key`` names it in the cache of timings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    network: NetworkPlan
    grid: GridPlan
    patch: tuple[int, ...]
    batch: int
    inputs: int
    outputs: int

    @property
    def key(self) -> str:
        """Everything that the time of a step depends on, but for the variant."""
        net = self.network
        return (
            f"{net.family} {net.features} {net.strides} {net.blocks} {net.normalisation} deep={net.deep_supervision} "
            f"patch={self.patch} batch={self.batch} {self.inputs}->{self.outputs}"
        )


def variants(hardware: Hardware) -> tuple[Variant, ...]:
    """The arithmetic worth measuring on this machine."""
    bf16 = hardware.bf16 or hardware.gpu is not None
    chosen = [Variant(precision="float32", channels_last=False), Variant(precision="float32", channels_last=True)]
    if bf16:
        chosen += [Variant(precision="bf16", channels_last=False), Variant(precision="bf16", channels_last=True)]
    return tuple(chosen)


def is_coarse(candidate: Candidate, fingerprint: Fingerprint, hardware: Hardware) -> bool:
    """Whether it is on a coarser grid than it would be with enough time; chosen only when no other gets its steps."""
    if candidate.network.family == "encoder":
        return False
    return candidate.grid != mask_grid(fingerprint, _voxel_limit(fingerprint.dimensions, hardware))


def candidates(
    fingerprint: Fingerprint, task: TaskName, hardware: Hardware, inputs: int, outputs: int
) -> tuple[Candidate, ...]:
    """From the cheapest to the most expensive."""
    make = _for_masks if task == "segment" else _for_answers
    return tuple(sorted(make(fingerprint, hardware, inputs, outputs), key=step_cost))


def step_cost(candidate: Candidate) -> float:
    """Multiply-adds of one training step (forward and backward), in 1e9: three times the forward convolutions."""
    total, previous, shape = 0.0, candidate.inputs, list(candidate.patch)
    dimensions = len(candidate.patch)
    kernel = 3**dimensions
    network = candidate.network
    per_level = []
    for features, stride, blocks in zip(network.features, network.strides, network.blocks, strict=True):
        shape = [math.ceil(size / s) for size, s in zip(shape, stride, strict=True)]
        places = math.prod(shape)
        total += places * kernel * features * (previous + features * (2 * blocks - 1))
        per_level.append((features, places))
        previous = features
    if network.family != "encoder":
        for features, places in per_level[:-1]:
            total += places * features * features * (2 * kernel + 2)
        total += per_level[0][1] * network.features[0] * candidate.outputs
    return 3 * total * candidate.batch / 1e9


def assumed_step_s(candidate: Candidate, variant: Variant, hardware: Hardware) -> float:
    """Seconds of one step by the cost model: for planning without measuring."""
    if hardware.gpu is not None:
        return 0.01 + step_cost(candidate) / _THROUGHPUT["gpu"]
    layout = 1.0 if variant.channels_last else 1.1
    return 0.02 + layout * step_cost(candidate) / (_THROUGHPUT[variant.precision] * hardware.cores)


def steps_needed(candidate: Candidate, task: TaskName, cases: int) -> int:
    """The fewest steps with which a candidate is worth choosing over a cheaper one.

    A wider network needs more steps before it overtakes a narrower one. The constants were set after single runs on
    hippocampus, pneumonia, breast ultrasound and cardiac MR; no table compares them.
    """
    width = candidate.network.features[0]
    if task == "segment":
        dimensions = len(candidate.patch)
        patches = _MASK_PATCHES[dimensions] * (max(width, _NARROWEST) / 16) ** 2
        return max(400, int(patches / candidate.batch))
    epochs = 25 if cases > 2000 else 120
    return int(max(600, epochs * cases / candidate.batch) * (width / 24) ** 0.5)


def _for_masks(fingerprint: Fingerprint, hardware: Hardware, inputs: int, outputs: int) -> list[Candidate]:
    limit = _voxel_limit(fingerprint.dimensions, hardware)
    fine = mask_grid(fingerprint, limit)
    # a coarse patch sees most of the study
    fewer = int(limit / _COARSE[fingerprint.dimensions])
    coarse = mask_grid(fingerprint, fewer, share=0.75 if fingerprint.dimensions == 2 else 0.8)
    found = _on_grid(fingerprint, hardware, fine, limit, inputs, outputs, whole=_WHOLE)
    if coarse == fine:
        return found
    # a starved network on a fine grid is worse than a sound one on a coarse grid
    sound = [c for c in found if c.network.features[0] >= _NARROWEST]
    return sound + _on_grid(fingerprint, hardware, coarse, fewer, inputs, outputs)


def _on_grid(
    fingerprint: Fingerprint,
    hardware: Hardware,
    grid: GridPlan,
    limit: int,
    inputs: int,
    outputs: int,
    *,
    whole: float = 1.0,
) -> list[Candidate]:
    """One network in several widths; pictures of up to ``whole`` times the limit are taken whole."""
    working = working_shape(fingerprint, grid)
    patch = _patch(working, limit, grid, whole if fingerprint.dimensions == 2 else 1.0)
    strides = _strides(patch, grid, deepest=6 if fingerprint.dimensions == 2 else 5)
    patch = _divisible(patch, strides)
    batch = _mask_batch(patch, fingerprint.dimensions, hardware)
    result = []
    for width in _WIDTHS[fingerprint.dimensions]:
        features = tuple(width * min(8, 2**level) for level in range(len(strides)))
        network = NetworkPlan(
            family="unet", features=features, strides=strides, blocks=(1,) * len(strides), normalisation="instance"
        )
        result.append(Candidate(network=network, grid=grid, patch=patch, batch=batch, inputs=inputs, outputs=outputs))
    return result


def low_resolution(
    fingerprint: Fingerprint, hardware: Hardware, grid: GridPlan, inputs: int, outputs: int
) -> Candidate:
    """The narrowest network that learns with few steps, on ``grid``, for the pass that bounds where a fine one looks.

    Its patch is not larger on a GPU: it has to stay cheap where the model is used.
    """
    limit = 64**3
    found = _on_grid(fingerprint, hardware, grid, limit, inputs, outputs)
    return next(c for c in found if c.network.features[0] >= _NARROWEST)


def _voxel_limit(dimensions: int, hardware: Hardware) -> int:
    """Voxels of a patch that leave room for enough steps on this kind of machine."""
    if hardware.gpu is not None:
        return 128**3 if dimensions == 3 else 512**2
    return 64**3 if dimensions == 3 else 192**2


def _extent(fingerprint: Fingerprint) -> list[float]:
    return [n * s for n, s in zip(fingerprint.median_shape, fingerprint.median_spacing, strict=True)]


def mask_grid(fingerprint: Fingerprint, limit: int, *, share: float = _PATCH_SHARE) -> GridPlan:
    """Median spacing, coarsened until a patch sees enough of the study, but never too coarse for the smallest label.

    Args:
        fingerprint: of the training cases.
        limit: voxels of a patch.
        share: of the study's extent per axis that a patch should see.
    """
    spacing = list(fingerprint.median_spacing)
    dimensions = fingerprint.dimensions
    orientation = "RAS" if dimensions == 3 else None
    if not fingerprint.spacing_known and _sizes_differ(fingerprint):
        longest = max(fingerprint.median_shape)
        scale = min(1.0, limit ** (1 / dimensions) * 1.34 / longest)
        side = tuple(_to_multiple(size * scale, 16) for size in fingerprint.median_shape)
        return GridPlan(resize="fit", shape=side, orientation=orientation, order=1, spacing_known=None)
    extent = _extent(fingerprint)
    finest = _finest_needed(fingerprint, spacing)
    for _ in range(64):
        shape = [e / s for e, s in zip(extent, spacing, strict=True)]
        if math.prod(shape) * share**dimensions <= limit:
            break
        # the finest axes are coarsened first, so that voxels become more even
        target = min(spacing) * 1.05
        coarser = [min(target, cap) if s < target else s for s, cap in zip(spacing, finest, strict=True)]
        if all(new <= old + 1e-9 for new, old in zip(coarser, spacing, strict=True)):
            break
        spacing = [max(new, old) for new, old in zip(coarser, spacing, strict=True)]
    return GridPlan(
        resize="spacing",
        spacing=tuple(round(s, 4) for s in spacing),
        orientation=orientation,
        order=1,
        spacing_known=fingerprint.spacing_known,
    )


def _finest_needed(fingerprint: Fingerprint, spacing: Sequence[float]) -> list[float]:
    """Per axis the coarsest spacing that the smallest label allows."""
    extents = [label.median_extent for label in fingerprint.label_statistics if label.median_extent]
    if not extents:
        return [4 * s for s in spacing]
    smallest = [min(e[axis] for e in extents) for axis in range(fingerprint.dimensions)]
    return [
        max(s, n * source / _ORGAN_PATCHES)
        for n, s, source in zip(smallest, spacing, fingerprint.median_spacing, strict=True)
    ]


def _sizes_differ(fingerprint: Fingerprint) -> bool:
    return any(
        high > 1.25 * low for low, high in zip(fingerprint.minimum_shape, fingerprint.maximum_shape, strict=True)
    )


def working_shape(fingerprint: Fingerprint, grid: GridPlan) -> tuple[int, ...]:
    """The median study's shape on the working grid."""
    if grid.shape is not None:
        return grid.shape
    spacing = grid.spacing or fingerprint.median_spacing
    return tuple(max(1, round(e / s)) for e, s in zip(_extent(fingerprint), spacing, strict=True))


def _patch(working: Sequence[int], limit: int, grid: GridPlan, larger: float) -> tuple[int, ...]:
    """The whole study up to ``larger`` times ``limit`` voxels, else a box of ``limit`` near to a cube in mm."""
    sizes = [float(n) for n in working]
    dimensions = len(sizes)
    if grid.resize == "fit" or math.prod(sizes) <= limit * larger:
        return tuple(int(n) for n in working)
    spacing = grid.spacing or (1.0,) * dimensions
    low, high = 1.0, max(n * s for n, s in zip(sizes, spacing, strict=True))
    for _ in range(60):  # bisection on the edge in millimetres
        edge = (low + high) / 2
        voxels = math.prod(min(n, edge / s) for n, s in zip(sizes, spacing, strict=True))
        low, high = (edge, high) if voxels <= limit else (low, edge)
    return tuple(max(1, int(min(n, low / s))) for n, s in zip(sizes, spacing, strict=True))


def _strides(patch: Sequence[int], grid: GridPlan, *, deepest: int) -> tuple[tuple[int, ...], ...]:
    """Halve each axis while its feature map stays at 4 or more and its voxels are not much coarser than the others'."""
    size = [float(n) for n in patch]
    spacing = list(grid.spacing or (1.0,) * len(patch))
    strides = [(1,) * len(patch)]
    while len(strides) < deepest:
        finest = min(s for s, n in zip(spacing, size, strict=True) if n >= 8) if any(n >= 8 for n in size) else 0.0
        stride = tuple(2 if n >= 8 and s < 2 * finest else 1 for n, s in zip(size, spacing, strict=True))
        if all(s == 1 for s in stride):
            break
        strides.append(stride)
        size = [math.ceil(n / s) for n, s in zip(size, stride, strict=True)]
        spacing = [mm * s for mm, s in zip(spacing, stride, strict=True)]
    return tuple(strides)


def _divisible(patch: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Round each axis up to a multiple of its total stride."""
    total = [math.prod(stride[axis] for stride in strides) for axis in range(len(patch))]
    return tuple(-(-n // t) * t for n, t in zip(patch, total, strict=True))


def _mask_batch(patch: Sequence[int], dimensions: int, hardware: Hardware) -> int:
    voxels = math.prod(patch)
    if hardware.gpu is not None:
        return max(2, min(32 if dimensions == 2 else 8, int(4 * 128**dimensions / voxels)))
    # enough voxels for a step's gradient; more only make steps slower
    if dimensions == 3:
        return max(2, min(8, round(180_000 / voxels)))
    return max(2, min(32, round(4 * 128**2 / voxels)))


def _for_answers(fingerprint: Fingerprint, hardware: Hardware, inputs: int, outputs: int) -> list[Candidate]:
    longest = max(fingerprint.median_shape)
    three = fingerprint.dimensions == 3
    sides = (24, 32, 48, 64, 96) if three else (32, 64, 96, 128, 160, 224)
    if hardware.gpu is not None:
        sides = (*sides, 128) if three else (*sides, 320, 448)
    usable = [side for side in sides if side < 0.95 * longest] or []
    if longest <= sides[-1]:
        usable.append(round(longest))
    batch = 16 if three else (32 if fingerprint.cases < 2000 else 64)
    result = []
    for side in usable:
        grid = answer_grid(fingerprint, side)
        shape = grid.shape or ()
        for width in (16, 24, 32, 48):
            network = _encoder(width, shape)
            result.append(
                Candidate(network=network, grid=grid, patch=shape, batch=batch, inputs=inputs, outputs=outputs)
            )
    return result


def answer_grid(fingerprint: Fingerprint, side: int) -> GridPlan:
    """All studies on one shape whose longest axis is ``side``: as they are when all have that shape, else fitted."""
    shape = fingerprint.median_shape
    scale = min(1.0, side / max(shape))
    target = tuple(max(4, round(n * scale)) for n in shape)
    same = fingerprint.minimum_shape == fingerprint.maximum_shape
    if not same:
        target = tuple(_to_multiple(n, 8) for n in target)
    orientation = "RAS" if fingerprint.dimensions == 3 and fingerprint.spacing_known else None
    return GridPlan(resize="stretch" if same else "fit", shape=target, orientation=orientation, order=1)


def _encoder(width: int, shape: Sequence[int]) -> NetworkPlan:
    """Halve until about 4 to 7 places are left per axis; large pictures are halved at once on the way in."""
    size = [float(n) for n in shape]
    dimensions = len(shape)
    first = tuple(2 if n > 48 and max(size) > 48 else 1 for n in size)
    strides = [first]
    size = [n / s for n, s in zip(size, first, strict=True)]
    while len(strides) < 5:
        stride = tuple(2 if n >= 7 else 1 for n in size)
        if all(s == 1 for s in stride):
            break
        strides.append(stride)
        size = [math.ceil(n / s) for n, s in zip(size, stride, strict=True)]
    features = tuple(min(width * 2**level, 384) for level in range(len(strides)))
    blocks = (1, *(2 for _ in strides[1:])) if dimensions == 2 else (1,) * len(strides)
    return NetworkPlan(
        family="encoder", features=features, strides=tuple(strides), blocks=blocks, dropout=0.2, normalisation="batch"
    )


def _to_multiple(value: float, of: int) -> int:
    return max(of, round(value / of) * of)
