"""MONAI's SegResNet (Myronenko 2018) as a family: an alternative to the U-Net for masks."""

from __future__ import annotations

from torch import Tensor

from osler.datasets.plan import Plan
from osler.errors import PlanError
from osler.learning.networks.base import Network

__all__ = ["SegResNet"]


class SegResNet(Network):
    """``features[0]`` is the first width (it doubles per level by MONAI's design); ``blocks`` the blocks per level."""

    def __init__(self, *, dimensions: int, inputs: int, outputs: int, width: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        from monai.networks.nets.segresnet import SegResNet as MonaiSegResNet

        self.scale = 2 ** (len(blocks) - 1)
        self.network = MonaiSegResNet(
            spatial_dims=dimensions,
            init_filters=width,
            in_channels=inputs,
            out_channels=outputs,
            blocks_down=blocks,
            blocks_up=(1,) * (len(blocks) - 1),
        )

    @classmethod
    def from_plan(cls, plan: Plan) -> SegResNet:
        """Raises:
        PlanError: when the patch cannot be halved as often as there are levels.
        """
        network = cls(
            dimensions=plan.dimensions,
            inputs=plan.inputs,
            outputs=plan.outputs,
            width=plan.network.features[0],
            blocks=plan.network.blocks,
        )
        if any(size % network.scale for size in plan.patch):
            raise PlanError(
                f"segresnet with {len(plan.network.blocks)} levels needs a patch divisible by {network.scale}, "
                f"not {plan.patch}",
                remedy="override patch, for example --set patch=32,32,32",
            )
        return network

    def map_image(self, image: Tensor) -> dict[str, Tensor]:
        """(B, C, *S) to ``logits`` (B, outputs, *S)."""
        return {"logits": self.network(image)}
