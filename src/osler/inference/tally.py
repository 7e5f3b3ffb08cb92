"""What compiled forms of a model score on labelled cases, counted case by case; no mask is kept."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from osler.datasets.manifest import Target
from osler.datasets.plan import Plan
from osler.datasets.preparation import Prepared, restore_labels
from osler.errors import Unsuitable
from osler.metrics.calibration import CalibrationTally
from osler.metrics.ranking import auc
from osler.metrics.segmentation import dice
from osler.models.parity import Scores
from osler.studies.geometry import Array

__all__ = ["Case", "Tally", "make_tally"]

_CERTAIN = 0.999
"""Voxels that the reference is this certain are background would drown all others in a calibration error."""
_SAME_NUMBER = 0.01  # standard deviations of the training answers


@dataclass(frozen=True)
class Case:
    """A prepared study and its answer: ``target``, or of masks ``mask`` (I, J[, K]) with the values of the files on the
    source grid and ``classes``, class indices on the prepared grid."""

    prepared: Prepared
    target: Target | None = None
    mask: Array | None = None
    classes: Array | None = None


class Tally(ABC):
    """The story: ``add`` is called once per case with what the reference and one form answered, then ``scores`` and
    ``same_labels`` are read."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @abstractmethod
    def add(self, case: Case, reference: Array, answer: Array) -> None:
        """One case; both answers as ``Predictor.predict`` gives them."""

    @abstractmethod
    def scores(self) -> Scores:
        """Against the truth."""

    @abstractmethod
    def same_labels(self) -> float:
        """Share of labels equal to the reference's, 0 to 1; 1 when there is none."""


def make_tally(plan: Plan) -> Tally:
    """The tally of a plan's task."""
    if plan.task == "segment":
        return _Masks(plan)
    return _Numbers(plan) if plan.task == "regress" else _Classes(plan)


class _Masks(Tally):
    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._dice: list[float] = []
        self._calibration = CalibrationTally()
        self._same, self._foreground = 0, 0

    def add(self, case: Case, reference: Array, answer: Array) -> None:
        if case.mask is None or case.classes is None:
            raise Unsuitable("a case without a mask cannot be compared", remedy="check the labels of the data")
        trace, labels, regions = case.prepared.trace, self.plan.labels, self.plan.regions
        expected = restore_labels(reference, trace, labels, regions=regions)
        found = expected if answer is reference else restore_labels(answer, trace, labels, regions=regions)
        either = (expected != 0) | (found != 0)
        self._same += int((expected == found)[either].sum())
        self._foreground += int(either.sum())
        self._dice += [dice(case.mask == value, found == value) for value in labels.values]
        inside = (slice(None), *trace.inside)
        self._count(case.classes[trace.inside], reference[inside], answer[inside])

    def _count(self, classes: Array, reference: Array, answer: Array) -> None:
        """(\\*S) class indices and (O, \\*S) probabilities."""
        if self.plan.regions:
            values = np.array([0, *self.plan.labels.values])[classes]
            for region, sure, p in zip(self.plan.regions, reference, answer, strict=True):
                counted = sure > 1 - _CERTAIN
                self._calibration.add(p[counted], np.isin(values, region.values)[counted])
            return
        counted = reference[0] < _CERTAIN
        p = answer[:, counted]
        self._calibration.add(p.max(axis=0), p.argmax(axis=0) == classes[counted])

    def scores(self) -> Scores:
        defined = [value for value in self._dice if not math.isnan(value)]
        return Scores(dice=float(np.mean(defined)) if defined else None, ece=_number_or_none(self._calibration.value()))

    def same_labels(self) -> float:
        return self._same / self._foreground if self._foreground else 1.0


class _Classes(Tally):
    """One of several classes or grades, or several labels at once."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._reference: list[Array] = []
        self._answers: list[Array] = []
        self._truths: list[Array] = []

    def add(self, case: Case, reference: Array, answer: Array) -> None:
        self._reference.append(reference)
        self._answers.append(answer)
        self._truths.append(self._truth(case.target, len(answer)))

    def _truth(self, target: Target | None, labels: int) -> Array:
        """(L,) of 0, 1 and NaN where it is not known."""
        if isinstance(target, tuple):
            return np.array([np.nan if value is None else value for value in target], float)
        if isinstance(target, int):
            return np.asarray(np.arange(labels) == target, float)
        raise Unsuitable(f"the answer {target!r} does not fit the task {self.plan.task}", remedy="check the labels")

    def scores(self) -> Scores:
        p, truth = np.stack(self._answers), np.stack(self._truths)
        known = ~np.isnan(truth)
        areas = [auc(t[k], s[k]) for t, s, k in zip(truth.T, p.T, known.T, strict=True) if k.any()]
        defined = [area for area in areas if not math.isnan(area)]
        return Scores(auc=float(np.mean(defined)) if defined else None, ece=self._ece(p, truth, known))

    def _ece(self, p: Array, truth: Array, known: Array) -> float | None:
        if self.plan.task == "multilabel":
            each = [_ece(s[k], t[k]) for t, s, k in zip(truth.T, p.T, known.T, strict=True)]
            defined = [value for value in each if not math.isnan(value)]
            return float(np.mean(defined)) if defined else None
        return _number_or_none(_ece(p.max(axis=1), p.argmax(axis=1) == truth.argmax(axis=1)))

    def same_labels(self) -> float:
        expected, found = np.stack(self._reference), np.stack(self._answers)
        if self.plan.task == "multilabel":
            return float(((expected > 0.5) == (found > 0.5)).mean())
        return float((expected.argmax(axis=1) == found.argmax(axis=1)).mean())


class _Numbers(Tally):
    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self._errors: list[float] = []
        self._same: list[bool] = []

    def add(self, case: Case, reference: Array, answer: Array) -> None:
        if not isinstance(case.target, int | float):
            raise Unsuitable(f"the answer {case.target!r} is no number", remedy="check the labels of the data")
        self._errors.append(abs(float(answer[0]) - case.target) / self.plan.target_std)
        self._same.append(abs(float(answer[0] - reference[0])) <= _SAME_NUMBER * self.plan.target_std)

    def scores(self) -> Scores:
        return Scores(error=float(np.mean(self._errors)) if self._errors else None)

    def same_labels(self) -> float:
        return float(np.mean(self._same)) if self._same else 1.0


def _ece(probability: Array, right: Array) -> float:
    tally = CalibrationTally()
    tally.add(probability, right)
    return tally.value()


def _number_or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
