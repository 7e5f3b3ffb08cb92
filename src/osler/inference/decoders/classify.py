"""One of several classes: the most probable one."""

from __future__ import annotations

from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace
from osler.inference.decoders.base import Decoded, Decoder, label_findings, label_row
from osler.models.folder import Calibration
from osler.studies.geometry import Array

__all__ = ["ClassifyDecoder"]


class ClassifyDecoder(Decoder):
    """A finding per class with its probability; the answer is the most probable class, the first one on a tie."""

    def decode(self, output: Array, trace: Trace, plan: Plan, calibration: Calibration) -> Decoded:
        """See ``Decoder.decode``; ``output`` is (classes,)."""
        values = [float(p) for p in output]
        answer = plan.labels.names[int(output.argmax())]
        row = label_row(answer, values, plan.labels.names)
        return Decoded(answer, label_findings(values, plan.labels.labels, calibration), row=row)
