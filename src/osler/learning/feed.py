"""``Feed``: which cases and which patches make up the batch of a step. Depends on seed, step and process only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from osler.datasets.manifest import Target
from osler.datasets.plan import Plan
from osler.learning.augmentation import source_shape
from osler.learning.methods import Batch
from osler.learning.tasks import Task

__all__ = ["Cases", "Feed", "cut", "step_seed"]

_AIR_HU, _AIR_NOISE_HU = (-1024.0, -990.0), (0.0, 40.0)
"""Levels and standard deviations of made-up air: a scanner's, which may cut off what is below -1024."""

_BEYOND = 0.75
"""Patch lengths from a study's border to the farthest centre of a patch beyond it: a third to a half hold air alone."""


class Cases(Protocol):
    """What a feed needs of the prepared store."""

    @property
    def names(self) -> Sequence[str]:
        """The cases, in a fixed order."""

    def array(self, name: str) -> Any:
        """(C, *S) float32, sliceable."""

    def mask(self, name: str) -> Any:
        """(*S) uint8 class indices, sliceable."""

    def foreground(self, name: str) -> dict[int, np.ndarray]:
        """(N, D) voxel coordinates per class index."""

    def target(self, name: str) -> Target | None:
        """The answer of a case without mask."""


def step_seed(*numbers: int) -> int:
    """A 63-bit seed from any numbers: SHA-256, so that neighbouring steps share nothing."""
    text = ",".join(str(n) for n in numbers).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def cut(array: Any, start: Sequence[int], shape: Sequence[int], *, channels: bool) -> np.ndarray:
    """A box of ``shape`` from ``start`` (may be negative or reach past the end); zeros outside.

    Args:
        array: (C, *S) when ``channels``, else (*S); NumPy or blosc2.
        start: index of the box's first voxel per axis.
        shape: of the box.
        channels: whether axis 0 is channels.
    """
    size = array.shape[1:] if channels else array.shape
    inner = tuple(slice(max(0, s), max(0, min(full, s + n))) for s, n, full in zip(start, shape, size, strict=True))
    lead = (slice(None),) if channels else ()
    part = np.asarray(array[(*lead, *inner)])
    result = np.zeros((*part.shape[: len(lead)], *shape), part.dtype)
    if 0 in part.shape:  # the box lies wholly outside
        return result
    outer = tuple(slice(i.start - s, i.start - s + (i.stop - i.start)) for i, s in zip(inner, start, strict=True))
    result[(*lead, *outer)] = part
    return result


class Feed:
    """Batches of a training run.

    Every case comes once per epoch, in an order drawn anew each epoch. For dense tasks a share ``plan.foreground`` of
    the patches is centred on a voxel of a label drawn evenly among those in the case, the rest lie anywhere in
    it; a share ``plan.air`` may reach beyond it, into made-up air.
    """

    def __init__(
        self,
        cases: Cases,
        plan: Plan,
        task: Task,
        *,
        process: int = 0,
        processes: int = 1,
        keep_bytes: int = 2 << 30,
        most: int | None = None,
    ) -> None:
        self.cases = cases
        self.plan = plan
        self.task = task
        self.process = process
        self.processes = processes
        names = list(cases.names)
        self.names = names if most is None else names[:: max(1, -(-len(names) // most))]
        self.source = source_shape(plan.patch, plan.augmentation) if task.dense else plan.patch
        self._kept: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        self._room = keep_bytes

    def _load(self, name: str) -> tuple[Any, Any]:
        """Array and mask; kept in memory while there is room, else sliced from disk."""
        if name in self._kept:
            return self._kept[name]
        array = self.cases.array(name)
        mask = self.cases.mask(name) if self.task.dense else None
        size = int(np.prod(array.shape)) * 5
        if size <= self._room:
            self._room -= size
            self._kept[name] = (np.asarray(array[:]), None if mask is None else np.asarray(mask[:]))
            return self._kept[name]
        return array, mask

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng(step_seed(self.plan.seed, 1, epoch)).permutation(len(self.names))

    def _chosen(self, step: int) -> list[str]:
        """The names of this process's share of the batch."""
        first = (step * self.processes + self.process) * self.plan.batch
        total = len(self.names)
        return [self.names[self._order(n // total)[n % total]] for n in range(first, first + self.plan.batch)]

    def _centre(self, name: str, shape: Sequence[int], random: np.random.Generator) -> list[int]:
        """The patch's centre, such that the patch stays inside the study where the study is larger than the patch."""
        points = self.cases.foreground(name) if random.random() < self.plan.foreground else {}
        classes = sorted(k for k, found in points.items() if len(found))
        if classes:
            found = points[classes[int(random.integers(len(classes)))]]
            centre = found[int(random.integers(len(found)))].astype(float)
            centre = centre + random.uniform(-0.25, 0.25, len(shape)) * np.array(self.plan.patch)
        else:
            centre = random.uniform(0, 1, len(shape)) * np.array(shape)
        result = []
        for place, size, patch in zip(centre, shape, self.plan.patch, strict=True):
            low, high = patch / 2, size - patch / 2
            result.append(round(float(np.clip(place, low, high))) if low < high else round(size / 2))
        return result

    def _dense(self, name: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        array, mask = self._load(name)
        in_air = self.plan.air > 0 and random.random() < self.plan.air
        centre = self._in_air(mask.shape, random) if in_air else self._centre(name, mask.shape, random)
        start = [c - n // 2 for c, n in zip(centre, self.source, strict=True)]
        image, answer = cut(array, start, self.source, channels=True), cut(mask, start, self.source, channels=False)
        if in_air:
            inside = cut(np.broadcast_to(np.True_, mask.shape), start, self.source, channels=False)
            image = np.where(inside, image, self._air(random))
        return image, answer

    def _in_air(self, shape: Sequence[int], random: np.random.Generator) -> list[int]:
        """The centre of a patch that may lie beyond the study, in part or wholly."""
        reach = _BEYOND * np.array(self.plan.patch)
        return [round(float(c)) for c in random.uniform(-reach, np.array(shape) + reach)]

    def _air(self, random: np.random.Generator) -> np.ndarray:
        """(C, *source) of a scanner's air and its noise."""
        noise = random.standard_normal((len(self.plan.normalisation), *self.source), np.float32)
        numbers = random.uniform(*_AIR_HU) + random.uniform(*_AIR_NOISE_HU) * noise
        channels = zip(numbers, self.plan.normalisation, strict=True)
        return np.stack([(hu.clip(one.low, one.high) - one.mean) / one.std for hu, one in channels]).astype(np.float32)

    def batch(self, step: int) -> Batch:
        """The batch of one step: image (B, C, *source), answer (B, *source) or as the task encodes it."""
        names = self._chosen(step)
        if not self.task.dense:
            images = [torch.from_numpy(np.array(self._load(name)[0][:])) for name in names]
            return Batch(torch.stack(images), torch.stack([self.task.encode(self.cases.target(n)) for n in names]))
        random = np.random.default_rng(step_seed(self.plan.seed, 2, step, self.process))
        pairs = [self._dense(name, random) for name in names]
        image = torch.from_numpy(np.stack([pair[0] for pair in pairs]))
        return Batch(image, torch.from_numpy(np.stack([pair[1] for pair in pairs])))

    def batches(self, first: int) -> Iterator[Batch]:
        """Endless batches from step ``first`` on; the next one is read by a thread while this one is used."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            ahead: Future[Batch] = pool.submit(self.batch, first)
            step = first
            while True:
                current = ahead.result()
                step += 1
                ahead = pool.submit(self.batch, step)
                yield current

    def whole(self, name: str) -> tuple[Tensor, Tensor]:
        """One case for validation, unaugmented: image (1, C, *patch or *shape), answer with a batch axis.

        For dense tasks the patch around the study's foreground (its centre where there is none).
        """
        array, mask = self._load(name)
        if not self.task.dense:
            return torch.from_numpy(np.array(array[:]))[None], self.task.encode(self.cases.target(name))[None]
        points = [found for found in self.cases.foreground(name).values() if len(found)]
        middle = np.concatenate(points).mean(0) if points else np.array(mask.shape) / 2
        start = []
        for place, size, patch in zip(middle, mask.shape, self.plan.patch, strict=True):
            free = size - patch
            start.append(round(min(max(0, place - patch / 2), free)) if free > 0 else -((-free) // 2))
        image = cut(array, start, self.plan.patch, channels=True)
        answer = cut(mask, start, self.plan.patch, channels=False)
        return torch.from_numpy(image)[None], torch.from_numpy(answer)[None].long()
