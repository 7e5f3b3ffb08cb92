"""Residual-encoder U-Net, generic in 2D and 3D (Ronneberger et al. 2015; residual: Isensee et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from osler.datasets.plan import Plan
from osler.learning.networks.base import ConvBlock, Network, ResidualBlock, initialise

__all__ = ["UNet"]


Part = Callable[[int], nn.Module]
"""Makes the part of a level (0 is the finest)."""


class UNet(Network):
    """An encoder, a decoder with skips, a linear 1×1 head on the finest level. Built by default of residual stages and
    one convolution block per level of the decoder.

    Level n works at the input's shape divided by the product of the strides up to n; inputs of any shape are taken
    (skips are cut to the decoder's size by padding up, never by cropping the result).

    Args:
        dimensions: 2 or 3.
        outputs: of the head.
        features: filters per level.
        strides: into each level.
        stage: makes the encoder's part of a level, its stride included.
        merge: makes the decoder's part of a level, from twice its filters (what comes up, and the skip) to its filters.
        deep_supervision: also answer on the two next coarser levels while training.
    """

    head_name = "head"

    def __init__(
        self,
        *,
        dimensions: int,
        outputs: int,
        features: tuple[int, ...],
        strides: tuple[tuple[int, ...], ...],
        stage: Part,
        merge: Part,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList([stage(level) for level in range(len(features))])
        transpose = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
        head = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.ups, self.merges, self.deep_heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level in range(len(features) - 2, -1, -1):
            below, here, stride = features[level + 1], features[level], strides[level + 1]
            self.ups.append(transpose(below, here, stride, stride))  # type: ignore[arg-type]
            self.merges.append(merge(level))
            if deep_supervision and 0 < level <= 2:
                self.deep_heads.append(head(here, outputs, 1))
        self.head = head(features[0], outputs, 1)
        initialise(self)

    @classmethod
    def from_plan(cls, plan: Plan) -> UNet:
        """The U-Net that the plan describes."""
        network, dimensions, norm = plan.network, plan.dimensions, plan.network.normalisation
        widths = (plan.inputs, *network.features)
        ones = (1,) * dimensions

        def stage(level: int) -> nn.Module:
            before, here = widths[level], widths[level + 1]
            block = partial(ResidualBlock, dimensions, norm=norm, dropout=network.dropout)
            first = block(before, here, stride=network.strides[level])
            return nn.Sequential(first, *(block(here, here, stride=ones) for _ in range(network.blocks[level] - 1)))

        def merge(level: int) -> nn.Module:
            return ConvBlock(dimensions, 2 * network.features[level], network.features[level], norm=norm)

        return cls(
            dimensions=dimensions,
            outputs=plan.outputs,
            features=network.features,
            strides=network.strides,
            stage=stage,
            merge=merge,
            deep_supervision=network.deep_supervision,
        )

    def map_image(self, image: Tensor) -> dict[str, Tensor]:
        """(B, C, *S) to ``logits`` (B, outputs, *S), ``features`` (B, width, *S), and ``deep_n`` when trained with deep
        supervision."""
        skips = []
        x = image
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        deep: list[Tensor] = []
        first_deep = len(self.ups) - 1 - len(self.deep_heads)
        for n, (up, merge) in enumerate(zip(self.ups, self.merges, strict=True)):
            skip = skips[-2 - n]
            x = up(x)
            if x.shape != skip.shape:  # an odd size was rounded up on the way down
                x = x[(..., *(slice(0, size) for size in skip.shape[2:]))]
            x = merge(torch.cat([x, skip], dim=1))
            if self.training and first_deep <= n < len(self.ups) - 1:
                deep.append(self.deep_heads[n - first_deep](x))
        outputs = {"logits": self.head(x), "features": x}
        outputs.update({f"deep_{n + 1}": logits for n, logits in enumerate(reversed(deep))})
        return outputs
