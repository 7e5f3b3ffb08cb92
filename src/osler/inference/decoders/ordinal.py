"""One of several ascending grades: the median one."""

from __future__ import annotations

import numpy as np

from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace
from osler.inference.decoders.base import Decoded, Decoder, label_findings, label_row
from osler.models.folder import Calibration
from osler.studies.geometry import Array

__all__ = ["OrdinalDecoder"]

_ROUNDING = 1e-6  # float32 probabilities sum to one within this


class OrdinalDecoder(Decoder):
    """A finding per grade with its probability. The answer is the median grade: the lowest at which the cumulative
    probability reaches one half, that is, how many of the questions "higher than this grade?" are answered with yes.
    """

    def decode(self, output: Array, trace: Trace, plan: Plan, calibration: Calibration) -> Decoded:
        """See ``Decoder.decode``; ``output`` is (grades,)."""
        values = [float(p) for p in output]
        answer = plan.labels.names[int((np.cumsum(output)[:-1] < 0.5 - _ROUNDING).sum())]
        row = label_row(answer, values, plan.labels.names)
        return Decoded(answer, label_findings(values, plan.labels.labels, calibration), row=row)
