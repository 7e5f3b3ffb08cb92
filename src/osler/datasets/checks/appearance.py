"""Images that do not look like the others: saturated, inverted, mirrored or turned, or of another kind altogether.

Whether an image is inverted or turned is asked of a classifier that tells the set's images from their own inverted or
turned copies. It needs no labels, and stays silent where the set looks the same either way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.checks.learned import block_means, clearly_other, fold_of, out_of_fold
from osler.datasets.checks.robust import outliers
from osler.datasets.problem import Code, Problem
from osler.studies.geometry import Array

__all__ = ["check"]

_FEWEST = 30
"""Cases from which it can be learned how an image looks."""
_MOST = 2000
"""Cases that are learned from; all are judged."""
_SATURATED = 0.1
"""Share of pixels at the highest value, beyond what is usual, from which an image is called saturated."""
_FAR = 0.85
"""Logarithm of how many times further an image may lie from its neighbours than they from theirs (2.3 times).

Measured: at most 0.77 in six sets without a foreign image; ultrasound among heart MR has 0.90 to 1.16.
"""
_NEIGHBOURS = 0.12
"""Share of the cases that count as neighbours: a tenth of wrong images must not vouch for one another."""
_SOME = 0.1
"""What more of the cases than this are is a group of its own."""
_BINS = 16
_TEXTURE = ("noise", "sharpness", "streaking", "bias", "exposure", "contrast", "clipped_low")
_PICTURE_TURNS: Mapping[str, Callable[[Array], Array]] = {
    "mirrored left to right": lambda views: views[:, ::-1],
    "upside down": lambda views: views[:, :, ::-1],
    "turned by 180°": lambda views: views[:, ::-1, ::-1],
    "turned by 90° or transposed": lambda views: views.swapaxes(1, 2),
}
_VOLUME_TURNS: Mapping[str, Callable[[Array], Array]] = {
    "mirrored left to right": lambda views: views[:, ::-1],
    "mirrored front to back": lambda views: views[:, :, ::-1],
    "upside down": lambda views: views[:, :, :, ::-1],
}


def check(evidence: Evidence) -> list[Problem]:
    """See the module. Nothing is said of sets under ``_FEWEST`` cases, except of saturation."""
    problems = _saturated(evidence)
    for dimensions in (2, 3):
        names = [name for name, o in evidence.seen.items() if o.view.ndim == dimensions]
        if len(names) >= _FEWEST:
            problems += _of_one_kind(evidence, names)
    return problems


def _of_one_kind(evidence: Evidence, names: list[str]) -> list[Problem]:
    views = np.stack([evidence.seen[name].view for name in names])
    folds = fold_of([evidence.records[name].patient or name for name in names])
    problems = []
    odd = _unlike(evidence, names, views)
    inverted = [names[place] for place in _changed(views, folds, lambda v: 255 - v)]
    turns = _PICTURE_TURNS if views.ndim == 3 else _VOLUME_TURNS
    turned: dict[str, str] = {}
    for what, turn in turns.items():
        for place in _changed(views, folds, turn):
            turned.setdefault(names[place], f"looks {what}")
    if inverted:
        what, remedy = "inverted: dark where the others are bright", "invert them, or find out which is right"
        problems.append(problem_of("inverted", "error", what, inverted, remedy, leave_out=inverted))
    turned = {name: text for name, text in turned.items() if name not in inverted}
    if turned:
        what = (
            "look mirrored or turned beside the others"  # no error: a large cyst is bright below where tissue is above
        )
        remedy = "look at them: left and right may be swapped, or it is only an unusual patient"
        problems.append(problem_of("turned", "warning", what, turned, remedy, details=turned))
    odd = {name: score for name, score in odd.items() if name not in inverted and name not in turned}
    if odd:
        what = "look unlike all others: perhaps another modality, another body part, or no image of a patient"
        problems.append(problem_of("unlike-others", "warning", what, odd, "check that they belong here", scores=odd))
    return problems


def _changed(views: Array, folds: Array, change: Callable[[Array], Array]) -> list[int]:
    """Places of the images that look as if they had been changed so."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(views))[:_MOST])
    rest = np.setdiff1d(np.arange(len(views)), chosen)
    order = np.concatenate([chosen, rest])
    scores = np.empty(len(views))
    for start in range(0, len(order), _MOST):
        part = order[start : start + _MOST]
        if len(part) < _FEWEST:  # the last few are judged together with the first
            part = np.concatenate([part, order[:_FEWEST]])
        features = np.concatenate([block_means(views[part]), block_means(change(views[part]))])
        original = np.arange(len(features)) < len(part)
        twice = np.concatenate([folds[part], folds[part]])
        scores[part] = out_of_fold(features, original, twice, forgiving=True)[: len(part)]
    return clearly_other(scores)


def _unlike(evidence: Evidence, names: list[str], views: Array) -> dict[str, float]:
    """By how much an image lies further from its nearest eighth of the set than they do from theirs.

    In grey levels, layout and texture; the local outlier factor of Breunig et al. (2000), as a logarithm.
    """
    features = np.concatenate([_histograms(views), _texture(evidence, names), _components(block_means(views))], axis=1)
    middle = np.median(features, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(features - middle), axis=0), 0.1 * features.std(axis=0) + 1e-6)
    scaled = np.clip((features - middle) / spread, -8, 8).astype(np.float32)
    chosen = np.sort(np.random.default_rng(1).permutation(len(scaled))[:_MOST])
    count = int(np.ceil(_NEIGHBOURS * len(chosen)))
    of_chosen, _ = _nearest(scaled[chosen], scaled[chosen], count)
    reach, neighbours = _nearest(scaled, scaled[chosen], count)
    factors = reach - np.median(of_chosen[neighbours], axis=1)
    places = np.flatnonzero(factors > _FAR)
    if len(places) > max(1, _SOME * len(names)):
        return {}
    return {names[place]: float(factors[place]) for place in places.tolist()}


def _nearest(asked: Array, among: Array, count: int) -> tuple[Array, Array]:
    """Logarithm of the distance to the ``count``-th nearest, (N,), and the places of those up to it, (N, count + 1)."""
    distances, places = [], []
    for start in range(0, len(asked), 256):
        part = asked[start : start + 256]
        apart = (part**2).sum(1)[:, None] + (among**2).sum(1)[None] - 2 * part @ among.T
        nearest = np.argpartition(apart, count, axis=1)[:, : count + 1]
        furthest = np.take_along_axis(apart, nearest, axis=1).max(axis=1)
        distances.append(0.5 * np.log(np.maximum(furthest, 1e-6)))
        places.append(nearest)
    return np.concatenate(distances), np.concatenate(places)


def _histograms(views: Array) -> Array:
    """(N, 16) shares of grey levels, as square roots: differences of small shares count."""
    flat = views.reshape(len(views), -1) // (256 // _BINS)
    counts = np.stack([(flat == level).mean(axis=1) for level in range(_BINS)], axis=1)
    return np.asarray(np.sqrt(counts))


def _texture(evidence: Evidence, names: list[str]) -> Array:
    """(N, 7); what could not be measured is taken to be usual."""
    table = np.array([[evidence.seen[name].quality.get(measure, np.nan) for measure in _TEXTURE] for name in names])
    table = np.log(np.maximum(table, 1e-3))
    usual = [float(np.median(column[~np.isnan(column)])) if not np.isnan(column).all() else 0.0 for column in table.T]
    return np.where(np.isnan(table), usual, table)


def _components(features: Array) -> Array:
    """(N, F) to (N, 8): where each lies along the directions in which the set varies most."""
    centred = features - features.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    return np.asarray(centred @ directions[:, -8:])


def _saturated(evidence: Evidence) -> list[Problem]:
    shares = {name: o.quality["clipped_high"] for name, o in evidence.seen.items() if "clipped_high" in o.quality}
    _, odd = outliers(shares, _SATURATED, side="high")
    code: Code = "saturated"
    if not odd:
        return []
    details = {name: f"{100 * shares[name]:.0f} % of the pixels have the highest value" for name in odd}
    what, remedy = "saturated: large parts are cut off at the highest value", "export them with a wider window"
    return [problem_of(code, "warning", what, odd, remedy, details=details, scores=odd)]
