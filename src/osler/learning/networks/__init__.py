"""How a study is mapped: one file per family, and the list of them."""

from __future__ import annotations

from osler.datasets.plan import Plan
from osler.errors import Unknown
from osler.learning.networks.base import Network
from osler.learning.networks.encoder import Encoder
from osler.learning.networks.nnunet import NnUNet, NnUNetResidual, NnUNetResidualEncoder
from osler.learning.networks.segresnet import SegResNet
from osler.learning.networks.unet import UNet

__all__ = ["NETWORKS", "Network", "build_network"]

NETWORKS: dict[str, type[Network]] = {
    "unet": UNet,
    "encoder": Encoder,
    "segresnet": SegResNet,
    "nnunet": NnUNet,
    "nnunet_resenc": NnUNetResidualEncoder,
    "nnunet_residual": NnUNetResidual,
}


def build_network(plan: Plan) -> Network:
    """The untrained network of a plan; seed torch first.

    Raises:
        Unknown: when no family has that name.
    """
    if plan.network.family not in NETWORKS:
        raise Unknown(f"no network family {plan.network.family!r}", remedy=f"choose one of {', '.join(NETWORKS)}")
    return NETWORKS[plan.network.family].from_plan(plan)
