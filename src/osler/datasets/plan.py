"""``Plan``: every decision of a training run, in one frozen, typed object. Made by ``planner``; read by both halves."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from osler.datasets.labels import LabelSet

__all__ = [
    "PLAN_VERSION",
    "AugmentationPlan",
    "CoarsePlan",
    "GridPlan",
    "LossPlan",
    "NetworkPlan",
    "NormalisationPlan",
    "OptimiserPlan",
    "Plan",
    "RegionPlan",
    "TaskName",
]

PLAN_VERSION = 1
TaskName = Literal["classify", "multilabel", "ordinal", "regress", "segment"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GridPlan(_Frozen):
    """The working grid.

    ``resize``:
      - ``spacing``: resample to ``spacing`` (mm; pixels of the source where the spacing is unknown); the shape varies.
      - ``fit``: scale uniformly (in mm where known) so that the study fits ``shape``, then pad to it centrally.
      - ``stretch``: resample to exactly ``shape``.
    ``orientation`` is three letters for 3D ("RAS"), None to keep the axes as they come (2D).
    ``order`` is the interpolation order of images (1 linear, 3 cubic); masks go by linear interpolation of one-hot.
    ``kept_axes`` keep the study's own spacing, whatever ``spacing`` says of them (a network that goes slice by slice).
    ``crop`` "nonzero" leaves away what lies outside the smallest box around all voxels that are not 0 in any channel.
    ``resampling``:
      - ``antialiased``: axes that lose many voxels are averaged, not thinned out.
      - ``plain``: the interpolation alone; the result stays within the image's own range.
      - ``separate``: ``plain``, but where voxels are more than three times as long along one axis as along another, in
        the study or on the working grid, the longest axis goes by nearest voxel, each slice within its own range.
    ``back`` is what is interpolated on the way back onto the source grid.
    ``spacing_known`` says whether ``spacing`` is in millimetres (True) or pixels (False), so that a study of the other
    kind is refused; None does not check.
    """

    resize: Literal["spacing", "fit", "stretch"]
    spacing: tuple[float, ...] | None = None
    shape: tuple[int, ...] | None = None
    orientation: str | None = None
    order: Literal[1, 3] = 1
    spacing_known: bool | None = None
    kept_axes: tuple[int, ...] = ()
    crop: Literal["none", "nonzero"] = "none"
    resampling: Literal["antialiased", "plain", "separate"] = "antialiased"
    back: Literal["probabilities", "logits"] = "probabilities"


class NormalisationPlan(_Frozen):
    """How one channel's intensities become the network's input: clip to [low, high], subtract mean, divide by std.

    ``dataset``: the four numbers are the dataset's (CT). ``image``: per image; ``low`` and ``high`` are percentiles
    (0 to 100) of the image, mean and std those of the clipped image. ``range``: the same percentiles become 0 and 1.
    ``over`` "nonzero": an image's statistics are those of the voxels that are not 0 in any channel, holes filled, and
    all others become the mean.
    """

    kind: Literal["dataset", "image", "range"]
    low: float
    high: float
    mean: float = 0.0
    std: float = 1.0
    over: Literal["all", "nonzero"] = "all"


class NetworkPlan(_Frozen):
    """``family`` is a name on ``learning.networks``' list; ``features`` are filters per level; ``strides`` the
    down-sampling into each level (first is all ones); ``blocks`` residual blocks per level. ``pooling`` is how an
    encoder sums up its places: their mean, or mean and maximum side by side.

    Of the families that begin with ``nnunet`` only: ``kernels`` per level (empty: 3 everywhere), ``decoder_blocks`` per
    level of the decoder, deepest first (empty: 2 everywhere), and ``slope`` of the activation below 0."""

    family: str
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    blocks: tuple[int, ...]
    dropout: float = Field(default=0.0, ge=0, lt=1)
    normalisation: Literal["instance", "group", "batch"] = "instance"
    deep_supervision: bool = False
    pooling: Literal["mean", "mean_max"] = "mean"
    kernels: tuple[tuple[int, ...], ...] = ()
    decoder_blocks: tuple[int, ...] = ()
    slope: float = Field(default=0.01, ge=0)


class RegionPlan(_Frozen):
    """One output of a network whose structures overlap: what it is called, the values of a mask that it is made of,
    and the value that it writes."""

    name: str
    values: tuple[int, ...]
    writes: int


class LossPlan(_Frozen):
    """``class_weights`` has one entry per output (background first for masks); empty means equal. ``dice_of`` is over
    what the soft Dice is taken: the batch as a whole, or each sample that holds the structure."""

    name: str
    class_weights: tuple[float, ...] = ()
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    focal_gamma: float = 2.0
    dice_of: Literal["batch", "sample"] = "batch"


class OptimiserPlan(_Frozen):
    """Step size and what changes it. ``warmup`` is a fraction of the steps; ``ema`` the decay of averaged weights
    (0 switches it off); ``clip`` the largest gradient norm (0 switches it off)."""

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)
    schedule: Literal["cosine", "polynomial"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    ema: float = Field(default=0.999, ge=0, lt=1)
    clip: float = Field(default=1.0, ge=0)
    patience: int = Field(default=0, ge=0)


class AugmentationPlan(_Frozen):
    """Strengths; each 0 switches its part off. Angles in degrees, shifts as a fraction of the patch, elastic in voxels.

    ``flips`` has one entry per spatial axis of the working grid.
    """

    flips: tuple[bool, ...]
    rotation: float = 15.0
    scale: float = 0.15
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    brightness: float = 0.1
    contrast: float = 0.2
    gamma: float = 0.3
    blur: float = 0.5
    noise: float = 0.1
    low_resolution: float = 0.5
    erase: float = 0.0
    mixup: float = 0.0
    probability: float = 0.3


class CoarsePlan(_Frozen):
    """A second, small network on a coarser grid, which says where the fine one has to look: what differs from the
    plan's own grid, patch, batch and network, and how long it is trained: ``share`` of the time, or ``steps`` where
    steps are counted."""

    grid: GridPlan
    patch: tuple[int, ...]
    batch: int = Field(ge=1)
    network: NetworkPlan
    share: float = Field(default=0.15, gt=0, lt=1)
    steps: int = Field(default=0, ge=0)


class Plan(_Frozen):
    """All decisions of a run; ``reasons`` says why, by field name.

    ``steps`` is how many there will be (a forecast under ``budget_s``; in a model folder: how many there were).
    ``pace`` repeats a run that was limited by time: from step n on, progress grows by that much per step.
    ``members`` networks are trained one after the other, from other seeds, and their probabilities averaged.
    ``foreground`` is the share of patches centred on a label, ``air`` that of patches which may reach beyond the study,
    into air that is made up; only volumes of CT have it. ``mirror_axes`` are those safe to mirror in prediction.
    ``window_weights`` is how overlapping windows share a voxel: a Gaussian of an eighth of the patch, about the patch's
    middle and nowhere below a hundredth per axis (``floored``), or about voxel n // 2 of n as it is (``gaussian``).
    ``regions``: where structures overlap, the network answers each of these on its own (sigmoid), and a voxel gets the
    value of the last one that is above one half. Without them outputs are background and labels (softmax).
    ``coarse`` is None where the network looks everywhere.
    """

    schema_version: int = PLAN_VERSION
    task: TaskName
    method: str = "supervised"
    dimensions: Literal[2, 3]
    channels: tuple[str, ...]
    colours: int = Field(default=1, description="array channels per image: 1 grey, 3 colour")
    labels: LabelSet
    regions: tuple[RegionPlan, ...] = ()
    modality: str = ""
    grid: GridPlan
    normalisation: tuple[NormalisationPlan, ...]
    patch: tuple[int, ...]
    batch: int = Field(ge=1)
    foreground: float = Field(default=0.5, ge=0, le=1)
    air: float = Field(default=0.0, ge=0, lt=1)
    network: NetworkPlan
    loss: LossPlan
    optimiser: OptimiserPlan
    augmentation: AugmentationPlan
    members: int = Field(default=1, ge=1, le=20)
    steps: int = Field(ge=0)
    pace: tuple[tuple[int, float], ...] = ()
    budget_s: float | None = None
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = False
    coarse: CoarsePlan | None = None
    overlap: float = Field(default=0.5, ge=0, lt=1)
    window_weights: Literal["floored", "gaussian"] = "floored"
    mirror_axes: tuple[int, ...] = ()
    target_mean: float = 0.0
    target_std: float = 1.0
    seed: int = 0
    reasons: dict[str, str] = {}

    @property
    def inputs(self) -> int:
        """Channels of the network's input."""
        return len(self.channels) * self.colours

    @property
    def tells_air(self) -> bool:
        """Whether the network's input says what is air: numbers of CT, scaled alike in every study."""
        return self.modality == "CT" and all(one.kind == "dataset" and one.over == "all" for one in self.normalisation)

    @property
    def outputs(self) -> int:
        """Channels of the network's output, by task."""
        if self.regions:
            return len(self.regions)
        labels = len(self.labels.labels)
        return {"classify": labels, "multilabel": labels, "ordinal": labels - 1, "regress": 1, "segment": labels + 1}[
            self.task
        ]
