"""A label per voxel: the mask on the source grid and a finding per label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace, restore_labels
from osler.findings.finding import Concept, Finding, Measurement, Region
from osler.inference.decoders.base import Cell, Decoded, Decoder, concept_of
from osler.models.folder import Calibration
from osler.studies.geometry import Array, volume_per_voxel

__all__ = ["SegmentDecoder", "Size", "size_of"]


@dataclass(frozen=True)
class Size:
    """How large one voxel is: ``amount`` of ``unit`` (UCUM); ``column`` begins the column's name in the summary."""

    name: str
    column: str
    unit: str
    amount: float


def size_of(trace: Trace) -> Size:
    """Volume of a voxel in mm3, area of a pixel in mm2, or a count where the spacing is unknown."""
    flat = len(trace.source_shape) == 2
    name, column = "area" if flat else "volume", _column(flat, known=trace.spacing_known)
    if not trace.spacing_known:
        return Size(name, column, "{pixels}" if flat else "{voxels}", 1.0)
    if flat:
        along_i, along_j = trace.source_affine[:3, 0], trace.source_affine[:3, 1]
        return Size(name, column, "mm2", float(np.linalg.norm(np.cross(along_i, along_j))))
    return Size(name, column, "mm3", volume_per_voxel(trace.source_affine))


def _column(flat: bool, *, known: bool) -> str:
    if flat:
        return "area_mm2" if known else "area_px"
    return "volume_mm3" if known else "volume_px"


@dataclass(frozen=True)
class _Structure:
    """What one finding is about: a label, or a region of several values of the mask."""

    concept: Concept
    values: tuple[int, ...]


class SegmentDecoder(Decoder):
    """A finding per label, or per region where structures overlap. One that is absent is stated too: its volume is 0,
    it has no region and no probability.

    A label's probability is the mean over the voxels in which it won, on the working grid; a region's over those in
    which it is above one half.
    """

    def decode(self, probabilities: Array, trace: Trace, plan: Plan, calibration: Calibration) -> Decoded:
        """See ``Decoder.decode``; ``probabilities`` is (1 + labels, \\*trace.padded_shape), background first; of
        regions (regions, ...)."""
        mask = restore_labels(probabilities, trace, plan.labels, regions=plan.regions)
        inside = probabilities[(slice(None), *trace.inside)]
        means = _mean_of_regions(inside) if plan.regions else _mean_probabilities(inside)[1:]
        size = size_of(trace)
        findings = tuple(
            _finding(structure, mask, mean, trace, size, calibration)
            for structure, mean in zip(_structures(plan), means, strict=True)
        )
        names = _names(plan)
        row: dict[str, Cell] = {
            f"{size.column}_{name}": finding.measurements[0].value
            for name, finding in zip(names, findings, strict=True)
        }
        present = [name for name, finding in zip(names, findings, strict=True) if finding.region is not None]
        return Decoded(present, findings, mask, row)

    def columns(self, plan: Plan) -> tuple[str, ...]:
        """See ``Decoder.columns``."""
        known = plan.grid.spacing_known
        flat = plan.dimensions == 2
        return tuple(f"{_column(flat, known=not flat if known is None else known)}_{n}" for n in _names(plan))


def _names(plan: Plan) -> tuple[str, ...]:
    return tuple(region.name for region in plan.regions) or plan.labels.names


def _structures(plan: Plan) -> tuple[_Structure, ...]:
    if plan.regions:
        return tuple(_Structure(Concept(name=region.name), region.values) for region in plan.regions)
    return tuple(_Structure(concept_of(label), (label.value,)) for label in plan.labels.labels)


def _mean_probabilities(inside: Array) -> list[float]:
    """(O, \\*S) to the mean probability of each output where it is the largest, plane by plane, so that nothing of the
    study's size is allocated; its highest probability where it is the largest nowhere (resampling made it win)."""
    outputs = len(inside)
    total, voxels = np.zeros(outputs), np.zeros(outputs)
    for plane in range(inside.shape[1]):
        winner = inside[:, plane].argmax(axis=0).ravel()
        total += np.bincount(winner, weights=inside[:, plane].max(axis=0).ravel(), minlength=outputs)
        voxels += np.bincount(winner, minlength=outputs)
    return [float(total[n] / voxels[n]) if voxels[n] else float(inside[n].max()) for n in range(outputs)]


def _mean_of_regions(inside: Array) -> list[float]:
    """(regions, \\*S) to the mean probability of each where it is above one half; its highest where it is nowhere."""
    total, voxels = np.zeros(len(inside)), np.zeros(len(inside))
    for plane in range(inside.shape[1]):
        for n, here in enumerate(inside[:, plane]):
            above = here[here > 0.5]
            total[n] += above.sum(dtype=np.float64)
            voxels[n] += above.size
    return [float(total[n] / voxels[n]) if voxels[n] else float(inside[n].max()) for n in range(len(inside))]


def _finding(
    structure: _Structure, mask: Array, probability: float, trace: Trace, size: Size, calibration: Calibration
) -> Finding:
    here = mask == structure.values[0] if len(structure.values) == 1 else np.isin(mask, structure.values)
    region = _region(here, structure.values[0] if len(structure.values) == 1 else None, trace)
    voxels = 0 if region is None or region.voxels is None else region.voxels
    return Finding(
        concept=structure.concept,
        probability=None if region is None else probability,
        calibrated=region is not None and calibration.cases > 0,
        region=region,
        measurements=(Measurement(name=size.name, value=voxels * size.amount, unit=size.unit),),
    )


def _region(here: Array, value: int | None, trace: Trace) -> Region | None:
    """Box, centroid and size of a boolean array on the source grid; None when it is empty. ``value`` is that of the
    mask; None for a region of several."""
    profiles = [
        np.count_nonzero(here, axis=tuple(other for other in range(here.ndim) if other != axis))
        for axis in range(here.ndim)
    ]
    voxels = int(profiles[0].sum())
    if voxels == 0:
        return None
    occupied = [np.flatnonzero(profile) for profile in profiles]
    centre = [float(np.arange(len(p)) @ p) / voxels for p in profiles]
    homogeneous = np.array([*centre, *([0.0] * (3 - here.ndim)), 1.0])
    x, y, z = (float(v) for v in (trace.source_affine @ homogeneous)[:3])
    return Region(
        kind="mask",
        mask_value=value,
        box=(tuple(int(o[0]) for o in occupied), tuple(int(o[-1]) for o in occupied)),
        centroid_mm=(x, y, z) if trace.spacing_known else None,
        voxels=voxels,
    )
