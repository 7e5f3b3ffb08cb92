"""The parts of ``plans.json`` that decide how a network is built and fed, in one form for its old and new versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from osler.errors import ModelError, Unknown

__all__ = ["Configuration", "Plans", "Topology", "configuration_of", "plans_of", "topology_of"]

Steps = tuple[tuple[int, ...], ...]
Encoder = Literal["nnunet", "nnunet_resenc", "nnunet_residual"]
_FAMILIES: dict[str, Encoder] = {
    "PlainConvUNet": "nnunet",
    "ResidualEncoderUNet": "nnunet_resenc",
    "ResidualUNet": "nnunet_residual",
}
_KNOWN = {
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"),
    *("n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs"),
    *("nonlin", "nonlin_kwargs", "deep_supervision", "pool", "stem_channels"),
}
_NORMS: dict[str, Literal["instance", "batch"]] = {"InstanceNorm": "instance", "BatchNorm": "batch"}
_Sizes = int | tuple[int | tuple[int, ...], ...]
_Kind = TypeVar("_Kind", bound=BaseModel)


class _Lenient(BaseModel):
    """nnU-Net writes more than is needed here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Architecture(_Lenient):
    network_class_name: str
    arch_kwargs: dict[str, Any]


class _Arguments(_Lenient):
    """What the network is called with."""

    features_per_stage: tuple[int, ...] = Field(min_length=2)
    strides: _Sizes
    kernel_sizes: _Sizes
    n_conv_per_stage: int | tuple[int, ...] | None = None
    n_blocks_per_stage: int | tuple[int, ...] | None = None
    n_conv_per_stage_decoder: int | tuple[int, ...]
    norm_op: str | None = None
    norm_op_kwargs: dict[str, Any] | None = None
    nonlin: str | None = None
    nonlin_kwargs: dict[str, Any] | None = None
    pool: str = "conv"
    stem_channels: int | None = None


class Configuration(_Lenient):
    """One entry of ``configurations``, under nnU-Net's own names."""

    patch_size: tuple[int, ...]
    spacing: tuple[float, ...]
    batch_size: int = 1
    normalization_schemes: tuple[str, ...]
    use_mask_for_norm: tuple[bool, ...]
    preprocessor_name: str = "DefaultPreprocessor"
    previous_stage: str | None = None
    resampling_fn_data: str
    resampling_fn_data_kwargs: dict[str, Any]
    resampling_fn_probabilities: str
    resampling_fn_probabilities_kwargs: dict[str, Any]
    architecture: _Architecture | None = None
    UNet_class_name: str | None = None
    UNet_base_num_features: int = 32
    unet_max_num_features: int = 320
    n_conv_per_stage_encoder: tuple[int, ...] = ()
    n_conv_per_stage_decoder: tuple[int, ...] = ()
    pool_op_kernel_sizes: Steps = ()
    conv_kernel_sizes: Steps = ()


class Plans(_Lenient):
    """The head of ``plans.json``, under nnU-Net's own names; axes as its arrays have them (z, y, x)."""

    dataset_name: str
    plans_name: str = ""
    image_reader_writer: str
    transpose_forward: tuple[int, ...]
    original_median_spacing_after_transp: tuple[float, ...]
    original_median_shape_after_transp: tuple[float, ...]
    foreground_intensity_properties_per_channel: dict[str, dict[str, float]] = {}


@dataclass(frozen=True)
class Topology:
    """How the network is built: the fields of ``NetworkPlan`` of the same names, axes as nnU-Net's."""

    family: Encoder
    features: tuple[int, ...]
    strides: Steps
    kernels: Steps
    blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    normalisation: Literal["instance", "batch"]
    slope: float


def plans_of(content: Mapping[str, Any]) -> Plans:
    """Raises:
    ModelError: when a field is missing or of another kind.
    """
    return _validated(Plans, content, "plans.json")


def configuration_of(content: Mapping[str, Any], name: str) -> Configuration:
    """A configuration with what it inherits.

    Raises:
        Unknown: when there is none of this name.
        ModelError: when it is the second stage of a cascade, or cannot be read.
    """
    every = content.get("configurations")
    if not isinstance(every, dict):
        raise ModelError("plans.json has no configurations", remedy="nnU-Net v2 writes them; v1 models are not read")
    if name not in every:
        raise Unknown(f"plans.json has no configuration {name!r}", remedy=f"choose one of {', '.join(every)}")
    found = _validated(Configuration, _inherited(every, name), f"configuration {name} of plans.json")
    if found.previous_stage:
        raise ModelError(
            f"{name} is the second stage of a cascade: it needs the answer of {found.previous_stage} as an input, "
            "which an Osler model cannot have",
            remedy=f"convert {found.previous_stage} or 3d_fullres",
        )
    return found


def topology_of(configuration: Configuration) -> Topology:
    """Raises:
    ModelError: when the network is of a class or has a part that Osler cannot build.
    """
    class_name, described = _described(configuration)
    family = _FAMILIES.get(class_name.rpartition(".")[2])
    if family is None:
        raise ModelError(
            f"the network is a {class_name}, which Osler cannot build", remedy=f"it can build {', '.join(_FAMILIES)}"
        )
    foreign = sorted(name for name, value in described.items() if name not in _KNOWN and value is not None)
    if foreign:
        raise ModelError(
            f"the network has {', '.join(foreign)}, which Osler cannot build", remedy="convert a model without it"
        )
    arguments = _validated(_Arguments, described, "the network's description in plans.json")
    if arguments.pool != "conv":
        raise ModelError(f"the network pools by {arguments.pool!r}; Osler's strides", remedy="convert another model")
    levels, dimensions = len(arguments.features_per_stage), len(configuration.patch_size)
    if arguments.stem_channels not in (None, arguments.features_per_stage[0]):
        raise ModelError(
            "the network's stem has a width of its own, which Osler cannot build", remedy="convert another"
        )
    kernels = _per_level(arguments.kernel_sizes, levels, dimensions)
    if any(size % 2 == 0 for kernel in kernels for size in kernel):
        raise ModelError(f"the network has kernels of even size, {kernels}", remedy="Osler's have a middle")
    return Topology(
        family=family,
        features=arguments.features_per_stage,
        strides=_per_level(arguments.strides, levels, dimensions),
        kernels=kernels,
        blocks=_counts(arguments.n_conv_per_stage or arguments.n_blocks_per_stage or (), levels),
        decoder_blocks=_counts(arguments.n_conv_per_stage_decoder, levels - 1),
        normalisation=_norm(arguments),
        slope=_slope(arguments),
    )


def _inherited(every: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The entry over those that it names in ``inherits_from``."""
    chain: list[str] = []
    while name:
        if name in chain or not isinstance(every.get(name), dict):
            raise ModelError(f"plans.json has no whole configuration {name}", remedy="copy it again")
        chain.append(name)
        name = every[name].get("inherits_from") or ""
    merged: dict[str, Any] = {}
    for one in reversed(chain):
        merged.update(every[one])
    return merged


def _described(configuration: Configuration) -> tuple[str, dict[str, Any]]:
    """Class and arguments; plans written before nnU-Net 2.4 are brought into the newer form."""
    if configuration.architecture is not None:
        return configuration.architecture.network_class_name, configuration.architecture.arch_kwargs
    if configuration.UNet_class_name is None:
        raise ModelError("plans.json does not describe the network", remedy="nnU-Net v2 writes architecture there")
    strides = configuration.pool_op_kernel_sizes
    widest, first = configuration.unet_max_num_features, configuration.UNet_base_num_features
    return configuration.UNet_class_name, {
        "features_per_stage": [min(first * 2**level, widest) for level in range(len(strides))],
        "strides": strides,
        "kernel_sizes": configuration.conv_kernel_sizes,
        "n_conv_per_stage": configuration.n_conv_per_stage_encoder,
        "n_conv_per_stage_decoder": configuration.n_conv_per_stage_decoder,
        "norm_op": "InstanceNorm",
        "nonlin": "LeakyReLU",
    }


def _norm(arguments: _Arguments) -> Literal["instance", "batch"]:
    name = (arguments.norm_op or "none").rpartition(".")[2].rstrip("123d")
    settings = arguments.norm_op_kwargs or {}
    if name not in _NORMS or settings.get("eps", 1e-5) != 1e-5 or not settings.get("affine", True):
        raise ModelError(
            f"the network normalises by {name} with {settings}, which Osler cannot build",
            remedy="it can build InstanceNorm and BatchNorm with eps 1e-5 and affine",
        )
    return _NORMS[name]


def _slope(arguments: _Arguments) -> float:
    name = (arguments.nonlin or "none").rpartition(".")[2]
    if name == "ReLU":
        return 0.0
    slope = (arguments.nonlin_kwargs or {}).get("negative_slope", 0.01)
    if name == "LeakyReLU" and isinstance(slope, int | float):
        return float(slope)
    raise ModelError(f"the network's activation is {name}, which Osler cannot build", remedy="LeakyReLU and ReLU are")


def _per_level(value: _Sizes, levels: int, dimensions: int) -> Steps:
    """A number, or one per level, or one per level and axis, as the last."""
    rows = (value,) * levels if isinstance(value, int) else value
    whole = tuple((row,) * dimensions if isinstance(row, int) else row for row in rows)
    if len(whole) != levels or any(len(row) != dimensions or min(row) < 1 for row in whole):
        raise ModelError(
            f"the network's sizes {whole} do not fit {levels} levels of {dimensions} axes",
            remedy="copy plans.json again",
        )
    return whole


def _counts(value: int | tuple[int, ...], levels: int) -> tuple[int, ...]:
    whole = (value,) * levels if isinstance(value, int) else value
    if len(whole) != levels or any(count < 1 for count in whole):
        raise ModelError(
            f"the network's block counts {whole} do not fit {levels} levels", remedy="copy plans.json again"
        )
    return whole


def _validated(kind: type[_Kind], content: Mapping[str, Any], where: str) -> _Kind:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ModelError(
            f"{where} cannot be used: {field}: {first['msg']}", remedy="give a model that nnU-Net v2 trained"
        ) from error
