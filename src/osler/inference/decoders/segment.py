"""A label per voxel: the mask on the source grid and a finding per label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace
from osler.findings.finding import Concept, Finding, Measurement, Region
from osler.inference.decoders.base import Cell, Decoded, Decoder, concept_of
from osler.inference.labelled import LabelCount, Labelled, as_labelled
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


class SegmentDecoder(Decoder):
    """A finding per label, or per region where structures overlap. One that is absent is stated too: its volume is 0,
    it has no region and no probability.

    A label's probability is the mean over the voxels in which it won, on the working grid; a region's over those in
    which it is above one half.
    """

    def decode(self, output: Array | Labelled, trace: Trace, plan: Plan, calibration: Calibration) -> Decoded:
        """See ``Decoder.decode``; probabilities are (1 + labels, \\*trace.padded_shape), background first; of regions
        (regions, ...)."""
        labelled = as_labelled(output, trace, plan.labels, regions=plan.regions)
        size = size_of(trace)
        findings = tuple(
            _finding(concept, value, count, trace, size, calibration)
            for (concept, value), count in zip(_structures(plan), labelled.counts, strict=True)
        )
        names = _names(plan)
        row: dict[str, Cell] = {
            f"{size.column}_{name}": finding.measurements[0].value
            for name, finding in zip(names, findings, strict=True)
        }
        present = [name for name, finding in zip(names, findings, strict=True) if finding.region is not None]
        notes = () if labelled.windows is None else labelled.windows.notes()
        return Decoded(present, findings, labelled.mask, row, notes)

    def columns(self, plan: Plan) -> tuple[str, ...]:
        """See ``Decoder.columns``."""
        known = plan.grid.spacing_known
        flat = plan.dimensions == 2
        return tuple(f"{_column(flat, known=not flat if known is None else known)}_{n}" for n in _names(plan))


def _names(plan: Plan) -> tuple[str, ...]:
    return tuple(region.name for region in plan.regions) or plan.labels.names


def _structures(plan: Plan) -> tuple[tuple[Concept, int | None], ...]:
    """What each finding is about, and its value in the mask; None of a region of several values."""
    if plan.regions:
        regions = plan.regions
        return tuple((Concept(name=r.name), r.values[0] if len(r.values) == 1 else None) for r in regions)
    return tuple((concept_of(label), label.value) for label in plan.labels.labels)


def _finding(
    concept: Concept, value: int | None, count: LabelCount, trace: Trace, size: Size, calibration: Calibration
) -> Finding:
    region = _region(count.profiles, value, trace)
    voxels = 0 if region is None or region.voxels is None else region.voxels
    return Finding(
        concept=concept,
        probability=None if region is None else count.probability,
        calibrated=region is not None and calibration.cases > 0,
        region=region,
        measurements=(Measurement(name=size.name, value=voxels * size.amount, unit=size.unit),),
    )


def _region(profiles: Sequence[Array], value: int | None, trace: Trace) -> Region | None:
    """Box, centroid and size of a label on the source grid; None when it is absent."""
    voxels = int(profiles[0].sum())
    if voxels == 0:
        return None
    occupied = [np.flatnonzero(profile) for profile in profiles]
    centre = [float(np.arange(len(p)) @ p) / voxels for p in profiles]
    homogeneous = np.array([*centre, *([0.0] * (3 - len(profiles))), 1.0])
    x, y, z = (float(v) for v in (trace.source_affine @ homogeneous)[:3])
    return Region(
        kind="mask",
        mask_value=value,
        box=(tuple(int(o[0]) for o in occupied), tuple(int(o[-1]) for o in occupied)),
        centroid_mm=(x, y, z) if trace.spacing_known else None,
        voxels=voxels,
    )
