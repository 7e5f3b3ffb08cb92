"""From blended slabs on the working grid to labels on the source grid, a few planes and one small tile at a time.

A voxel of the source gets the class whose probability (or logit, where the plan's grid says so), interpolated from the
working grid, is highest: the same labels as interpolating every class over the whole study and taking the largest. Most
tiles need nothing of it. Where one class wins every voxel that a tile is made of, it wins after interpolation too,
because interpolation is a mean with weights that are nowhere negative. Elsewhere the winners of single voxels together
hold at least a share ``m`` of the probability everywhere, so one of the ``n`` of them holds at least ``m / n`` after
interpolation, and a class that nowhere reaches that cannot win. Of logits their mean takes the place of that share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from osler.datasets.preparation import Trace
from osler.datasets.slabs import slab_axis
from osler.inference.probabilities import softmax
from osler.inference.slabs import Slab
from osler.studies.geometry import Array
from osler.studies.resample import AxisMap, axis_map

__all__ = ["Head", "Labeller", "Tally"]

_TILE = 24
"""Source voxels a side of a tile: larger ones hold more classes, smaller ones are mostly overhead."""
_SLACK = 1e-5
"""Share of a probability by which sums of rounded weights may be off."""
_NEVER = np.float32(np.log(np.float32(1e-38)))
"""The logit of what is not looked for where the background's is 0: the lowest that restoration gives a probability."""


@dataclass(frozen=True)
class Head:
    """From blended values to logits: ``weight`` (O, F) and ``bias`` (O,); None where the values are logits."""

    weight: Array | None
    bias: Array | None
    temperature: float = 1.0

    def logits(self, values: Array) -> Array:
        """(F, n) to (O, n)."""
        found = values if self.weight is None else self.weight @ values
        if self.bias is not None:
            found += self.bias[:, None]
        return found / np.float32(self.temperature) if self.temperature != 1 else found


class Tally:
    """What is counted while labels are made. Arrays are by class index, background first.

    Args:
        outputs: number of classes.
        shape: of the source grid, oriented as the working grid but with planes as the source counts them.

    ``profiles[n]`` is (O, shape[n]): labelled source voxels at each index of axis n. ``total`` and ``won`` are the sum
    of the winning probability over the working voxels that a class won, and their number; ``highest`` its highest
    probability where more than one class was in question.
    """

    def __init__(self, outputs: int, shape: Sequence[int]) -> None:
        self.profiles = [np.zeros((outputs, size), np.int64) for size in shape]
        self.total = np.zeros(outputs)
        self.won = np.zeros(outputs, np.int64)
        self.highest = np.zeros(outputs, np.float32)

    def probability(self, index: int) -> float:
        """The mean over the working voxels that the class won; its highest probability where it won none there."""
        won = int(self.won[index])
        return float(self.total[index]) / won if won else float(self.highest[index])


@dataclass(frozen=True)
class _Range:
    """One tile along one axis: source indices, the working ones that they and the tile's own are among, the matrix from
    part of these to the source, and the tile's own part of them (every working voxel is one tile's own)."""

    source: slice
    working: slice
    matrix: Array | None
    part: slice
    own: slice


class Labeller:
    """The story: made for a study, ``add`` for each slab in order, each giving the planes that became final.

    Args:
        trace: of a study that was prepared in slabs.
        head: from blended values to logits.
        outputs: number of classes, background among them.
        executor: where tiles are worked on; None works on them one by one.
    """

    def __init__(self, trace: Trace, head: Head, outputs: int, executor: Executor | None = None) -> None:
        self.axis = slab_axis(trace)
        self._trace, self._head = trace, head
        self._each: Callable[..., Iterator[_Found]] = map if executor is None else executor.map
        ways = trace.interpolation
        sizes = zip(trace.working_shape, trace.kept_shape, ways.back, strict=True)
        self._maps = [axis_map(before, size, order=order, antialias=ways.antialias) for before, size, order in sizes]
        self._of_logits = ways.of == "logits"
        self.tally = Tally(outputs, trace.kept_shape)
        self._tiles = [_tiles(m, 0, m.size) if n != self.axis else [] for n, m in enumerate(self._maps)]
        self._tail: Array | None = None  # (F, *working) of the planes before the slab that are still needed
        self._unseen: Array | None = None  # (1, *working) of the same planes
        self._first = 0  # working plane that they begin with
        self._done = 0  # source planes that are final

    def add(self, slab: Slab) -> Iterator[tuple[int, Array]]:
        """First plane and (I, J, planes) uint8 or uint16 class indices of the source planes that became final, oriented
        as the source."""
        available = slab.start + slab.values.shape[self.axis + 1]
        along = self._maps[self.axis]
        ready = self._done
        while ready < along.size and along.needs(ready, ready + 1)[1] <= available:
            ready += 1
        if ready > self._done:
            for tile in _tiles(along, self._done, ready):
                yield tile.source.start, self._planes(slab, tile)
        self._done = ready
        needed = available if ready == along.size else min(along.needs(ready, ready + 1)[0], _own(along, ready))
        everywhere = [slice(0, size) for size in self._trace.working_shape]
        everywhere[self.axis] = slice(min(needed, available), available)
        unseen = self._unseen_of(slab, everywhere)
        self._tail = self._values(slab, everywhere).copy()
        self._unseen = None if unseen is None else unseen[None].copy()
        self._first = everywhere[self.axis].start

    def _values(self, slab: Slab, place: Sequence[slice]) -> Array:
        """(F, \\*place) of working voxels that lie in the slab or among the planes kept of those before it."""
        return self._joined(slab.values, self._tail, slab.start, place)

    def _unseen_of(self, slab: Slab, place: Sequence[slice]) -> Array | None:
        """(\\*place) bool: voxels that are background without having been looked at; None where all were."""
        if slab.unseen is None:
            return None
        return np.asarray(self._joined(slab.unseen[None], self._unseen, slab.start, place)[0])

    def _joined(self, new: Array, tail: Array | None, begin: int, place: Sequence[slice]) -> Array:
        """(F, \\*place) of ``new``, whose first plane is ``begin``, and of the planes kept of those before it."""
        cut, start, stop = list(place), place[self.axis].start, place[self.axis].stop
        cut[self.axis] = slice(max(start - begin, 0), max(stop - begin, 0))
        here = new[(slice(None), *cut)]
        if start >= begin or tail is None:
            return here
        cut[self.axis] = slice(start - self._first, min(stop, begin) - self._first)
        return np.concatenate([tail[(slice(None), *cut)], here], axis=self.axis + 1)

    def _planes(self, slab: Slab, along: _Range) -> Array:
        """(I, J, planes) oriented as the source."""
        shape = list(self._trace.kept_shape)
        shape[self.axis] = along.source.stop - along.source.start
        labels = np.zeros(shape, np.uint8 if len(self.tally.won) <= 256 else np.uint16)
        first, second = (tiles for n, tiles in enumerate(self._tiles) if n != self.axis)
        places = [(one, other) for one in first for other in second]
        if len(places) > 1:
            for done in self._each(lambda place: self._tile(slab, labels, self._ranges(place, along)), places):
                self._count(done)
        else:
            self._count(self._tile(slab, labels, self._ranges(places[0], along)))
        return self._as_source(labels)

    def _ranges(self, place: tuple[_Range, _Range], along: _Range) -> tuple[_Range, ...]:
        rest = iter(place)
        return tuple(along if n == self.axis else next(rest) for n in range(3))

    def _tile(self, slab: Slab, labels: Array, ranges: tuple[_Range, ...]) -> _Found:
        """Label one tile of ``labels``; what is to be counted of it."""
        unseen = self._unseen_of(slab, [r.working for r in ranges])
        if unseen is not None and unseen.all():
            return _Found(ranges, 0, (), None, None)  # labels begin as background
        values = self._values(slab, [r.working for r in ranges])
        logits = self._head.logits(np.ascontiguousarray(values).reshape(len(values), -1))
        if unseen is not None and unseen.any():
            background = np.full((len(logits), 1), _NEVER)
            background[0] = 0
            logits = np.where(unseen.reshape(-1), background, logits)
        winner = logits.argmax(axis=0)
        present = np.flatnonzero(np.bincount(winner, minlength=len(logits)))
        target = tuple(
            slice(0, r.source.stop - r.source.start) if n == self.axis else r.source for n, r in enumerate(ranges)
        )
        if len(present) == 1:
            labels[target] = present[0]
            own = None if present[0] == 0 else _certainty(_own_part(logits, values.shape[1:], ranges))
            return _Found(ranges, int(present[0]), (), None if own is None else (winner[: own.size], own), None)
        probabilities = softmax(logits)
        shaped = winner.reshape(values.shape[1:])
        if all(r.matrix is None for r in ranges):
            tile = shaped
        else:
            scores = logits - logits.max(axis=0) if self._of_logits else probabilities
            candidates = (_by_score if self._of_logits else _by_share)(scores, present)
            tile = _largest(scores.reshape(-1, *values.shape[1:]), candidates, ranges)
        labels[target] = tile
        own_winner = shaped[tuple(r.own for r in ranges)].ravel()
        own_share = _own_part(probabilities.max(axis=0)[None], values.shape[1:], ranges)[0]
        profiles = tuple(_profile(tile, n, len(logits)) for n in range(3))
        return _Found(ranges, None, profiles, (own_winner, own_share), probabilities.max(axis=1))

    def _count(self, found: _Found) -> None:
        tally, ranges = self.tally, found.ranges
        if found.own is not None:
            winner, share = found.own
            tally.total += np.bincount(winner, weights=share, minlength=len(tally.total))
            tally.won += np.bincount(winner, minlength=len(tally.won))
        if found.highest is not None:
            np.maximum(tally.highest, found.highest, out=tally.highest)
        if found.only is not None:
            shape = [r.source.stop - r.source.start for r in ranges]
            for profile, r, size in zip(tally.profiles, ranges, shape, strict=True):
                profile[found.only, r.source] += int(np.prod(shape)) // size
            return
        for profile, counted, r in zip(tally.profiles, found.profiles, ranges, strict=True):
            profile[:, r.source] += counted

    def _as_source(self, labels: Array) -> Array:
        flips = [flip and n != self.axis for n, flip in enumerate(self._trace.flips)]
        unflipped = labels[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
        return np.transpose(unflipped, np.argsort(self._trace.order))

    def source_profiles(self, index: int) -> list[Array]:
        """Labelled voxels of a class at each index of the source's axes I, J and K."""
        profiles: list[Array] = [np.zeros(0)] * 3
        for n, (axis, flip) in enumerate(zip(self._trace.order, self._trace.flips, strict=True)):
            profile = self.tally.profiles[n][index]
            profiles[axis] = profile[::-1] if flip and n != self.axis else profile
        return profiles


@dataclass(frozen=True)
class _Found:
    """What a tile holds: ``only`` one class, or ``profiles`` (O, n) of its source voxels per axis; winner and its
    probability of the working voxels that are its own; the highest probability of each class."""

    ranges: tuple[_Range, ...]
    only: int | None
    profiles: tuple[Array, ...]
    own: tuple[Array, Array] | None
    highest: Array | None


def _own(along: AxisMap, index: int) -> int:
    """The first working index that belongs to source index ``index`` and not to those before it."""
    return index * along.before // along.size


def _tiles(along: AxisMap, start: int, stop: int) -> list[_Range]:
    tiles = []
    for first in range(start, stop, _TILE):
        last = min(first + _TILE, stop)
        low, high = along.needs(first, last)
        own = slice(_own(along, first), _own(along, last))
        begin, end = min(low, own.start), max(high, own.stop)
        matrix = None if along.size == along.before else along.matrix(first, last)
        part, mine = slice(low - begin, high - begin), slice(own.start - begin, own.stop - begin)
        tiles.append(_Range(slice(first, last), slice(begin, end), matrix, part, mine))
    return tiles


def _own_part(array: Array, shape: tuple[int, ...], ranges: Sequence[_Range]) -> Array:
    """(O, voxels of the tile) to (O, those that are its own)."""
    own = array.reshape(len(array), *shape)[(slice(None), *(r.own for r in ranges))]
    return own.reshape(len(array), -1)


def _profile(tile: Array, axis: int, outputs: int) -> Array:
    """(outputs, tile.shape[axis]): how many voxels of each class lie at each index of an axis."""
    size = tile.shape[axis]
    index = np.arange(size).reshape([-1 if n == axis else 1 for n in range(3)])
    return np.bincount((tile * size + index).ravel(), minlength=outputs * size).reshape(outputs, size)


def _certainty(logits: Array) -> Array:
    """(O, n) to the probability of the largest."""
    return np.asarray(1 / np.exp(logits - logits.max(axis=0)).sum(axis=0))


def _by_share(probabilities: Array, present: Array) -> Array:
    """Classes that can win after interpolating probabilities (O, n); ``present`` are those that win a voxel."""
    sure = float(probabilities[present].sum(axis=0).min()) / len(present)
    return np.flatnonzero(probabilities.max(axis=1) >= sure - _SLACK)


def _by_score(scores: Array, present: Array) -> Array:
    """The same of logits less the largest of each voxel: one of those that win a voxel has at least their mean."""
    sure = float(scores[present].mean(axis=0).min())
    return np.flatnonzero(scores.max(axis=1) >= sure * (1 + _SLACK) - _SLACK)


def _largest(scores: Array, candidates: Array, ranges: Sequence[_Range]) -> Array:
    """(O, \\*tile) to the class with the largest interpolated score of each source voxel; ties go to the lower one."""
    best = _interpolated(scores[candidates[0]], ranges)
    winner = np.full(best.shape, candidates[0])
    for index in candidates[1:]:
        here = _interpolated(scores[index], ranges)
        np.copyto(winner, index, where=here > best)
        np.maximum(best, here, out=best)
    return winner


def _interpolated(share: Array, ranges: Sequence[_Range]) -> Array:
    """(\\*tile) on the working grid to the tile's source voxels."""
    found = share[tuple(r.part for r in ranges)]
    first, second, third = (r.matrix for r in ranges)
    if first is not None:
        found = np.tensordot(first, found, axes=1)
    if second is not None:
        found = np.matmul(second, found)
    if third is not None:
        found = found @ third.T
    return np.ascontiguousarray(found)
