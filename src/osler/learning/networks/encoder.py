"""Residual encoder with a pooled linear head, generic in 2D and 3D (He et al. 2016), for answers about a study."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from osler.datasets.plan import Plan
from osler.learning.networks.base import Network, ResidualBlock, initialise

__all__ = ["Encoder"]


class Encoder(Network):
    """Residual stages, the mean (and the maximum) over all places, dropout, one linear layer."""

    head_name = "head"

    def __init__(
        self,
        *,
        dimensions: int,
        inputs: int,
        outputs: int,
        features: tuple[int, ...],
        strides: tuple[tuple[int, ...], ...],
        blocks: tuple[int, ...],
        norm: str = "batch",
        dropout: float = 0.0,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        ones = (1,) * dimensions
        stages: list[nn.Module] = []
        previous = inputs
        for width, stride, count in zip(features, strides, blocks, strict=True):
            stages.append(ResidualBlock(dimensions, previous, width, norm=norm, stride=stride))
            stages += [ResidualBlock(dimensions, width, width, norm=norm, stride=ones) for _ in range(count - 1)]
            previous = width
        self.stages = nn.Sequential(*stages)
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(previous * (2 if pooling == "mean_max" else 1), outputs)
        initialise(self)

    @classmethod
    def from_plan(cls, plan: Plan) -> Encoder:
        """The encoder that the plan describes."""
        network = plan.network
        return cls(
            dimensions=plan.dimensions,
            inputs=plan.inputs,
            outputs=plan.outputs,
            features=network.features,
            strides=network.strides,
            blocks=network.blocks,
            norm=network.normalisation,
            dropout=network.dropout,
            pooling=network.pooling,
        )

    def map_image(self, image: Tensor) -> dict[str, Tensor]:
        """(B, C, *S) to ``logits`` (B, outputs) and ``features`` (B, last width; twice that with ``mean_max``)."""
        places = self.stages(image).flatten(2)  # (B, width, places)
        features = places.mean(dim=2)
        if self.pooling == "mean_max":
            features = torch.cat([features, places.amax(dim=2)], dim=1)
        return {"logits": self.head(self.dropout(features)), "features": features}
