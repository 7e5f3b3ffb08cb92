"""The three U-Nets of nnU-Net v2, generic in 2D and 3D, so that its trained weights run here.

Plain: Isensee et al. 2021 (nnU-Net). With a residual encoder: Isensee et al. 2024 (nnU-Net Revisited). Each level has a
kernel of its own, because anisotropic studies are convolved within their slices first. Convolutions have no bias here
and have one there: the normalisation that follows takes any constant away again.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from osler.datasets.plan import Plan
from osler.errors import PlanError
from osler.learning.networks.base import ConvBlock, ResidualBlock
from osler.learning.networks.unet import UNet

__all__ = ["NnUNet", "NnUNetResidual", "NnUNetResidualEncoder"]

_DECODER_BLOCKS = 2


class NnUNet(UNet):
    """Stages of convolution blocks, down and up."""

    encoder_of: type[nn.Module] = ConvBlock
    decoder_of: type[nn.Module] = ConvBlock

    @classmethod
    def from_plan(cls, plan: Plan) -> NnUNet:
        """The network that the plan describes.

        Raises:
            PlanError: when the plan has dropout, which nnU-Net does not use.
        """
        network = plan.network
        if network.dropout:
            raise PlanError(f"the network family {network.family} has no dropout", remedy="set network.dropout=0")
        levels = len(network.features)
        counts = network.decoder_blocks or (_DECODER_BLOCKS,) * (levels - 1)
        if len(counts) != levels - 1:
            raise PlanError(f"network.decoder_blocks has {len(counts)} entries, and the decoder {levels - 1} levels")
        kernels = network.kernels or ((3,) * plan.dimensions,) * levels
        shared: dict[str, Any] = {"norm": network.normalisation, "slope": network.slope}
        widths = (plan.inputs, *network.features)
        ones = (1,) * plan.dimensions

        def stage(level: int) -> nn.Module:
            block = partial(cls.encoder_of, plan.dimensions, kernel=kernels[level], **shared)
            before, here = widths[level], widths[level + 1]
            blocks: list[nn.Module] = []
            if level == 0 and cls.encoder_of is ResidualBlock:  # a stem brings the channels to the first width
                blocks.append(ConvBlock(plan.dimensions, before, here, kernel=kernels[0], **shared))
                before = here
            blocks.append(block(before, here, stride=network.strides[level]))
            blocks += [block(here, here, stride=ones) for _ in range(network.blocks[level] - 1)]
            return nn.Sequential(*blocks)

        def merge(level: int) -> nn.Module:
            block = partial(cls.decoder_of, plan.dimensions, kernel=kernels[level], stride=ones, **shared)
            here = network.features[level]
            rest = [block(here, here) for _ in range(counts[levels - 2 - level] - 1)]
            return nn.Sequential(block(2 * here, here), *rest)

        return cls(
            dimensions=plan.dimensions,
            outputs=plan.outputs,
            features=network.features,
            strides=network.strides,
            stage=stage,
            merge=merge,
            deep_supervision=network.deep_supervision,
        )


class NnUNetResidualEncoder(NnUNet):
    """A stem and residual stages down, convolution blocks up."""

    encoder_of = ResidualBlock


class NnUNetResidual(NnUNetResidualEncoder):
    """Residual stages down and up."""

    decoder_of = ResidualBlock
