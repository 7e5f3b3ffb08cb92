"""A small linear classifier that judges each case by the others: for checks that learn what is normal from the set."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from osler.studies.geometry import Array

__all__ = ["block_means", "clearly_other", "fold_of", "out_of_fold"]

_FOLDS = 5
_RIDGE = 5.0
_APART = 7.0
"""Robust standard deviations between the usual score and that from which a case is judged to be of the other kind."""
_OTHER = -0.5
"""That one, as a share of the usual score."""
_MOST = 0.1


def fold_of(groups: Sequence[Hashable], seed: int = 0) -> Array:
    """(N,) number of the fold, 0 to 4, of each case; a group (patient) is in one."""
    order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    dealt = np.random.default_rng(seed).permutation(len(order)) % _FOLDS
    return np.asarray(dealt[[order[group] for group in groups]])


def out_of_fold(features: Array, positive: Array, folds: Array, *, forgiving: bool = False) -> Array:
    """(N,) how much like a positive each case is, by a ridge regression on the cases of the other folds.

    Both classes weigh the same; scores are near 1 for positives and near -1 for the others.

    Args:
        features: (N, F), any scale.
        positive: (N,) bool.
        folds: (N,), see ``fold_of``.
        forgiving: some cases are called wrongly: learn again without those that look like the other kind.
    """
    everyone = np.ones(len(features), bool)
    scores = _scores(features, positive, folds, everyone)
    return _scores(features, positive, folds, (scores > 0) == positive) if forgiving else scores


def _scores(features: Array, positive: Array, folds: Array, trusted: Array) -> Array:
    scores = np.zeros(len(features))
    for fold in np.unique(folds).tolist():
        held = folds == fold
        learned = ~held & trusted
        scores[held] = _fitted(features[learned], positive[learned], features[held])
    return scores


def clearly_other(scores: Array) -> list[int]:
    """Places of cases that look like the other kind, the clearest first; none where the kinds cannot be told well.

    Args:
        scores: (N,) out of fold, positive where a case looks like what it is called. A tenth may be wrong.
    """
    middle = float(np.median(scores))
    spread = 1.4826 * float(np.median(np.abs(scores - middle)))
    if middle <= 0 or (1 - _OTHER) * middle < _APART * spread:
        return []
    places = np.flatnonzero(scores < _OTHER * middle)
    return [] if len(places) > max(1, _MOST * len(scores)) else places[np.argsort(scores[places])].tolist()


def block_means(views: Array) -> Array:
    """Views (N, s, s[, s]) of 0 to 255 to (N, F) of -0.5 to 0.5: means of 8 blocks along each axis, 6 in volumes."""
    blocks = 8 if views.ndim == 3 else 6
    step = views.shape[1] // blocks
    shape = [len(views), *(n for _ in range(views.ndim - 1) for n in (blocks, step))]
    means = views.astype(np.float32).reshape(shape).mean(axis=tuple(range(2, 2 * views.ndim - 1, 2)))
    return np.asarray(means.reshape(len(views), -1) / 255 - 0.5)


def _fitted(features: Array, positive: Array, asked: Array) -> Array:
    """Regresses ±1 on standardised features; 0 for all where one class is missing."""
    if not len(positive) or positive.all() or not positive.any():
        return np.zeros(len(asked))
    weights = np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))
    mean = weights @ features / len(features)
    scaled = features - mean  # (N, F) float64, worked on in place: thousands of views take tens of megabytes
    spread = np.sqrt(np.einsum("n,nf,nf->f", weights, scaled, scaled) / len(scaled))
    spread = np.where(spread > 1e-9, spread, 1.0)
    scaled /= spread
    target = weights * np.where(positive, 1.0, -1.0) @ scaled
    scaled *= np.sqrt(weights)[:, None]
    gram = scaled.T @ scaled + _RIDGE * np.sqrt(len(scaled)) * np.eye(scaled.shape[1])
    return np.asarray(((asked - mean) / spread) @ np.linalg.solve(gram, target))
