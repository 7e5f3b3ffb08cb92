"""Any subset of several labels: those that are at least as probable as not."""

from __future__ import annotations

from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace
from osler.inference.decoders.base import THRESHOLD, Decoded, Decoder, label_findings, label_row
from osler.models.folder import Calibration
from osler.studies.geometry import Array

__all__ = ["MultilabelDecoder"]


class MultilabelDecoder(Decoder):
    """A finding per label with its probability; the answer lists those from 0.5 upwards, in the order of the labels."""

    def decode(self, output: Array, trace: Trace, plan: Plan, calibration: Calibration) -> Decoded:
        """See ``Decoder.decode``; ``output`` is (labels,)."""
        values = [float(p) for p in output]
        present = [name for name, p in zip(plan.labels.names, values, strict=True) if p >= THRESHOLD]
        row = label_row(";".join(present), values, plan.labels.names)
        return Decoded(present, label_findings(values, plan.labels.labels, calibration), row=row)
