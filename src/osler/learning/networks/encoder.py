"""Residual encoder with a pooled linear head, generic in 2D and 3D (He et al. 2016), for answers about a study."""

from __future__ import annotations

from torch import Tensor, nn

from osler.datasets.plan import Plan
from osler.learning.networks.base import Network, ResidualBlock, initialise

__all__ = ["Encoder"]


class Encoder(Network):
    """Residual stages, the mean over all places, dropout, one linear layer."""

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
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(previous, outputs)
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
        )

    def map_image(self, image: Tensor) -> dict[str, Tensor]:
        """(B, C, *S) to ``logits`` (B, outputs) and ``features`` (B, last width)."""
        features = self.stages(image).flatten(2).mean(dim=2)  # (B, width, places) to (B, width)
        return {"logits": self.head(self.dropout(features)), "features": features}
