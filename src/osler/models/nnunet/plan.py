"""From nnU-Net's plan to Osler's: same grid, intensities, windows and labels under Osler's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from osler.datasets.labels import LabelSet
from osler.datasets.layouts.decathlon import modality_of
from osler.datasets.layouts.nnunet import channel_names_of, labels_of
from osler.datasets.plan import (
    AugmentationPlan,
    GridPlan,
    LossPlan,
    NetworkPlan,
    NormalisationPlan,
    OptimiserPlan,
    Plan,
    RegionPlan,
)
from osler.errors import DatasetError, ModelError
from osler.models.nnunet.axes import Axes, axes_of
from osler.models.nnunet.configuration import (
    Configuration,
    Plans,
    Topology,
    configuration_of,
    plans_of,
    topology_of,
)
from osler.models.nnunet.results import Results

__all__ = ["mirror_axes_of", "plan_of"]

_WIDEST = 3.4028234e38  # float32's largest: "no limit" that JSON can hold
_PICTURE_SPACING = 900  # nnU-Net gives the axis that a picture lacks 999 times the spacing of the others
_ORIENTED_READERS = {"NibabelIOWithReorient": "RAS", "SimpleITKIOWithReorient": "RAS"}
_READERS = {"SimpleITKIO", "NibabelIO", "NaturalImage2DIO", "Tiff3DIO", *_ORIENTED_READERS}
_RESAMPLING = "resample_data_or_seg_to_shape"
_OVERLAP = 0.5


def plan_of(results: Results, *, orientation: str | None = None) -> tuple[Plan, Axes]:
    """Translate.

    Args:
        results: of ``find_results``.
        orientation: three letters such as "RAS" that studies are brought to first, where the pipeline around the model
            did so; None keeps the axes of the file, as nnU-Net itself does.

    Raises:
        ModelError: when the plan has a part that Osler does not know, with its name.
    """
    plans = plans_of(results.plans)
    configuration = configuration_of(results.plans, results.configuration)
    topology = topology_of(configuration)
    _check_known(plans, configuration)
    flat = _is_flat(plans)
    axes = axes_of(plans.transpose_forward, patch_dimensions=len(configuration.patch_size), flat=flat)
    channels = tuple(_dataset_part(channel_names_of, results.dataset).values())
    labels, regions = _answers(results.dataset)
    grid = _grid(plans, configuration, axes, orientation or _ORIENTED_READERS.get(plans.image_reader_writer))
    plan = Plan(
        task="segment",
        dimensions=axes.dimensions,
        channels=channels,
        labels=labels,
        regions=regions,
        modality=modality_of(list(channels)),
        grid=grid,
        normalisation=_normalisations(plans, configuration, len(channels)),
        patch=axes.arrange(configuration.patch_size, 1),
        batch=configuration.batch_size,
        network=_network(topology, axes),
        loss=LossPlan(name="dice_cross_entropy"),
        optimiser=OptimiserPlan(name="sgd", learning_rate=1e-2, weight_decay=3e-5, schedule="polynomial", ema=0.0),
        augmentation=AugmentationPlan(flips=(False,) * axes.dimensions),
        steps=0,
        overlap=_OVERLAP,
        window_weights="gaussian",
        reasons=_reasons(plans, results),
    )
    return plan, axes


def mirror_axes_of(plan: Plan, axes: Axes, allowed: Sequence[int] | None) -> tuple[int, ...]:
    """Osler's axes along which studies may be mirrored, from those of the network that a checkpoint names."""
    shift = 1 if axes.sliced else 0
    network = {int(axis) + shift for axis in allowed or ()}
    return tuple(n for n in range(plan.dimensions) if axes.order[n] in network)


def _check_known(plans: Plans, configuration: Configuration) -> None:
    _known("image reader", plans.image_reader_writer, sorted(_READERS))
    _known("preprocessor", configuration.preprocessor_name, ["DefaultPreprocessor"])
    for what, name, settings, order in (
        ("data", configuration.resampling_fn_data, configuration.resampling_fn_data_kwargs, 3),
        (
            "probabilities",
            configuration.resampling_fn_probabilities,
            configuration.resampling_fn_probabilities_kwargs,
            1,
        ),
    ):
        _known(f"resampling of {what}", name, [_RESAMPLING])
        given = {key: value for key, value in settings.items() if key != "is_seg"}
        if given != {"order": order, "order_z": 0, "force_separate_z": given.get("force_separate_z")}:
            raise ModelError(
                f"the resampling of {what} has the settings {given}, which Osler does not do",
                remedy=f"it does order {order} and order_z 0",
            )
    forced = [
        settings.get("force_separate_z")
        for settings in (configuration.resampling_fn_data_kwargs, configuration.resampling_fn_probabilities_kwargs)
    ]
    if forced[0] is not forced[1] or forced[0] is True:
        raise ModelError(
            f"force_separate_z is {forced[0]} for data and {forced[1]} for probabilities, which Osler does not do",
            remedy="null and false, the same for both, are known",
        )


def _known(what: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise ModelError(f"the {what} is {name}, which Osler does not know", remedy=f"it knows {', '.join(known)}")


def _is_flat(plans: Plans) -> bool:
    """Whether the model was trained on pictures; nnU-Net holds them as volumes of one slice."""
    spacing, shape = plans.original_median_spacing_after_transp, plans.original_median_shape_after_transp
    picture = len(shape) == 3 and shape[0] == 1 and spacing[0] >= _PICTURE_SPACING * max(spacing[1:])
    return plans.image_reader_writer == "NaturalImage2DIO" or picture


def _grid(plans: Plans, configuration: Configuration, axes: Axes, orientation: str | None) -> GridPlan:
    between_slices = plans.original_median_spacing_after_transp[0]
    forced = configuration.resampling_fn_data_kwargs.get("force_separate_z")
    return GridPlan(
        resize="spacing",
        spacing=axes.arrange(configuration.spacing, between_slices),
        kept_axes=() if axes.slice_axis is None else (axes.slice_axis,),
        orientation=None if axes.dimensions == 2 else orientation,
        order=3,
        resampling="plain" if forced is False or axes.dimensions == 2 else "separate",
        back="logits",
        crop="nonzero",
        spacing_known=False if plans.image_reader_writer == "NaturalImage2DIO" else None,
    )


def _normalisations(plans: Plans, configuration: Configuration, channels: int) -> tuple[NormalisationPlan, ...]:
    schemes, masked = configuration.normalization_schemes, configuration.use_mask_for_norm
    if not len(schemes) == len(masked) == channels:
        raise ModelError(
            f"plans.json normalises {len(schemes)} channels, and dataset.json names {channels}",
            remedy="give the files of one model",
        )
    found = plans.foreground_intensity_properties_per_channel
    return tuple(
        _normalisation(s, m, found.get(str(n), {})) for n, (s, m) in enumerate(zip(schemes, masked, strict=True))
    )


def _normalisation(scheme: str, masked: bool, foreground: Mapping[str, float]) -> NormalisationPlan:
    if scheme == "ZScoreNormalization":
        return NormalisationPlan(kind="image", low=0, high=100, over="nonzero" if masked else "all")
    if scheme == "CTNormalization":
        try:
            low, high = foreground["percentile_00_5"], foreground["percentile_99_5"]
            return NormalisationPlan(
                kind="dataset", low=low, high=high, mean=foreground["mean"], std=max(foreground["std"], 1e-8)
            )
        except KeyError as error:
            raise ModelError(
                f"plans.json does not hold the foreground's {error.args[0]}, which CTNormalization needs",
                remedy="copy plans.json again",
            ) from error
    if scheme == "NoNormalization":
        return NormalisationPlan(kind="dataset", low=-_WIDEST, high=_WIDEST)
    if scheme == "RescaleTo01Normalization":
        return NormalisationPlan(kind="range", low=0, high=100)
    if scheme == "RGBTo01Normalization":
        return NormalisationPlan(kind="dataset", low=0, high=255, std=255)
    raise ModelError(
        f"the normalisation {scheme} is not known to Osler",
        remedy="it knows CTNormalization, ZScoreNormalization, NoNormalization, RescaleTo01- and RGBTo01Normalization",
    )


def _network(topology: Topology, axes: Axes) -> NetworkPlan:
    if any(step != 1 for step in topology.strides[0]):
        raise ModelError("the network strides on its first level, which Osler does not do", remedy="convert another")
    return NetworkPlan(
        family=topology.family,
        features=topology.features,
        strides=tuple(axes.arrange(stride, 1) for stride in topology.strides),
        kernels=tuple(axes.arrange(kernel, 1) for kernel in topology.kernels),
        blocks=topology.blocks,
        decoder_blocks=topology.decoder_blocks,
        normalisation=topology.normalisation,
        slope=topology.slope,
    )


def _answers(dataset: dict[str, Any]) -> tuple[LabelSet, tuple[RegionPlan, ...]]:
    """The labels, and the regions where labels overlap; voxels marked "ignore" were not learnt from."""
    listed = dataset.get("labels")
    if not isinstance(listed, dict):
        raise ModelError("dataset.json has no labels", remedy="copy it again")
    kept = {name: value for name, value in listed.items() if name != "ignore"}
    labels: LabelSet = _dataset_part(labels_of, {**dataset, "labels": kept})
    if any(isinstance(value, list) for value in kept.values()):
        return labels, _regions(kept, dataset.get("regions_class_order"))
    if labels.values != tuple(range(1, len(labels.values) + 1)):
        raise ModelError(
            f"dataset.json has the labels {labels.values}, which are not 1, 2, 3 ...", remedy="copy it again"
        )
    return labels, ()


def _regions(labels: Mapping[str, Any], order: Any) -> tuple[RegionPlan, ...]:
    """In the order of dataset.json, which is that of the network's outputs."""
    regions = [
        (name, tuple(int(v) for v in (value if isinstance(value, list) else [value])))
        for name, value in labels.items()
        if value not in (0, [0])
    ]
    if not isinstance(order, list) or len(order) != len(regions):
        raise ModelError("dataset.json has no regions_class_order for its regions", remedy="copy it again")
    return tuple(
        RegionPlan(name=name, values=values, writes=int(value))
        for (name, values), value in zip(regions, order, strict=True)
    )


def _dataset_part(read: Any, content: dict[str, Any]) -> Any:
    try:
        return read(content)
    except (DatasetError, TypeError, ValueError) as error:
        raise ModelError(f"dataset.json cannot be used ({error})", remedy="copy it again from where it came") from error


def _reasons(plans: Plans, results: Results) -> dict[str, str]:
    source = f"as nnU-Net planned it ({plans.plans_name}, {results.configuration})"
    fields = ("grid", "normalisation", "patch", "network", "batch", "overlap", "window_weights")
    return {**dict.fromkeys(fields, source), "steps": "not recorded by nnU-Net", "loss": "nnU-Net's usual one"}
