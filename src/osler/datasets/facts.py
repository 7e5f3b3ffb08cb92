"""``CaseFacts``: what one case is made of and what is wrong with it, read once; ``measure`` and ``inspect`` sum up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from osler.datasets.dataset import Case, Dataset
from osler.datasets.intensities import to_colours
from osler.datasets.labels import LabelSet
from osler.datasets.manifest import Record
from osler.datasets.observations import Observation, observe
from osler.datasets.preparation import grid_difference
from osler.studies.geometry import Array, axis_codes, flip_and_permute, orientation_transform
from osler.studies.image import Image
from osler.studies.notes import notes_of
from osler.studies.resample import resample

__all__ = ["THUMBNAIL", "CaseFacts", "ChannelSample", "Extent", "Fault", "FaultKind", "look"]

FaultKind = Literal["missing channel", "blank", "not finite", "channels", "grid", "values", "empty", "overlap"]

_HARMLESS: tuple[FaultKind, ...] = ("empty", "overlap")
THUMBNAIL = 16
"""Voxels per axis of the picture that symmetry is measured on."""
_SAMPLED, _SAMPLED_IN_ALL = 20_000, 500_000
"""Voxels of a channel that stand for its intensities: of one case, and of all cases together."""
_COLOURFUL = 0.02
"""Mean difference between the colours of a pixel, as a share of the image's range, from which it is no grey picture."""


@dataclass(frozen=True)
class Fault:
    """Why a case is unusable; "empty" (a mask without a label) and "overlap" are only worth knowing."""

    kind: FaultKind
    text: str


@dataclass(frozen=True)
class Extent:
    """The size of one label in one case: voxels, and bounding box per axis of the working orientation."""

    voxels: int
    box: tuple[int, ...]


@dataclass(frozen=True)
class ChannelSample:
    """Intensities of one channel: its extremes, and a sample of all voxels and of those inside the mask."""

    minimum: float
    maximum: float
    everywhere: Array
    foreground: Array


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """``shape`` and ``spacing`` are in the working orientation: RAS for volumes in millimetres, else as they come.

    ``digest`` is the same for the same pixels, whatever the file. ``extents`` are by file value. ``notes`` are those of
    the reader (``Image.notes``), of the mask too.
    """

    name: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    codes: str
    spacing_known: bool
    modality: str
    units: str
    format: str
    colourful: bool
    digest: str = ""
    faults: tuple[Fault, ...] = ()
    extents: dict[int, Extent] = field(default_factory=dict)
    samples: dict[str, ChannelSample] = field(default_factory=dict)
    thumbnail: Array | None = None
    notes: tuple[str, ...] = ()
    observation: Observation | None = None

    @property
    def usable(self) -> bool:
        """Whether it can be prepared."""
        return all(fault.kind in _HARMLESS for fault in self.faults)


def look(
    dataset: Dataset, record: Record, *, intensities: int = 1, digest: bool = False, inspecting: bool = False
) -> CaseFacts:
    """Read one case and note what planning and inspection need.

    Args:
        dataset: loads the case.
        record: which one.
        intensities: of how many cases the intensities are sampled and thumbnails made, this being one; 0 for none.
        digest: also hash the pixels.
        inspecting: also observe what only ``osler inspect`` asks for, where the image is whole.

    Raises:
        StudyError: when it cannot be read.
    """
    case = dataset.read_case(record)
    first = case.study.image
    order, flips = _orientation(first)
    of_images = _channel_faults(case, dataset.manifest.channels)
    faults = [*of_images, *_mask_faults(case, dataset.labels)]
    whole = all(fault.kind == "grid" for fault in of_images)
    usable = all(fault.kind in _HARMLESS for fault in faults)
    mask = None if case.mask is None or not usable else case.mask.array[0]
    return CaseFacts(
        name=record.name,
        shape=tuple(first.shape[a] for a in order),
        spacing=tuple(first.spacing[a] for a in order),
        codes=axis_codes(first.affine)[: first.dimensions] if _placed(first) else "",
        spacing_known=first.spacing_known,
        modality=first.modality,
        units=first.units,
        format=first.source.format,
        colourful=usable and any(_colourful(image.array) for image in case.study.images.values()),
        digest=_digest(case) if digest else "",
        faults=tuple(faults),
        extents={} if mask is None else _extents(mask, order),
        samples=_samples(case, mask, min(_SAMPLED, _SAMPLED_IN_ALL // intensities)) if intensities and usable else {},
        thumbnail=_thumbnail(first, order, flips) if intensities and usable else None,
        notes=notes_of([*case.study.images.values(), *([case.mask] if case.mask else [])]),
        observation=observe(case) if inspecting and whole else None,
    )


def _placed(image: Image) -> bool:
    """Whether the axes have names: of a volume in millimetres, and of a picture whose header says where they run."""
    return image.spacing_known and (image.dimensions == 3 or image.orientation_known)


def _orientation(image: Image) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    if image.dimensions == 3 and image.spacing_known:
        return orientation_transform(image.affine, "RAS")
    return tuple(range(image.dimensions)), (False,) * image.dimensions


def _channel_faults(case: Case, channels: tuple[str, ...]) -> list[Fault]:
    faults = []
    images = case.study.images
    missing = [name for name in channels if name not in images]
    if missing:
        faults.append(Fault("missing channel", f"no image {', '.join(missing)}"))
    for name, image in images.items():
        lowest, highest = float(image.array.min()), float(image.array.max())
        if not np.isfinite([lowest, highest]).all():
            faults.append(Fault("not finite", f"{name} holds values that are NaN or infinite"))
        elif lowest == highest:
            faults.append(Fault("blank", f"every value of {name} is {lowest:g}"))
        if image.volumes:
            faults.append(Fault("channels", f"{name} is a file of {image.volumes}, of which none is named"))
        elif image.array.shape[0] not in (1, 3):
            faults.append(Fault("channels", f"{name} has {image.array.shape[0]} channels, neither 1 nor 3"))
        difference = grid_difference(case.study.image, image)
        if difference:
            faults.append(Fault("grid", f"{name}: {difference}"))
    return faults


def _mask_faults(case: Case, labels: LabelSet) -> list[Fault]:
    if labels.kind != "mask" or case.mask is None:
        return []
    difference = grid_difference(case.study.image, case.mask)
    if difference:
        return [Fault("grid", f"mask: {difference}")]
    present = _values(case.mask.array)
    foreign = sorted(present - set(labels.values) - {0})
    if foreign:
        shown = ", ".join(map(str, foreign[:10])) + (" ..." if len(foreign) > 10 else "")
        return [Fault("values", f"the mask holds {shown}")]
    if not present & set(labels.values):
        return [Fault("empty", "the mask is empty")]
    return [Fault("overlap", _overlap(case, labels))] if case.overlaps else []


def _overlap(case: Case, labels: LabelSet) -> str:
    """How much of which labels overlaps, the most first."""
    names = dict(zip(labels.values, labels.names, strict=True))
    pairs = sorted(case.overlaps.items(), key=lambda pair: -pair[1])
    listed = [f"{count} voxels are both {names.get(a, a)} and {names.get(b, b)}" for (a, b), count in pairs[:3]]
    return ", ".join(listed) + (f" and {len(pairs) - 3} more pairs" if len(pairs) > 3 else "")


def _values(array: Array) -> set[int]:
    """The values of a mask (whole numbers), by counting where that is faster."""
    if array.dtype == np.uint8:
        return set(np.flatnonzero(np.bincount(array.reshape(-1))).tolist())
    return {int(value) for value in np.unique(array)}


def _extents(mask: Array, order: tuple[int, ...]) -> dict[int, Extent]:
    from scipy.ndimage import find_objects

    if mask.dtype == np.uint8:  # counting is faster than sorting
        counts, boxes = np.bincount(mask.reshape(-1)), find_objects(mask)
        present = (np.flatnonzero(counts[1:]) + 1).tolist()
        return {
            n: Extent(int(counts[n]), tuple(boxes[n - 1][a].stop - boxes[n - 1][a].start for a in order))
            for n in present
        }
    values, counts = np.unique(mask, return_counts=True)
    ranked = np.searchsorted(values, mask).astype(np.int32) + 1  # find_objects leaves out 0
    boxes = find_objects(ranked, max_label=len(values))
    return {
        int(value): Extent(int(count), tuple(box[a].stop - box[a].start for a in order))
        for value, count, box in zip(values, counts, boxes, strict=True)
        if value != 0 and box is not None
    }


def _colourful(array: Array) -> bool:
    if array.shape[0] != 3:
        return False
    pixels = array.reshape(3, -1).astype(np.float32)
    span = float(np.ptp(pixels))
    return span > 0 and float((pixels.max(axis=0) - pixels.min(axis=0)).mean()) > _COLOURFUL * span


def _digest(case: Case) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, image in case.study.images.items():
        digest.update(f"{name}{image.array.shape}{image.array.dtype}".encode())
        digest.update(np.ascontiguousarray(image.array).tobytes())
    return digest.hexdigest()


def _samples(case: Case, mask: Array | None, most: int) -> dict[str, ChannelSample]:
    """A sample of ``most`` voxels that depends on the case's name only."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(case.record.name.encode()).digest()[:8], "big"))
    inside = None if mask is None else np.flatnonzero(mask)
    samples = {}
    for name, image in case.study.images.items():
        flat = to_colours(image.array, 1).reshape(-1)
        everywhere = flat[_some(len(flat), most, rng)].astype(np.float32)
        foreground = everywhere if inside is None else flat[inside[_some(len(inside), most, rng)]].astype(np.float32)
        samples[name] = ChannelSample(float(flat.min()), float(flat.max()), everywhere, foreground)
    return samples


def _some(count: int, most: int, rng: np.random.Generator) -> Array:
    return np.arange(count) if count <= most else rng.integers(0, count, most)


def _thumbnail(image: Image, order: tuple[int, ...], flips: tuple[bool, ...]) -> Array:
    """(16, 16[, 16]) float32 in the working orientation, of mean 0 and standard deviation 1."""
    grey = to_colours(image.array, 1)
    step = tuple(slice(None, None, max(1, n // (4 * THUMBNAIL))) for n in grey.shape[1:])
    grey = grey[(slice(None), *step)]
    if len(order) == 3:
        grey, _ = flip_and_permute(grey, np.eye(4), (order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))
    small = resample(grey, (THUMBNAIL,) * len(order))[0]
    result: Array = (small - small.mean()) / max(float(small.std()), 1e-6)
    return result
