"""Near-duplicates: images that show the same thing, found by a perceptual hash.

Each image is reduced to small square pictures (three central slices of a volume), and each picture to the signs of its
lowest cosine frequencies, 255 bits that brightness, contrast, resizing and small marks hardly change. Two images are
near-duplicates when at most ``CLOSE`` of 255 bits differ; unrelated ones differ in about half.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import ImageRef, Record
from osler.progress import Progress, Silent
from osler.studies.formats import read_image
from osler.studies.geometry import Array

__all__ = ["CLOSE", "close_pairs", "duplicate_groups", "linked", "perceptual_hash"]

CLOSE = 38  # measured: look-alikes begin at 40 (5,856 radiographs of 28 px); most marked or resized copies end below
_SIDE = 32
_FREQUENCIES = 16
_BITS = _FREQUENCIES**2 - 1
_BLOCK = 512


def perceptual_hash(array: Array) -> Array:
    """The hash of one image.

    Args:
        array: (C, I, J) or (C, I, J, K).

    Returns:
        (255,) for a picture, (765,) for a volume; int8, each +1 or -1.
    """
    grey = array[0] if array.shape[0] == 1 else array
    if grey.ndim > 2 and array.ndim == 4:
        volume = array[0]  # one channel is enough to tell volumes apart, and a mean would read them all
        middles = [np.take(volume, n // 2, axis=axis) for axis, n in enumerate(volume.shape) if n > 1]
        pictures = middles if volume.shape[-1] > 1 else [volume[..., 0]]
    else:
        pictures = [grey if grey.ndim == 2 else grey.astype(np.float32).mean(axis=0)]
    return np.concatenate([_bits(p) for p in pictures])


def _bits(picture: Array) -> Array:
    """(rows, columns) to (255,) signs of the lowest frequencies about their median."""
    from scipy.fft import dctn

    small = _shrunk(np.nan_to_num(picture.astype(np.float32)))
    low = dctn(small, norm="ortho")[:_FREQUENCIES, :_FREQUENCIES].ravel()[1:]
    return np.where(low > np.median(low), 1, -1).astype(np.int8)


def _shrunk(picture: Array) -> Array:
    """(rows, columns) to (32, 32), each the mean of its area."""
    for axis in (0, 1):
        size = picture.shape[axis]
        edges = np.linspace(0, size, _SIDE + 1)
        total = np.concatenate(
            [np.zeros((1, picture.shape[1 - axis])), np.cumsum(np.moveaxis(picture, axis, 0), axis=0)]
        )
        whole = np.minimum(edges.astype(int), size - 1)
        part = (edges - whole)[:, None]
        at_edges = total[whole] * (1 - part) + total[whole + 1] * part
        picture = np.moveaxis(np.diff(at_edges, axis=0) * (_SIDE / size), 0, axis)
    return picture


def duplicate_groups(
    dataset: Dataset, records: Sequence[Record], *, progress: Progress | None = None
) -> list[tuple[int, ...]]:
    """Which records show the same thing: every record is in exactly one group, most are alone in theirs.

    Args:
        dataset: to read images from.
        records: the cases to compare, by their first image.
        progress: told of each image read.

    Returns:
        Groups of indices into ``records``, each ascending, in order of their first.

    Raises:
        StudyError: when an image cannot be read.
    """
    progress = progress or Silent()
    stage = "looking for near-duplicates"
    progress.start(stage, len(records), "cases")
    hashes: list[Array] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for code in pool.map(lambda r: _hash_of(dataset, next(iter(r.images.values()))), records):
            hashes.append(code)
            progress.advance(stage)
    progress.finish(stage)
    pairs = [(one, other) for same in _by_length(hashes) for one, other, _ in close_pairs(hashes, same, CLOSE)]
    return linked(len(records), pairs)


def _hash_of(dataset: Dataset, ref: ImageRef) -> Array:
    path = dataset.path_of(ref)
    return _cached_hash(path, path.stat().st_mtime_ns, ref.key, ref.index)


@lru_cache(maxsize=100_000)  # splitting and describing the splits each ask for it
def _cached_hash(path: Path, _modified: int, key: str | None, index: int | None) -> Array:
    return perceptual_hash(read_image(path, key=key, index=index).array)


def _by_length(hashes: Sequence[Array]) -> list[list[int]]:
    """Pictures are compared with pictures, volumes with volumes."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, code in enumerate(hashes):
        groups[len(code)].append(index)
    return list(groups.values())


def close_pairs(hashes: Sequence[Array], members: Sequence[int], bits: float) -> list[tuple[int, int, int]]:
    """Pairs of members with few differing bits: products of ±1 in blocks, 10,000 images in about two seconds.

    Args:
        hashes: all hashes.
        members: which of them to compare; their hashes have one length.
        bits: of 255 that may differ.

    Returns:
        Both indices into ``hashes`` and how many of 255 bits differ.
    """
    codes = np.stack([hashes[m] for m in members])
    length = codes.shape[1]
    enough = length - 2 * bits * length / _BITS  # the product of equal codes is their length, each difference costs 2
    pairs = []
    for start in range(0, len(members), _BLOCK):
        here = codes[start : start + _BLOCK].astype(np.float32)
        for other in range(start, len(members), _BLOCK):
            alike = here @ codes[other : other + _BLOCK].T.astype(np.float32)
            places = np.argwhere(alike >= enough)
            apart = ((length - alike[tuple(places.T)]) / 2 * _BITS / length).round().astype(int)
            found = (places + np.array([start, other])).tolist()
            pairs += [(members[a], members[b], n) for (a, b), n in zip(found, apart.tolist(), strict=True) if a < b]
    return pairs


def linked(count: int, pairs: Sequence[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Groups of what is connected through pairs (union-find)."""
    parent = list(range(count))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in pairs:
        parent[max(root(a), root(b))] = min(root(a), root(b))
    groups: dict[int, list[int]] = defaultdict(list)
    for node in range(count):
        groups[root(node)].append(node)
    return [tuple(group) for group in groups.values()]
