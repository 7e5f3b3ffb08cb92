"""``Fingerprint``: what planning needs to know of a dataset, measured once over its training cases."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from osler.datasets.labels import LabelSet

__all__ = ["ChannelStatistics", "Fingerprint", "LabelStatistics"]

FINGERPRINT_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChannelStatistics(_Frozen):
    """Intensities of one channel over the dataset; ``foreground`` ones inside masks (segmentation), else everywhere."""

    name: str
    minimum: float
    maximum: float
    mean: float
    std: float
    percentile_00_5: float
    percentile_50: float
    percentile_99_5: float
    foreground_mean: float
    foreground_std: float
    foreground_percentile_00_5: float
    foreground_percentile_99_5: float


class LabelStatistics(_Frozen):
    """One label: in how many cases it occurs and, for masks, how large it is.

    ``fraction`` is the mean fraction of voxels over the cases in which it occurs; ``median_voxels`` the median size.
    ``median_extent`` is the median bounding box per axis, in voxels of the source's spacing.
    """

    name: str
    cases: int
    fraction: float = 0.0
    median_voxels: float = 0.0
    median_extent: tuple[float, ...] = ()


class Fingerprint(_Frozen):
    """Shapes (I, J[, K]), spacings (mm, or pixels when unknown), intensities and class balance of the training cases.

    Axes are those of the working orientation: RAS for volumes in millimetres, else as they come. ``colours`` is 3 when
    a tenth of the images or more show colour (an RGB file of greys does not), else 1. ``cases`` counts all training
    cases; ``unreadable`` lists those that cannot be used, with the reason.

    ``symmetry`` says, per spatial axis of the working orientation, how far the average study differs from its mirror
    image: the norm of (mean − mirrored mean), less what chance explains, over the norm of the spread between studies.
    Near 0 a mirrored study looks like any other and mirroring is safe as augmentation; large values mean that the side
    carries information. Empty when it was not measured.
    """

    schema_version: int = FINGERPRINT_VERSION
    name: str
    cases: int
    patients: int | None
    dimensions: int
    modality: str
    spacing_known: bool
    units: str = ""
    colours: int = 1
    labels: LabelSet
    channels: tuple[ChannelStatistics, ...]
    median_shape: tuple[float, ...]
    minimum_shape: tuple[int, ...]
    maximum_shape: tuple[int, ...]
    median_spacing: tuple[float, ...]
    minimum_spacing: tuple[float, ...]
    maximum_spacing: tuple[float, ...]
    orientations: dict[str, int]
    label_statistics: tuple[LabelStatistics, ...]
    target_mean: float = 0.0
    target_std: float = 1.0
    symmetry: tuple[float, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
