"""The weights of a checkpoint under the names, and with the axes, of Osler's network of the same shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from osler.datasets.plan import NetworkPlan
from osler.errors import ModelError
from osler.models.nnunet.axes import Axes
from osler.models.torch_file import StoredTensor, TorchFile
from osler.studies.geometry import Array

__all__ = ["Trained", "read_checkpoint"]

_WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+")
"""What distributed training and compiling put before each name."""
_TWICE = re.compile(r"^decoder\.encoder\.|\.all_modules\.")
"""nnU-Net's modules hold some parts under two names."""
_COARSER_HEAD = re.compile(r"^decoder\.seg_layers\.\d+\.")
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Trained:
    """What a checkpoint says.

    Args:
        weights: name in Osler's network to float32 array, axes as Osler's.
        normalisation: "batch" where the weights hold running statistics, whatever the plan says.
        mirror_axes: the network's axes along which mirroring is allowed; None where it is not.
        trainer: name of the class that trained it.
        configuration: that it was trained for; "" where it does not say.
        epochs: how many there were.
    """

    weights: dict[str, Array]
    normalisation: str
    mirror_axes: tuple[int, ...] | None
    trainer: str
    configuration: str
    epochs: int


@dataclass(frozen=True)
class _Pair:
    """A convolution (and the normalisation after it), by their prefixes here and there. Those with a normalisation have
    no bias here."""

    conv: tuple[str, str]
    norm: tuple[str, str] | None = None


def read_checkpoint(file: TorchFile, network: NetworkPlan, axes: Axes) -> Trained:
    """Read what is needed of a checkpoint; optimiser states and the like stay unread.

    Args:
        file: opened.
        network: says which layers there are.
        axes: how the network's axes lie in Osler's grid.

    Raises:
        ModelError: when it is no checkpoint of nnU-Net, or its layers are not those of the plan.
    """
    content = file.content
    state = content.get("network_weights") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, StoredTensor) for value in state.values()):
        raise ModelError(f"{file.path} holds no network_weights", remedy="give a checkpoint that nnU-Net v2 wrote")
    stored = {_WRAPPED.sub("", name): value for name, value in state.items()}
    stored = {name: value for name, value in stored.items() if not _TWICE.search(name)}
    batch = any(name.endswith("running_mean") for name in stored)
    taken = _Taken(file, stored, axes)
    for pair in _pairs(network):
        taken.take(pair, statistics=batch)
    left = [name for name in stored if name not in taken.used and not _COARSER_HEAD.match(name)]
    if left:
        raise ModelError(
            f"{file.path.name} has the layer {left[0]} ({len(left)} weights) that its plan does not have",
            remedy="a trainer with a network of its own is not known to Osler",
        )
    return Trained(
        weights=taken.weights,
        normalisation="batch" if batch else network.normalisation,
        mirror_axes=_mirror_axes(content.get("inference_allowed_mirroring_axes")),
        trainer=str(content.get("trainer_name", "")),
        configuration=_configuration(content.get("init_args")),
        epochs=_whole(content.get("current_epoch")),
    )


class _Taken:
    """Weights found so far."""

    def __init__(self, file: TorchFile, stored: Mapping[str, StoredTensor], axes: Axes) -> None:
        self.weights: dict[str, Array] = {}
        self.used: set[str] = set()
        self._file, self._stored, self._axes = file, stored, axes

    def take(self, pair: _Pair, *, statistics: bool) -> None:
        """One convolution, with its normalisation."""
        here, there = pair.conv
        kernel = self._read(f"{there}.weight")
        self.weights[f"{here}.weight"] = self._axes.arrange_kernel(kernel)
        bias = self._read(f"{there}.bias") if f"{there}.bias" in self._stored else None
        if pair.norm is None:
            outputs = kernel.shape[1] if ".transpconvs." in there else kernel.shape[0]
            self.weights[f"{here}.bias"] = np.zeros(outputs, np.float32) if bias is None else bias
            return
        norm, theirs = pair.norm
        for part in ("weight", "bias", *(_STATISTICS if statistics else ())):
            self.weights[f"{norm}.{part}"] = self._read(f"{theirs}.{part}")
        if statistics and bias is not None:  # a constant before the normalisation shifts what it subtracts
            self.weights[f"{norm}.running_mean"] = self.weights[f"{norm}.running_mean"] - bias

    def _read(self, name: str) -> Array:
        if name not in self._stored:
            raise ModelError(
                f"{self._file.path.name} has no {name}, which its plan asks for",
                remedy="give the checkpoint and plans.json of one model",
            )
        self.used.add(name)
        array = self._file.read(self._stored[name])
        return array if name.endswith("num_batches_tracked") else array.astype(np.float32)


def _pairs(network: NetworkPlan) -> Iterator[_Pair]:
    residual_encoder, residual_decoder = network.family != "nnunet", network.family == "nnunet_residual"
    if residual_encoder:
        yield _block("stages.0.0", "encoder.stem.convs.0")
    for level, (stride, count) in enumerate(zip(network.strides, network.blocks, strict=True)):
        wider = level > 0 and network.features[level] != network.features[level - 1]
        if residual_encoder:
            stem = 1 if level == 0 else 0
            strided = any(step > 1 for step in stride)
            places = [(f"stages.{level}.{n + stem}", f"encoder.stages.{level}.blocks.{n}") for n in range(count)]
            yield from _residuals(places, projected=wider, pooled=strided)
        else:
            for n in range(count):
                yield _block(f"stages.{level}.{n}", f"encoder.stages.{level}.0.convs.{n}")
    for step, count in enumerate(network.decoder_blocks):
        yield _Pair((f"ups.{step}", f"decoder.transpconvs.{step}"))
        if residual_decoder:
            places = [(f"merges.{step}.{n}", f"decoder.stages.{step}.blocks.{n}") for n in range(count)]
            yield from _residuals(places, projected=True, pooled=False)
        else:
            for n in range(count):
                yield _block(f"merges.{step}.{n}", f"decoder.stages.{step}.convs.{n}")
    yield _Pair(("head", f"decoder.seg_layers.{len(network.decoder_blocks) - 1}"))


def _block(here: str, there: str) -> _Pair:
    return _Pair((f"{here}.0", f"{there}.conv"), (f"{here}.1", f"{there}.norm"))


def _residuals(places: list[tuple[str, str]], *, projected: bool, pooled: bool) -> Iterator[_Pair]:
    """Residual blocks of one level; only the first has a shortcut with weights, after a pooling where it strides."""
    for here, there in places:
        yield _block(f"{here}.first", f"{there}.conv1")
        yield _block(f"{here}.second", f"{there}.conv2")
    if projected:
        here, there = places[0]
        n = 1 if pooled else 0
        yield _Pair(
            (f"{here}.shortcut.{n}", f"{there}.skip.{n}.conv"), (f"{here}.shortcut.{n + 1}", f"{there}.skip.{n}.norm")
        )


def _mirror_axes(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, tuple | list) or not all(type(axis) is int and 0 <= axis < 3 for axis in value):
        return None
    return tuple(value) or None


def _configuration(arguments: Any) -> str:
    return str(arguments.get("configuration", "")) if isinstance(arguments, dict) else ""


def _whole(value: Any) -> int:
    return value if type(value) is int else 0
