"""Confident learning: which labels are probably wrong, by a model that was not trained on them.

After Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021. A case
counts for a class when its probability reaches the mean probability that the class's own cases get (here at most 0.95,
which is not in the paper); cases counted for another class than their label fill the off-diagonal of the confident
joint, whose size says how many labels are wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.errors import UsageError
from osler.studies.geometry import Array

__all__ = ["LabelErrors", "find_label_errors"]

_SURE = 0.95
"""Probability that is enough whatever the class's own cases get: a saturated network gives them 0.9999 on average."""


@dataclass(frozen=True)
class LabelErrors:
    """Cases whose label is probably wrong.

    Args:
        places: indices of the cases, the surest first.
        suggested: (places,) the class that each looks like.
        margins: (places,) probability of the suggested class less that of the label.
        joint: (classes, classes) estimated share of cases with the label of the row that are truly of the column; sums
            to 1.
        noise: estimated share of wrong labels.
    """

    places: tuple[int, ...]
    suggested: tuple[int, ...]
    margins: tuple[float, ...]
    joint: Array
    noise: float


def find_label_errors(probabilities: Array, labels: Array) -> LabelErrors:
    """Prune by noise rate: of every off-diagonal cell of the joint as many cases as it counts, by their margin.

    Args:
        probabilities: (N, K) out of sample: from a model that has not seen the cases. Rows sum to 1.
        labels: (N,) the given class of each, 0 to K - 1.

    Raises:
        UsageError: when shapes or values do not fit.
    """
    probabilities, labels = _checked(probabilities, labels)
    count, classes = probabilities.shape
    own = [probabilities[labels == k, k] for k in range(classes)]
    thresholds = np.array([min(one.mean(), _SURE) if len(one) else np.inf for one in own])
    counted = _confident_class(probabilities, thresholds)
    joint = _joint(labels, counted, classes)
    places = _pruned(probabilities, labels, joint)
    rivals = np.where(np.eye(classes, dtype=bool)[labels], -np.inf, probabilities).argmax(axis=1)
    margins = probabilities[np.arange(count), rivals] - probabilities[np.arange(count), labels]
    order = sorted(places, key=lambda place: -margins[place])
    return LabelErrors(
        places=tuple(order),
        suggested=tuple(int(rivals[place]) for place in order),
        margins=tuple(float(margins[place]) for place in order),
        joint=joint,
        noise=float(1 - np.trace(joint)),
    )


def _checked(probabilities: Array, labels: Array) -> tuple[Array, Array]:
    p, y = np.asarray(probabilities, float), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1] or not len(y) or p.shape[1] < 2:
        raise UsageError(
            f"probabilities {p.shape} and labels {y.shape} must be (cases, classes) and (cases,)",
            remedy="give a row of probabilities and one label per case",
        )
    if not np.isfinite(p).all() or p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise UsageError("probabilities must be 0 to 1 and sum to 1 per case", remedy="give the calibrated output")
    if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise UsageError(f"labels must be whole numbers from 0 to {p.shape[1] - 1}", remedy="check the label set")
    return p, y


def _confident_class(probabilities: Array, thresholds: Array) -> Array:
    """(N,) the likeliest class among those whose threshold a case reaches; -1 where it reaches none."""
    reached = probabilities >= thresholds
    best = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def _joint(labels: Array, counted: Array, classes: int) -> Array:
    """Counts, scaled so that rows add up to how often each label was given, then to 1 in all."""
    counts = np.zeros((classes, classes))
    known = counted >= 0
    np.add.at(counts, (labels[known], counted[known]), 1)
    given = np.bincount(labels, minlength=classes).astype(float)
    empty = counts.sum(axis=1) == 0
    counts[empty, empty] = 1  # nothing speaks against a label that no case is sure of
    scaled = counts / counts.sum(axis=1, keepdims=True) * given[:, None]
    return np.asarray(scaled / scaled.sum())


def _pruned(probabilities: Array, labels: Array, joint: Array) -> set[int]:
    places: set[int] = set()
    for given, true in np.argwhere(joint > 0).tolist():
        members = np.flatnonzero(labels == given)
        many = round(float(joint[given, true]) * len(labels))
        if given == true or not many:
            continue
        margin = probabilities[members, true] - probabilities[members, given]
        order = members[np.argsort(-margin, kind="stable")][:many]
        places |= {int(place) for place in order if probabilities[place, true] > probabilities[place, given]}
    return places
