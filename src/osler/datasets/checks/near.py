"""Pairs of images that show the same thing after an edit: resized, cropped, brightened, compressed, marked.

The perceptual hash proposes pairs. A pair is confirmed by the small views: they must agree once the mean of the set is
taken off, and what is left of them after the set's main ways to vary (its first principal components) must agree too.
Two chests look alike because chests do; an image and its edited copy also share what is theirs alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from osler.datasets.checks.evidence import Evidence
from osler.datasets.duplicates import CLOSE, close_pairs
from osler.studies.geometry import Array

__all__ = ["near_pairs"]

_LOOSE = 64
"""Bits of 255 up to which a pair is looked at; measured: copies of breast ultrasound differ in up to 60."""
_ALIKE = {True: 0.6, False: 0.88}
"""Least agreement of the views, for pairs within ``CLOSE`` bits and for others."""
_WORTH = 0.5
"""Agreement below which a pair is not looked at more closely."""
_OWN = {True: 0.45, False: 0.5}
"""Least agreement of what is theirs alone."""
_OWN_SURE = 0.75
"""The same for volumes, and for pairs of a set of few: phantoms of different patients reach 0.59 and 0.68, copies of
volumes have 0.83 and more."""
_OWN_SMALL = 0.6
"""The same for images hardly larger than the view, which cannot be aligned: 28 px radiographs reach 0.54 by chance."""
_OWN_MARKED = {True: 0.85, False: 0.75}
"""The same when the twentieth of the view that differs most is taken as equal, in sets of few and of many; unlike
images reach 0.78 and 0.64."""
_MARKED = 0.05
_LARGE = 64
"""Pixels a side from which images are aligned."""
_FEWEST = 20
"""Cases from which it can be learned how the set varies; in smaller sets the hash and plain agreement decide."""
_FEW = 100
"""Cases below which it is learned so roughly that a pair must have nearly the same hash, or share what is its own."""
_CERTAIN = 24
"""Bits of 255 that are nearly the same hash: different patients differ in 31 and more."""
_COMPONENTS = 64
_LEARNED = 1500
_ZOOMS = (1.0, 1.03, 1 / 1.03, 1.06, 1 / 1.06)
_SHIFTS = (0.0, -0.5, 0.5)


def near_pairs(evidence: Evidence, names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices into ``names`` whose images show the same thing; pairs within one known patient are left out.

    Neighbouring slices and phases of one patient look alike, and a split keeps them together anyway.
    """
    alike: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        seen = evidence.seen[name]
        alike[len(seen.code), seen.view.shape].append(place)
    known = evidence.dataset.manifest.patients != "unknown"
    patients = [evidence.records[name].patient if known else None for name in names]
    codes = [evidence.seen[name].code for name in names]
    found = []
    for members in alike.values():
        views = _Views(evidence, names, members)
        for one, other, bits in close_pairs(codes, members, _LOOSE if views.learned else _CERTAIN):
            same_patient = patients[one] is not None and patients[one] == patients[other]
            if not same_patient and views.confirm(one, other, bits):
                found.append((one, other))
    return found


class _Views:
    """The small views of images that can be compared, and how they vary."""

    def __init__(self, evidence: Evidence, names: Sequence[str], members: Sequence[int]) -> None:
        self._views = {place: evidence.seen[names[place]].view for place in members}
        self._large = {place: min(evidence.facts_of[names[place]].shape[:2]) >= _LARGE for place in members}
        self.learned, self._few = len(members) >= _FEWEST, len(members) < _FEW
        stack = np.stack(list(self._views.values()))  # uint8
        shape = stack[0].shape
        self._mean = np.asarray(stack.mean(axis=0), np.float32) if self.learned else np.zeros(shape, np.float32)
        self._directions = _directions(stack, self._mean) if self.learned else np.zeros((stack[0].size, 0))

    def confirm(self, one: int, other: int, bits: int) -> bool:
        """Whether two images show the same thing; ``bits`` of 255 of their hashes differ."""
        a, b = self._views[one].astype(np.float32), self._views[other].astype(np.float32)
        plain = self._alike(a, b)
        if not self.learned:
            return plain >= _ALIKE[False]
        if plain < _WORTH:
            return False
        aligned = [(a, b)]
        if a.ndim == 2 and self._large[one] and self._large[other]:
            aligned += [(a, moved) for moved in _moved(b)] + [(moved, b) for moved in _moved(a)]
        alike = max(self._alike(x, y) for x, y in aligned)
        own = max(self._share(x, y) for x, y in aligned)
        return self._enough(alike, own, bits, aligned=len(aligned) > 1, volume=a.ndim == 3) or (
            self._share(a, _unmarked(a, b)) >= _OWN_MARKED[self._few]
        )

    def _enough(self, alike: float, own: float, bits: int, *, aligned: bool, volume: bool) -> bool:
        """Whether two images agree so well, in all and in what is theirs alone, that they are the same."""
        close = bits <= CLOSE
        if self._few:
            return alike >= _ALIKE[False] and (bits <= _CERTAIN or own >= _OWN_SURE)
        needed = _OWN_SURE if volume else _OWN[close] if aligned else _OWN_SMALL
        return alike >= _ALIKE[close] and own >= needed

    def _alike(self, one: Array, other: Array) -> float:
        return _correlation(one - self._mean, other - self._mean)

    def _share(self, one: Array, other: Array) -> float:
        return _correlation(self._own(one), self._own(other))

    def _own(self, view: Array) -> Array:
        """What the set's main ways to vary do not explain."""
        flat = (view - self._mean).ravel()
        return np.asarray(flat - self._directions @ (self._directions.T @ flat))


def _unmarked(one: Array, other: Array) -> Array:
    """The second view with the first's values where they differ most: callipers and text cover little of an image."""
    apart = np.abs(one - other)
    limit = np.partition(apart.ravel(), -int(_MARKED * apart.size))[-int(_MARKED * apart.size)]
    return np.where(apart >= limit, one, other)


def _directions(views: Array, mean: Array) -> Array:
    """(pixels, k) the directions in which the set varies most: a quarter as many as there are images, at most 64."""
    from scipy.linalg import eigh

    chosen = np.sort(np.random.default_rng(0).permutation(len(views))[:_LEARNED])
    flat = (views[chosen] - mean).reshape(len(chosen), -1)  # float32
    count = min(_COMPONENTS, len(flat) // 4)
    most = (len(flat) - count, len(flat) - 1)
    values, vectors = eigh((flat @ flat.T).T, subset_by_index=most, overwrite_a=True, check_finite=False)
    kept = values > 1e-6 * max(float(values[-1]), 1e-6)
    return np.asarray(flat.T @ (vectors[:, kept] / np.sqrt(values[kept])))


def _moved(view: Array) -> Iterator[Array]:
    """A view, a little larger or smaller and half a pixel aside."""
    from scipy.ndimage import affine_transform

    middle = (np.array(view.shape) - 1) / 2
    for zoom in _ZOOMS:
        for down in _SHIFTS:
            for across in _SHIFTS:
                if (zoom, down, across) != (1.0, 0.0, 0.0):
                    offset = middle - middle * zoom + np.array([down, across])
                    yield affine_transform(view, np.full(2, zoom), offset=offset, order=1, mode="nearest")


def _correlation(one: Array, other: Array) -> float:
    a, b = one - one.mean(), other - other.mean()
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))
