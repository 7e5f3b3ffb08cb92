"""``Finding``: what was seen in a study, coded, with its probability, place and measurements."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["SCHEMA_VERSION", "Concept", "Finding", "Findings", "Measurement", "Region"]

SCHEMA_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Concept(_Frozen):
    """A coded concept. Without a code the name stands for itself and ``system`` is empty."""

    name: str
    code: str = ""
    system: str = ""


class Measurement(_Frozen):
    """A number with its UCUM unit (``mm3``, ``mm``, ``{pixels}``) and, where known, a 95 % interval."""

    name: str
    value: float
    unit: str
    interval: tuple[float, float] | None = None


class Region(_Frozen):
    """Where: a value in the study's mask file, a box, or both.

    ``box`` is (lowest, highest) voxel index, inclusive, on the source grid, in (I, J[, K]) order;
    ``centroid_mm`` is in RAS+ millimetres, None where the spacing is unknown.
    """

    kind: Literal["mask", "box", "image"]
    mask_value: int | None = None
    box: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    centroid_mm: tuple[float, float, float] | None = None
    voxels: int | None = None


class Finding(_Frozen):
    """One thing that was seen. ``probability`` is calibrated when ``calibrated`` is true."""

    concept: Concept
    probability: float | None = None
    calibrated: bool = False
    region: Region | None = None
    measurements: tuple[Measurement, ...] = ()
    uncertainty: float | None = None
    evidence: dict[str, str] = {}


class Findings(_Frozen):
    """All findings of one study, as written to ``findings.json``. ``notes`` are what the reader should check."""

    schema_version: int = SCHEMA_VERSION
    study: str
    model: str
    task: str
    answer: str | float | list[str] | None = None
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    not_a_medical_device: str = "Research use only. Not a medical device; not for diagnosis or treatment."
