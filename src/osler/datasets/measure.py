"""``measure``: a dataset's ``Fingerprint`` from its training cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.datasets.fingerprint import ChannelStatistics, Fingerprint, LabelStatistics
from osler.datasets.manifest import Record
from osler.datasets.survey import look_at_all
from osler.errors import TooFew
from osler.progress import CancelToken, Progress, Silent
from osler.studies.geometry import Array

__all__ = ["MOST_READ", "choose", "fingerprint_of", "measure"]

MOST_READ = 1000
"""Cases that are read at most; of more, a seeded sample."""
_IN_COLOUR = 0.1
"""Share of colourful images from which the dataset is one of colour pictures."""


def measure(
    dataset: Dataset,
    records: Sequence[Record],
    *,
    limit: int = 200,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
    workers: int = 0,
) -> Fingerprint:
    """Read the cases and sum them up.

    Shapes, spacings and sizes of labels come from all cases, or from a seeded sample of ``MOST_READ`` (which is said);
    classes are counted over all records.

    Args:
        dataset: loads the cases.
        records: the training cases.
        limit: cases whose intensities are sampled (seeded).
        progress: gets the stage "measure", in cases.
        cancel: looked at between cases.
        workers: threads or processes; 0 takes one per processor, at most 4.

    Raises:
        TooFew: when no case can be used.
        Cancelled: when asked to stop.
    """
    progress = progress or Silent()
    read = choose(records, MOST_READ)
    if len(read) < len(records):
        progress.say(f"measured on {len(read)} of {len(records)} training cases, drawn at random (seeded)")
    sampled = {record.name for record in choose(read, limit)}

    facts, errors = look_at_all(
        dataset, read, "measure", sampled=sampled, progress=progress, workers=workers, cancel=cancel
    )
    return fingerprint_of(dataset, records, facts, [(name, str(error)) for name, error in errors.items()])


def choose(records: Sequence[Record], count: int) -> list[Record]:
    """At most ``count`` records, drawn with a fixed seed, in their order."""
    if len(records) <= count:
        return list(records)
    chosen = np.sort(np.random.default_rng(0).permutation(len(records))[:count])
    return [records[n] for n in chosen]


def fingerprint_of(
    dataset: Dataset,
    records: Sequence[Record],
    facts: Sequence[CaseFacts],
    unreadable: Sequence[tuple[str, str]] = (),
) -> Fingerprint:
    """Sum up what was seen; a pure function. Cases that cannot be prepared are listed as unreadable.

    Args:
        dataset: names the labels and channels.
        records: the training cases.
        facts: of those that were read.
        unreadable: name and reason of those that could not be.

    Raises:
        TooFew: when no case can be used.
    """
    unusable = list(unreadable)
    unusable += [(f.name, "; ".join(fault.text for fault in f.faults)) for f in facts if not f.usable]
    usable = [f for f in facts if f.usable]
    dimensions = _usual([len(f.shape) for f in usable])
    unusable += [(f.name, f"{len(f.shape)}D, most are {dimensions}D") for f in usable if len(f.shape) != dimensions]
    usable = [f for f in usable if len(f.shape) == dimensions]
    if not usable:
        reason = f"; the first: {unusable[0][1].rstrip('.')}" if unusable else ""
        raise TooFew(f"none of the {len(records)} training cases can be used{reason}", remedy="repair the data")
    shapes, spacings = np.array([f.shape for f in usable]), np.array([f.spacing for f in usable])
    targets = [float(r.target) for r in records if isinstance(r.target, int | float)]
    number = dataset.labels.kind == "number" and targets
    return Fingerprint(
        name=dataset.manifest.name,
        cases=len(records),
        patients=_patients(records),
        dimensions=dimensions,
        modality=_modality(dataset, usable),
        spacing_known=all(f.spacing_known for f in usable),
        units=_units(dataset, usable),
        colours=3 if sum(f.colourful for f in usable) >= _IN_COLOUR * len(usable) else 1,
        labels=dataset.labels,
        channels=_channels(dataset, usable),
        median_shape=tuple(np.median(shapes, axis=0).tolist()),
        minimum_shape=tuple(shapes.min(axis=0).tolist()),
        maximum_shape=tuple(shapes.max(axis=0).tolist()),
        median_spacing=tuple(np.median(spacings, axis=0).tolist()),
        minimum_spacing=tuple(spacings.min(axis=0).tolist()),
        maximum_spacing=tuple(spacings.max(axis=0).tolist()),
        orientations=dict(Counter(f.codes for f in usable if f.codes).most_common()),
        label_statistics=_label_statistics(dataset, records, usable),
        target_mean=float(np.mean(targets)) if number else 0.0,
        target_std=float(np.std(targets)) if number else 1.0,
        symmetry=_symmetry([f.thumbnail for f in usable if f.thumbnail is not None]),
        unreadable=tuple(unusable),
    )


def _usual(values: Sequence[int]) -> int:
    return Counter(values).most_common(1)[0][0] if values else 0


def _patients(records: Sequence[Record]) -> int | None:
    return len({record.patient for record in records if record.patient is not None}) or None


def _modality(dataset: Dataset, facts: Sequence[CaseFacts]) -> str:
    """What the dataset says, else what all files say, else CT when all are in Hounsfield units, else nothing."""
    if dataset.manifest.modality:
        return dataset.manifest.modality
    modalities = {f.modality for f in facts}
    if len(modalities) == 1 and modalities != {""}:
        return modalities.pop()
    return "CT" if all(f.units == "HU" for f in facts) else ""


def _units(dataset: Dataset, facts: Sequence[CaseFacts]) -> str:
    """HU when each file says so; a NIfTI file cannot, so there the dataset's word (modality CT) counts."""
    stated = dataset.manifest.modality == "CT"
    return "HU" if all(f.units == "HU" or (stated and f.format == "nifti") for f in facts) else ""


def _channels(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[ChannelStatistics, ...]:
    result = []
    for name in dataset.manifest.channels:
        samples = [f.samples[name] for f in facts if name in f.samples]
        everywhere = np.concatenate([s.everywhere for s in samples]).astype(np.float64)
        inside = np.concatenate([s.foreground for s in samples]).astype(np.float64)
        foreground = inside if len(inside) else everywhere
        low, middle, high = np.percentile(everywhere, (0.5, 50, 99.5))
        statistics = ChannelStatistics(
            name=name,
            minimum=min(s.minimum for s in samples),
            maximum=max(s.maximum for s in samples),
            mean=float(everywhere.mean()),
            std=float(everywhere.std()),
            percentile_00_5=float(low),
            percentile_50=float(middle),
            percentile_99_5=float(high),
            foreground_mean=float(foreground.mean()),
            foreground_std=float(foreground.std()),
            foreground_percentile_00_5=float(np.percentile(foreground, 0.5)),
            foreground_percentile_99_5=float(np.percentile(foreground, 99.5)),
        )
        result.append(statistics)
    return tuple(result)


def _label_statistics(
    dataset: Dataset, records: Sequence[Record], facts: Sequence[CaseFacts]
) -> tuple[LabelStatistics, ...]:
    if dataset.labels.kind != "mask":
        counts = _target_counts(records, len(dataset.labels.labels))
        return tuple(LabelStatistics(name=n, cases=c) for n, c in zip(dataset.labels.names, counts, strict=True))
    result = []
    for label in dataset.labels.labels:
        found = [(f.extents[label.value], int(np.prod(f.shape))) for f in facts if label.value in f.extents]
        if not found:
            result.append(LabelStatistics(name=label.name, cases=0))
            continue
        statistics = LabelStatistics(
            name=label.name,
            cases=len(found),
            fraction=float(np.mean([extent.voxels / size for extent, size in found])),
            median_voxels=float(np.median([extent.voxels for extent, _ in found])),
            median_extent=tuple(np.median([extent.box for extent, _ in found], axis=0).tolist()),
        )
        result.append(statistics)
    return tuple(result)


def _target_counts(records: Sequence[Record], labels: int) -> list[int]:
    """Cases per label: of the class, of the grade, or of each label that is present."""
    counts = [0] * labels
    for record in records:
        target = record.target
        if isinstance(target, tuple):
            for index, value in enumerate(target):
                counts[index] += value == 1
        elif isinstance(target, int) and labels:
            counts[target] += 1
    return counts


def _symmetry(thumbnails: Sequence[Array]) -> tuple[float, ...]:
    """See ``Fingerprint``; () for fewer than two studies."""
    if len(thumbnails) < 2:
        return ()
    stack = np.stack(thumbnails)  # (cases, 16, 16[, 16]) float32
    spread = float(np.sqrt(stack.var(axis=0, ddof=1, dtype=np.float64).sum()))
    result = []
    for axis in range(1, stack.ndim):
        differences = stack - np.flip(stack, axis)
        # Few studies differ from their mirror image by chance: what chance explains is taken off.
        chance = differences.var(axis=0, ddof=1, dtype=np.float64).sum() / len(stack)
        apart = max(0.0, float((differences.mean(axis=0, dtype=np.float64) ** 2).sum() - chance))
        result.append(float(np.sqrt(apart)) / spread if spread > 0 else 0.0)
    return tuple(result)
