"""``Histogram``: how what was measured on the cases is spread: intensities, shapes, spacings, sizes, numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.studies.geometry import Array

__all__ = ["Histogram", "Quantity", "column_histogram", "distributions_of", "label_size"]

Quantity = Literal["intensity", "shape", "spacing", "size", "answer", "column"]
_BINS = 48
_FEWEST_BINS = 8
_WIDE: dict[Quantity, float] = {"intensity": 1000.0}
"""Largest over smallest value shown from which the bins grow by a factor instead of a step: 100 for all else."""
_RAS = ("left to right", "back to front", "foot to head")
_PICTURE = ("width", "height")
_INDEX = ("axis I", "axis J", "axis K")


class Histogram(BaseModel):
    """Counts in bins that all series share.

    Args:
        quantity: what kind of thing was measured.
        name: of what, e.g. the channel, the axis or the label.
        unit: of the edges, for people; "" when there is none.
        edges: of the bins, ascending, one more than there are bins; a bin holds its lower edge.
        counts: per series ("everywhere", "inside the masks", or "cases"), one per bin.
        logarithmic: each bin is wider than the one before by the same factor.
        outside: values of all series that lie outside the edges.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    quantity: Quantity
    name: str
    unit: str = ""
    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    logarithmic: bool = False
    outside: int = 0


def distributions_of(dataset: Dataset, facts: Sequence[CaseFacts]) -> tuple[Histogram, ...]:
    """Everything that varies among the usable cases, with an entry per channel, axis and label; a pure function.

    Intensities come from the cases whose intensities were sampled. What is the same in all cases has no entry.
    """
    usable = [fact for fact in facts if fact.usable]
    found = [
        *_intensities(dataset, usable),
        *_geometry(usable, "shape"),
        *_geometry(usable, "spacing"),
        *_sizes(dataset, usable),
        *_answers(dataset),
    ]
    return tuple(histogram for histogram in found if histogram is not None)


def column_histogram(name: str, series: Mapping[str, Array]) -> Histogram | None:
    """Of a column of numbers in several tables; what lies beyond the thousandths counts as outside.

    Args:
        name: of the column.
        series: (N,) finite values by table.
    """
    everything = np.concatenate(list(series.values()))
    if not everything.size:
        return None
    low, high = np.percentile(everything, (0.1, 99.9)).tolist()
    bins = max(_FEWEST_BINS, min(_BINS // 2, math.ceil(2 * everything.size ** (1 / 3))))
    return _histogram("column", name, "", series, (low, high), bins=bins)


def label_size(fact: CaseFacts, value: int) -> tuple[float, str]:
    """The size of one label in one case with its unit: mm³ or mm², voxels or pixels where spacing is unknown."""
    extent = fact.extents.get(value)
    voxels = 0 if extent is None else extent.voxels
    if not fact.spacing_known:
        return float(voxels), "voxels" if len(fact.shape) == 3 else "pixels"
    return voxels * math.prod(fact.spacing), "mm³" if len(fact.shape) == 3 else "mm²"


def _intensities(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Histogram | None]:
    """The tails beyond the thousandths of each series would squeeze the rest together; they count as outside."""
    units = {fact.units for fact in facts}
    unit = units.pop() if len(units) == 1 else ""
    found = []
    for name in dataset.manifest.channels:
        samples = [fact.samples[name] for fact in facts if name in fact.samples]
        if not samples:
            continue
        series = {"everywhere": np.concatenate([sample.everywhere for sample in samples])}
        if dataset.labels.kind == "mask":
            series["inside the masks"] = np.concatenate([sample.foreground for sample in samples])
        low, high = np.percentile(series["everywhere"], (0.1, 99.9))
        found.append(_histogram("intensity", name, unit, series, (float(low), float(high)), bins=_BINS))
    return found


def _geometry(facts: Sequence[CaseFacts], quantity: Literal["shape", "spacing"]) -> list[Histogram | None]:
    if quantity == "spacing":
        facts = [fact for fact in facts if fact.spacing_known]
    found = []
    for dimensions in sorted({len(fact.shape) for fact in facts}):
        alike = [fact for fact in facts if len(fact.shape) == dimensions]
        unit = "mm" if quantity == "spacing" else "voxels" if dimensions == 3 else "pixels"
        names = _PICTURE if dimensions == 2 else _RAS if all(fact.codes for fact in alike) else _INDEX
        for axis, name in enumerate(names):
            values = np.array([getattr(fact, quantity)[axis] for fact in alike], dtype=np.float64)
            found.append(_of_cases(quantity, name, unit, values))
    return found


def _sizes(dataset: Dataset, facts: Sequence[CaseFacts]) -> list[Histogram | None]:
    if dataset.labels.kind != "mask":
        return []
    found = []
    for label in dataset.labels.labels:
        sizes = [label_size(fact, label.value) for fact in facts if label.value in fact.extents]
        for unit in sorted({unit for _, unit in sizes}):
            values = np.array([size for size, one in sizes if one == unit])
            found.append(_of_cases("size", label.name, unit, values))
    return found


def _answers(dataset: Dataset) -> list[Histogram | None]:
    if dataset.labels.kind != "number":
        return []
    values = [float(record.target) for record in dataset.records if isinstance(record.target, int | float)]
    return [_of_cases("answer", dataset.labels.name, dataset.labels.unit, np.array(values))] if values else []


def _of_cases(quantity: Quantity, name: str, unit: str, values: Array) -> Histogram | None:
    """One value per case, all of them shown; None when they are all the same."""
    bins = max(_FEWEST_BINS, min(_BINS // 2, math.ceil(2 * len(values) ** (1 / 3))))  # the rule of Rice
    return _histogram(quantity, name, unit, {"cases": values}, (float(values.min()), float(values.max())), bins=bins)


def _histogram(
    quantity: Quantity, name: str, unit: str, series: Mapping[str, Array], limits: tuple[float, float], *, bins: int
) -> Histogram | None:
    low, high = limits
    if not high > low:
        return None
    logarithmic = low > 0 and high / low > _WIDE.get(quantity, 100.0)
    edges = np.geomspace(low, high, bins + 1) if logarithmic else _even_edges(series, low, high, bins)
    counts = {key: np.histogram(values, edges)[0] for key, values in series.items()}
    total = sum(len(values) for values in series.values())
    return Histogram(
        quantity=quantity,
        name=name,
        unit=unit,
        edges=tuple(edges.tolist()),
        counts={key: tuple(values.tolist()) for key, values in counts.items()},
        logarithmic=logarithmic,
        outside=total - sum(int(values.sum()) for values in counts.values()),
    )


def _even_edges(series: Mapping[str, Array], low: float, high: float, bins: int) -> Array:
    """Bins of one width; for whole numbers each holds the same count of them, or a comb would show."""
    if any(bool((values != np.floor(values)).any()) for values in series.values()):
        return np.linspace(low, high, bins + 1)
    first, count = math.floor(low), math.ceil(high) - math.floor(low) + 1
    width = math.ceil(count / bins)
    return np.asarray(np.arange(math.ceil(count / width) + 1) * width + first - 0.5)
