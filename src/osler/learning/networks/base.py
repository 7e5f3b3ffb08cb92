"""``Network``: how a study is mapped to numbers. The base, its story, and the blocks that every family shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from osler.datasets.plan import Plan

__all__ = ["ConvBlock", "InstanceNorm", "Network", "ResidualBlock", "Steps", "conv", "initialise", "make_norm"]

Steps = tuple[int, ...] | int
"""A kernel or a stride: one number for all axes, or one per axis."""


class Network(nn.Module, ABC):
    """The story: built from a ``Plan``, trained by a method, traced once for export.

    Named tensors come in and go out. In: ``"image"`` (B, C, *spatial), normalised, and optionally ``"presence"``
    (B, C), 1 where the channel was acquired and 0 where it is missing. Out: ``"logits"`` (B, outputs[, *spatial]), and
    while training optionally ``"deep_1"``, ``"deep_2"``, logits at coarser scales. Where ``head_name`` names the last
    layer, linear in each place, ``"features"`` (B, F[, *spatial]) is what that layer makes the logits of.

    A family implements ``map_image``;
    it is generic in 2D and 3D, takes its normalisation from the plan and does not need BatchNorm.
    Every family passes ``tests/conformance/test_networks.py``.
    """

    head_name: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def from_plan(cls, plan: Plan) -> Network:
        """Build it untrained; the caller has seeded torch."""

    @abstractmethod
    def map_image(self, image: Tensor) -> dict[str, Tensor]:
        """From (B, C, *spatial) to the named outputs."""

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Zero the channels that are absent, then map."""
        image = inputs["image"]
        if "presence" in inputs:
            presence = inputs["presence"]
            image = image * presence.reshape(*presence.shape, *([1] * (image.ndim - 2)))
        return self.map_image(image)


def conv(dimensions: int, inputs: int, outputs: int, kernel: Steps, stride: Steps = 1) -> nn.Module:
    """A convolution that keeps the shape at stride 1; no bias (a normalisation follows)."""
    kind = nn.Conv2d if dimensions == 2 else nn.Conv3d
    padding = kernel // 2 if isinstance(kernel, int) else tuple(size // 2 for size in kernel)
    return kind(inputs, outputs, kernel, stride, padding, bias=False)  # type: ignore[arg-type]


def make_norm(kind: str, dimensions: int, features: int) -> nn.Module:
    """``instance``, ``group`` (8 channels a group) or ``batch`` normalisation with learnt scale and shift."""
    if kind == "group":
        return nn.GroupNorm(max(1, features // 8), features)
    if kind == "batch":
        return (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(features)
    return InstanceNorm(features)


class InstanceNorm(nn.Module):
    """Instance normalisation (Ulyanov et al. 2016) with learnt scale and shift, for 2D and 3D.

    While training on a CPU each sample goes through batch normalisation by itself, which is the same arithmetic but
    keeps channels last: torch's own copies there and back, which cost a third of a step.
    """

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(B, features, *spatial) to the same shape."""
        if self.training and x.device.type == "cpu":
            # chunks, not slices: the gradient of a slice is a whole batch of zeros for each sample
            samples = x.chunk(len(x))
            return torch.cat(
                [functional.batch_norm(s, None, None, self.weight, self.bias, True, 0.0, self.eps) for s in samples]
            )
        return functional.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class ConvBlock(nn.Sequential):
    """Convolution, normalisation, leaky ReLU."""

    def __init__(
        self,
        dimensions: int,
        inputs: int,
        outputs: int,
        *,
        norm: str,
        stride: Steps = 1,
        kernel: Steps = 3,
        slope: float = 0.01,
    ) -> None:
        super().__init__(
            conv(dimensions, inputs, outputs, kernel, stride),
            make_norm(norm, dimensions, outputs),
            nn.LeakyReLU(slope, inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut (He et al. 2016); a strided shortcut averages, then projects."""

    def __init__(
        self,
        dimensions: int,
        inputs: int,
        outputs: int,
        *,
        norm: str,
        stride: tuple[int, ...],
        dropout: float = 0.0,
        kernel: Steps = 3,
        slope: float = 0.01,
    ) -> None:
        super().__init__()
        self.first = ConvBlock(dimensions, inputs, outputs, norm=norm, stride=stride, kernel=kernel, slope=slope)
        self.second = nn.Sequential(conv(dimensions, outputs, outputs, kernel), make_norm(norm, dimensions, outputs))
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.act = nn.LeakyReLU(slope, inplace=True)
        shortcut: list[nn.Module] = []
        if any(s > 1 for s in stride):
            # ceil_mode keeps odd sizes equal to those of the padded strided convolution
            pool = nn.AvgPool2d if dimensions == 2 else nn.AvgPool3d
            shortcut.append(pool(stride, stride, ceil_mode=True, count_include_pad=False))  # type: ignore[arg-type]
        if inputs != outputs:
            shortcut += [conv(dimensions, inputs, outputs, 1), make_norm(norm, dimensions, outputs)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) to (B, outputs, *ceil(spatial / stride))."""
        result: Tensor = self.act(self.second(self.dropout(self.first(x))) + self.shortcut(x))
        return result


def initialise(module: nn.Module) -> None:
    """He initialisation of convolutions for leaky ReLU; linear layers keep torch's default."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(layer.weight, a=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
