"""``PreparedStore``: every case of a training run prepared once, compressed on disk, read in patches.

A case is keyed by what it is made of (path, size and time of change of its files, key and row in an archive) and by
those fields of the plan that shape it. Building again finds what is there, so a killed build goes on where it was, two
runs with one preparation share their files, and a changed file is prepared anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from osler.datasets.dataset import Dataset
from osler.datasets.effort import seconds_for
from osler.datasets.manifest import ImageRef, Record, Target
from osler.datasets.parallel import over_studies
from osler.datasets.parts import (
    Row,
    Sample,
    clear_leftovers,
    open_array,
    read_points,
    read_rows,
    write_part,
)
from osler.datasets.plan import Plan
from osler.datasets.preparation import prepare, prepare_mask
from osler.errors import DatasetError, OslerError, StorageError, Unsuitable
from osler.progress import CancelToken, Progress, Silent
from osler.studies.geometry import Array

__all__ = ["POINTS_PER_CLASS", "PreparedStore", "Sliceable"]

STORE_VERSION = 2
POINTS_PER_CLASS = 2000
_SMALL = 1 << 20
"""Bytes up to which a prepared case is read whole and goes into a pack with others."""
_PACK, _PACK_BYTES = 64, 1 << 22
"""Cases in a pack at most, and bytes from which it is written: so much is prepared before it is safe on disk."""

_Each = Callable[[Iterable[tuple[Record, str]]], Iterator[Sample | Row | OslerError]]


class Sliceable(Protocol):
    """A NumPy array, or an array on disk: slicing gives a NumPy array."""

    shape: tuple[int, ...]

    def __getitem__(self, key: Any) -> Array:
        """The part of the array that ``key`` names, decompressed."""


class PreparedStore:
    """What ``build`` made. Safe to read from several threads and after a fork; it can be pickled.

    Args:
        folder: where the parts lie.
        records: the records that are in the store, by name, in order.
        rows: where each lies.
        refused: why the others are not, by name.
        memory: bytes of small cases that may stay decompressed.
    """

    def __init__(
        self,
        folder: Path,
        records: Mapping[str, Record],
        rows: Mapping[str, Row],
        refused: Mapping[str, str],
        *,
        memory: int = 1 << 29,
    ) -> None:
        self.folder = folder
        self.records = dict(records)
        self.refused = dict(refused)
        self._rows = dict(rows)
        self._packs: dict[tuple[str, str], Array] = {}
        self._memory = memory

    @classmethod
    def build(
        cls,
        dataset: Dataset,
        records: Sequence[Record],
        plan: Plan,
        folder: Path,
        *,
        progress: Progress | None = None,
        cancel: CancelToken | None = None,
        workers: int = 0,
        processes: int | None = None,
    ) -> PreparedStore:
        """Prepare what is not there yet. A case that cannot be prepared is listed in ``refused`` with the reason.

        Args:
            dataset: loads the cases.
            records: which cases; masks are prepared when the plan's labels are of kind ``mask``.
            plan: its preparation fields.
            folder: made when missing; may hold stores of other plans and data.
            progress: gets the stage "prepare", in cases that are not there yet.
            cancel: looked at between cases.
            workers: threads or processes; 0 takes one per processor, at most 4.
            processes: 0 works in threads alone; None starts ``workers`` processes where the work is worth it. A case
                whose process dies is tried once more and then refused. The files are the same bytes either way.

        Raises:
            DatasetError: when two records have one name.
            StorageError: when the disk is full or the folder not writable.
            PlanError: when the plan does not fit the data.
            Cancelled: what was prepared stays.
        """
        _check_names(records)
        progress = progress or Silent()
        folder = _make_folder(Path(folder) / _plan_key(plan, dataset))
        builder = _Builder(dataset, plan, folder)
        blocks = [builder.look_up(records[start : start + _PACK]) for start in range(0, len(records), _PACK)]
        todo = [record for block in blocks for record in block.todo]
        each = over_studies(
            _Prepare(dataset.with_records(()), plan, folder),
            seconds=seconds_for(dataset.manifest.root, todo),
            workers=workers,
            processes=processes,
            name=lambda job: job[0].name,
            cancel=cancel,
            say=progress.say,
        )
        progress.start("prepare", len(todo), "cases")  # what is there already would flatter the time left
        try:
            with each as each_of:
                for block in blocks:
                    builder.add(block, each_of, progress)
        finally:
            clear_leftovers(folder)
        progress.finish("prepare")
        stored = {record.name: record for record in records if record.name in builder.rows}
        return cls(folder, stored, builder.rows, builder.refused)

    def __repr__(self) -> str:
        return f"PreparedStore({len(self)} cases, {len(self.refused)} refused, {str(self.folder)!r})"

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The cases in the store, in the order of the records."""
        return tuple(self.records)

    @property
    def nbytes(self) -> int:
        """Bytes of all prepared images, decompressed."""
        return sum(4 * prod(row.shape) for row in self._rows.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """The spatial shape (I, J) or (I, J, K) on the working grid."""
        return self._rows[name].shape[1:]

    def target(self, name: str) -> Target | None:
        """The answer of a classification or regression case."""
        return self.records[name].target

    def array(self, name: str) -> Sliceable:
        """(C, *shape) float32. Take ``store.array(name)[:, 0:64, 0:64]``: only that part is decompressed.

        Do not write into the result; small cases are kept in memory.
        """
        row = self._rows[name]
        if row.begin < 0:
            return self._open(row, "image")
        return self._cut(row, "image", row.begin, row.shape)

    def mask(self, name: str) -> Sliceable:
        """(*shape) uint8 class indices: 0 background, n the n-th label (1-based)."""
        row = self._rows[name]
        if row.mask_begin < 0:
            return self._open(row, "mask")
        return self._cut(row, "mask", row.mask_begin, row.shape[1:])

    def foreground(self, name: str) -> dict[int, Array]:
        """At most ``POINTS_PER_CLASS`` voxels of each class that occurs, class index (1-based) to (N, D) int32.

        The choice depends on the case's name and mask only.
        """
        row = self._rows[name]
        if not row.points:
            return {}
        key = (row.part, "points")
        if key not in self._packs:
            self._packs[key] = read_points(self.folder, row.part)
        return {index: self._packs[key][start:stop] for index, (start, stop) in row.points.items()}

    def _open(self, row: Row, name: str) -> Sliceable:
        opened: Sliceable = open_array(self.folder, row.part, name)
        return opened

    def _cut(self, row: Row, name: str, begin: int, shape: tuple[int, ...]) -> Array:
        key = (row.part, name)
        if key not in self._packs:
            flat = self._open(row, name)
            size = prod(flat.shape) * (4 if name == "image" else 1)
            if size > self._memory:
                cut: Array = flat[begin : begin + prod(shape)]
                return cut.reshape(shape)
            self._memory -= size
            self._packs[key] = flat[:]
            self._packs[key].flags.writeable = False
        return self._packs[key][begin : begin + prod(shape)].reshape(shape)


@dataclass
class _Block:
    """Up to ``_PACK`` records: what is on disk of them, and what is still to be made.

    Args:
        digests: identity of each record whose files are there, by name.
        pack: names the packs of its small cases, with their number.
        packs: how many of them there are.
        found: the rows on disk, by digest.
        todo: the records to prepare.
    """

    digests: dict[str, str]
    pack: str
    packs: int
    found: dict[str, Row]
    todo: list[Record]


@dataclass(frozen=True)
class _Prepare:
    """Prepares one case, in this process or another: kept in memory when small, written when large.

    Args:
        dataset: without its records.
        plan, folder: of the store.
    """

    dataset: Dataset
    plan: Plan
    folder: Path

    def __call__(self, job: tuple[Record, str]) -> Sample | Row:
        record, digest = job
        sample = self._sample(record, digest)
        if sample.array.nbytes <= _SMALL:
            return sample
        return write_part(self.folder, digest, [sample], pack=False)[0]

    def _sample(self, record: Record, digest: str) -> Sample:
        masks = self.plan.labels.kind == "mask"
        case = self.dataset.load(record if masks else record.model_copy(update={"mask": None}))
        missing = [name for name in self.plan.channels if name not in case.study.images]
        if missing:
            raise Unsuitable(f"{record.name} has no image {', '.join(missing)}", remedy="add it or leave out the case")
        prepared = prepare([case.study.images[name] for name in self.plan.channels], self.plan)
        if not masks:
            return Sample(digest, prepared.array, None, {})
        if case.mask is None:
            raise Unsuitable(f"{record.name} has no mask", remedy="add it or leave out the case")
        mask = prepare_mask(case.mask, prepared.trace, self.plan)
        return Sample(digest, prepared.array, mask, _sample_points(mask, record.name))


class _Builder:
    """Fills ``rows`` and ``refused`` block by block: the small cases of a block become packs, each large one its
    own part."""

    def __init__(self, dataset: Dataset, plan: Plan, folder: Path) -> None:
        self.dataset, self.folder = dataset, folder
        self.masks = plan.labels.kind == "mask"
        self.rows: dict[str, Row] = {}
        self.refused: dict[str, str] = {}
        self._states: dict[str, str] = {}

    def look_up(self, block: Sequence[Record]) -> _Block:
        """What is there already."""
        digests = self._digests(block)
        pack = _sha(*sorted(digests.values()))
        found: dict[str, Row] = {}
        packs = 0
        while rows := read_rows(self.folder, f"{pack}-{packs}"):
            found |= {row.digest: row for row in rows}
            packs += 1
        for digest in set(digests.values()) - set(found):
            found |= {row.digest: row for row in read_rows(self.folder, digest)}
        todo = [record for record in block if record.name in digests and digests[record.name] not in found]
        return _Block(digests, pack, packs, found, todo)

    def add(self, block: _Block, each: _Each, progress: Progress) -> None:
        """Prepare what is to do, with the ``map`` of ``over_studies``."""
        jobs = [(record, block.digests[record.name]) for record in block.todo]
        small: list[Sample] = []
        for (record, digest), result in zip(jobs, each(jobs), strict=True):
            progress.advance("prepare", 1, record.name)
            if isinstance(result, OslerError):
                self.refused[record.name] = str(result)
            elif isinstance(result, Row):
                block.found[digest] = result
            else:
                small.append(result)
                if sum(sample.array.nbytes for sample in small) >= _PACK_BYTES:
                    self._write_pack(block, small)
        if small:
            self._write_pack(block, small)
        for name, digest in block.digests.items():
            if name not in self.refused:
                self.rows[name] = block.found[digest]

    def _write_pack(self, block: _Block, small: list[Sample]) -> None:
        """Write the small cases and let go of them."""
        rows = write_part(self.folder, f"{block.pack}-{block.packs}", small, pack=True)
        block.found |= {row.digest: row for row in rows}
        block.packs += 1
        small.clear()

    def _digests(self, block: Sequence[Record]) -> dict[str, str]:
        """Identity of each record's content by name; a record whose files are not there is refused."""
        digests = {}
        for record in block:
            refs = dict(record.images) | ({"/mask": record.mask} if self.masks and record.mask else {})
            try:
                digests[record.name] = _sha(record.name, *(self._identity(name, ref) for name, ref in refs.items()))
            except OSError as error:
                self.refused[record.name] = f"{error.filename} cannot be read: {error.strerror}."
        return digests

    def _identity(self, name: str, ref: ImageRef) -> str:
        values = [(layer.value, layer.structure) for layer in ref.layers]
        made_of = [(path, self._state_of(path)) for path in ref.paths]
        return json.dumps([name, ref.key, ref.index, ref.channel, values, made_of])

    def _state_of(self, path: str) -> str:
        """A digest of name, bytes and time of change of the files of an image; an archive holds many images."""
        if path not in self._states:
            place = self.dataset.manifest.root / path
            files = sorted(place.iterdir()) if place.is_dir() else [place]
            stats = [(file, file.stat()) for file in files]
            self._states[path] = _sha(
                str(place), *(f"{file.name} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats)
            )
        return self._states[path]


def _sample_points(mask: Array, name: str) -> dict[int, Array]:
    """At most ``POINTS_PER_CLASS`` coordinates (N, D) int32 of each class of ``mask``, in ascending order."""
    flat = mask.ravel()
    inside = np.flatnonzero(flat)
    classes = flat[inside]
    points = {}
    for index in np.unique(classes).tolist():
        here = inside[classes == index]
        if len(here) > POINTS_PER_CLASS:
            seed = int(_sha(name, str(index))[:16], 16)
            here = np.sort(np.random.default_rng(seed).choice(here, POINTS_PER_CLASS, replace=False))
        points[index] = np.stack(np.unravel_index(here, mask.shape), axis=1).astype(np.int32)
    return points


def _plan_key(plan: Plan, dataset: Dataset) -> str:
    fields = {"channels", "colours", "dimensions", "modality", "grid", "normalisation"}
    shaping = plan.model_dump_json(include=fields | ({"labels"} if plan.labels.kind == "mask" else set()))
    return _sha(str(STORE_VERSION), shaping, dataset.manifest.modality)


def _sha(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()[:32]


def _check_names(records: Sequence[Record]) -> None:
    seen: set[str] = set()
    for record in records:
        if record.name in seen:
            raise DatasetError(f"two cases are called {record.name}", remedy="give every case a name of its own")
        seen.add(record.name)


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {folder}: {error.strerror}", remedy="choose a folder that is writable"
        ) from error
    clear_leftovers(folder)
    return folder
