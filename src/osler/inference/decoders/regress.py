"""A number with its 95 % prediction interval."""

from __future__ import annotations

from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace
from osler.findings.finding import Concept, Finding, Measurement
from osler.inference.decoders.base import Cell, Decoded, Decoder, Whole
from osler.models.folder import Calibration
from osler.studies.geometry import Array

__all__ = ["RegressDecoder"]


class RegressDecoder(Decoder):
    """One finding whose measurement is the number; without a calibrated interval ``low`` and ``high`` stay empty."""

    def decode(self, output: Array, trace: Trace, plan: Plan, calibration: Calibration) -> Decoded:
        """See ``Decoder.decode``; ``output`` is (1,), the number itself in the unit of the labels."""
        value = float(output[0])
        half = calibration.half_width
        interval = None if half is None else (value - half, value + half)
        measurement = Measurement(name=plan.labels.name, value=value, unit=plan.labels.unit or "1", interval=interval)
        finding = Finding(
            concept=Concept(name=plan.labels.name),
            calibrated=interval is not None,
            region=Whole,
            measurements=(measurement,),
        )
        low, high = interval or ("", "")
        row: dict[str, Cell] = {"value": value, "low": low, "high": high}
        return Decoded(value, (finding,), row=row)

    def columns(self, plan: Plan) -> tuple[str, ...]:
        """See ``Decoder.columns``."""
        return ("value", "low", "high")
