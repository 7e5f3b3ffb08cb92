"""From blended blocks on the working grid to labels on the source grid, a few planes and one small tile at a time.

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
from itertools import product

import numpy as np

from osler.datasets.preparation import Trace
from osler.datasets.slabs import slab_axis
from osler.inference.bands import Block
from osler.inference.layout import row_axis
from osler.inference.probabilities import softmax
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
    """The story: made for a study, ``add`` for each block in order, each giving the planes that became final.

    Args:
        trace: of a study that was prepared in slabs.
        head: from blended values to logits.
        outputs: number of classes, background among them.
        executor: where tiles are worked on; None works on them one by one.
    """

    def __init__(self, trace: Trace, head: Head, outputs: int, executor: Executor | None = None) -> None:
        self.axis = slab_axis(trace)
        self._row = row_axis(self.axis, trace.working_shape)
        self._trace, self._head = trace, head
        self._each: Callable[..., Iterator[_Found]] = map if executor is None else executor.map
        ways = trace.interpolation
        sizes = zip(trace.working_shape, trace.kept_shape, ways.back, strict=True)
        self._maps = [axis_map(before, size, order=order, antialias=ways.antialias) for before, size, order in sizes]
        self._of_logits = ways.of == "logits"
        self.tally = Tally(outputs, trace.kept_shape)
        (across,) = {0, 1, 2} - {self.axis, self._row}
        self._across = _tiles(self._maps[across], 0, self._maps[across].size)
        self._labels = np.zeros(0, np.uint8)  # of the planes that are being labelled
        self._before: list[Block] = []  # of the layers before, what is still needed
        self._after: list[Block] = []  # of this layer, what the next one needs
        self._rows: list[Block] = []  # of this layer, what the next rows need
        self._done = self._ready = 0  # source planes that are final, and those that are once the layer is
        self._rows_done = 0  # source rows that are final in this layer

    def add(self, block: Block) -> Iterator[tuple[int, Array]]:
        """Add the next block: rows that follow those of the last one, or the first ones of the planes that follow.

        Yields:
            First plane and (I, J, planes) uint8 or uint16 class indices of the source planes that became final,
            oriented as the source; nothing unless the block is the last of its planes.
        """
        axis, row = self.axis, self._row
        along, rows = self._maps[axis], self._maps[row]
        planes, here = block.place[axis], block.place[row]
        if here.start == 0:
            self._ready, self._rows_done = _ready(along, self._done, planes.stop), 0
            self._labels = self._empty(self._ready - self._done)
        ready = _ready(rows, self._rows_done, here.stop)
        pieces = [*self._before, *self._rows, block]
        self._label(pieces, _tiles(along, self._done, self._ready), _tiles(rows, self._rows_done, ready))
        self._rows_done = ready
        kept = slice(_needed(along, self._ready, planes.stop), planes.stop)
        self._after.append(_gathered(pieces, self._whole({axis: kept, row: here})))
        tail = slice(_needed(rows, ready, here.stop), here.stop)
        self._rows = [_gathered([*self._rows, block], self._whole({axis: planes, row: tail}))]
        if here.stop == self._trace.working_shape[row]:
            self._before, self._after, self._rows = self._after, [], []
            if self._ready > self._done:
                yield self._done, self._as_source(self._labels)
            self._done = self._ready

    def _empty(self, planes: int) -> Array:
        shape = list(self._trace.kept_shape)
        shape[self.axis] = planes
        return np.zeros(shape, np.uint8 if len(self.tally.won) <= 256 else np.uint16)

    def _whole(self, but: dict[int, slice]) -> tuple[slice, ...]:
        return tuple(but.get(n, slice(0, size)) for n, size in enumerate(self._trace.working_shape))

    def _label(self, pieces: Sequence[Block], along: Sequence[_Range], rows: Sequence[_Range]) -> None:
        """Label what these planes and rows of the source share."""
        tiles = [self._ranges(*place) for place in product(along, rows, self._across)]
        for done in (self._each if len(tiles) > 1 else map)(lambda ranges: self._tile(pieces, ranges), tiles):
            self._count(done)

    def _ranges(self, plane: _Range, row: _Range, across: _Range) -> tuple[_Range, ...]:
        return tuple({self.axis: plane, self._row: row}.get(n, across) for n in range(3))

    def _tile(self, pieces: Sequence[Block], ranges: tuple[_Range, ...]) -> _Found:
        """Label one tile; what is to be counted of it."""
        block = _gathered(pieces, tuple(r.working for r in ranges))
        values, unseen = block.values, block.unseen
        if unseen is not None and unseen.all():
            return _Found(ranges, 0, (), None, None)  # labels begin as background
        logits = self._head.logits(np.ascontiguousarray(values).reshape(len(values), -1))
        if unseen is not None and unseen.any():
            background = np.full((len(logits), 1), _NEVER)
            background[0] = 0
            logits = np.where(unseen.reshape(-1), background, logits)
        winner = logits.argmax(axis=0)
        present = np.flatnonzero(np.bincount(winner, minlength=len(logits)))
        first = [self._done if n == self.axis else 0 for n in range(3)]
        target = tuple(slice(r.source.start - f, r.source.stop - f) for r, f in zip(ranges, first, strict=True))
        if len(present) == 1:
            self._labels[target] = present[0]
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
        self._labels[target] = tile
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


def _ready(along: AxisMap, done: int, available: int) -> int:
    """How many source indices are final when so many working ones are there; ``done`` are already."""
    while done < along.size and max(along.needs(done, done + 1)[1], _own(along, done + 1)) <= available:
        done += 1
    return done


def _needed(along: AxisMap, ready: int, available: int) -> int:
    """The first working index that is needed when the source indices before ``ready`` are final."""
    if ready == along.size:
        return available
    return min(along.needs(ready, ready + 1)[0], _own(along, ready), available)


def _gathered(pieces: Sequence[Block], place: tuple[slice, ...]) -> Block:
    """What lies at ``place`` of the study, copied.

    Raises:
        ValueError: when the pieces do not hold all of it.
    """
    origin, shape = tuple(p.start for p in place), tuple(p.stop - p.start for p in place)
    values = np.empty((len(pieces[-1].values), *shape), np.float32)
    unseen = None if pieces[-1].unseen is None else np.empty(shape, np.bool_)
    found = 0
    for piece in pieces:
        shared = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(piece.place, place, strict=True)]
        if any(s.start >= s.stop for s in shared):
            continue
        here = tuple(slice(s.start - o, s.stop - o) for s, o in zip(shared, piece.origin, strict=True))
        there = tuple(slice(s.start - o, s.stop - o) for s, o in zip(shared, origin, strict=True))
        values[(slice(None), *there)] = piece.values[(slice(None), *here)]
        if unseen is not None and piece.unseen is not None:
            unseen[there] = piece.unseen[here]
        found += int(np.prod([s.stop - s.start for s in shared]))
    if found != int(np.prod(shape)):
        raise ValueError(f"{found} voxels of {place} are there")
    return Block(origin, values, unseen)


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
