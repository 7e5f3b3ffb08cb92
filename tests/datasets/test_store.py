"""The prepared store: what it holds, how it resumes, what it refuses."""

from __future__ import annotations

import errno
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.datasets import parts, store
from osler.datasets.dataset import Dataset
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.plan import (
    AugmentationPlan,
    GridPlan,
    LossPlan,
    NetworkPlan,
    NormalisationPlan,
    OptimiserPlan,
    Plan,
)
from osler.datasets.preparation import prepare, prepare_mask
from osler.datasets.store import PreparedStore
from osler.errors import Cancelled, DatasetError, StorageError
from osler.progress import CancelToken, Silent

CLASSES = LabelSet(kind="classes", labels=(Label(name="a", value=0), Label(name="b", value=1)))
BLOB = LabelSet(kind="mask", labels=(Label(name="blob", value=1),))


def a_plan(grid, labels=BLOB, dimensions=3):
    return Plan(
        task="segment" if labels.kind == "mask" else "classify",
        dimensions=dimensions,
        channels=("image",),
        labels=labels,
        grid=grid,
        normalisation=(NormalisationPlan(kind="image", low=0.5, high=99.5),),
        patch=(8,) * dimensions,
        batch=1,
        network=NetworkPlan(family="unet", features=(8,), strides=((1,) * dimensions,), blocks=(1,)),
        loss=LossPlan(name="dice_ce"),
        optimiser=OptimiserPlan(),
        augmentation=AugmentationPlan(flips=(False,) * dimensions),
        steps=1,
    )


SPACING = GridPlan(resize="spacing", spacing=(1.0, 1.0, 1.0), orientation="RAS")


@pytest.fixture
def volumes(tmp_path) -> Dataset:
    """Six volumes with masks; the fifth is large (over a megabyte)."""
    root = tmp_path / "data"
    root.mkdir()
    records = []
    for n in range(6):
        shape = (80, 70, 60) if n == 4 else (12 + n, 10, 9)
        mask = np.zeros(shape, np.uint8)
        mask[3:9, 2:8, 2:7] = 1
        image = np.random.default_rng(n).normal(mask, 0.1).astype(np.float32)
        nibabel.Nifti1Image(image, np.diag([-1, 1, 1, 1.0])).to_filename(root / f"i{n}.nii.gz")
        nibabel.Nifti1Image(mask, np.diag([-1, 1, 1, 1.0])).to_filename(root / f"m{n}.nii.gz")
        images = {"image": ImageRef(path=f"i{n}.nii.gz")}
        records.append(Record(name=f"case{n}", images=images, mask=ImageRef(path=f"m{n}.nii.gz")))
    return Dataset(Manifest(name="v", root=root, layout="test", labels=BLOB, records=tuple(records)))


@pytest.fixture
def thumbnails(tmp_path) -> Dataset:
    """300 pictures of 28 × 28 in an archive."""
    pixels = np.random.default_rng(0).integers(0, 255, (300, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "t.npz", images=pixels)
    refs = [ImageRef(path="t.npz", key="images", index=n) for n in range(300)]
    records = tuple(Record(name=f"t{n}", images={"image": ref}, target=n % 2) for n, ref in enumerate(refs))
    return Dataset(Manifest(name="t", root=tmp_path, layout="test", labels=CLASSES, records=records))


class Counter(Silent):
    """Counts the cases that were prepared and not found."""

    def __init__(self):
        self.prepared, self.done = 0, 0.0

    def advance(self, stage, amount=1.0, note=""):
        self.done += amount
        self.prepared += bool(note)


def build(dataset, plan, folder, **options):
    counter = Counter()
    built = PreparedStore.build(dataset, dataset.records, plan, Path(folder), progress=counter, **options)
    assert counter.done == counter.prepared
    return built, counter.prepared


def test_the_store_holds_what_preparation_makes(volumes, tmp_path):
    built, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    assert built.names == tuple(f"case{n}" for n in range(6))
    for record in volumes:
        case = volumes.load(record)
        prepared = prepare([case.study.image], a_plan(SPACING))
        assert built.shape(record.name) == prepared.array.shape[1:]
        assert np.array_equal(built.array(record.name)[:], prepared.array)
        assert np.array_equal(built.array(record.name)[:, 1:5, 2:, 3:4], prepared.array[:, 1:5, 2:, 3:4])
        assert np.array_equal(built.mask(record.name)[:], prepare_mask(case.mask, prepared.trace, a_plan(SPACING)))


def test_foreground_points_lie_in_their_class_and_are_always_the_same(volumes, tmp_path):
    first, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    again, _ = build(volumes, a_plan(SPACING), tmp_path / "elsewhere")
    for name in first.names:
        points = first.foreground(name)[1]
        assert points.dtype == np.int32
        assert len(points) == 180
        assert (first.mask(name)[:][tuple(points.T)] == 1).all()
        assert np.array_equal(points, again.foreground(name)[1])


def test_no_more_than_the_allowed_points_are_kept(volumes, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "POINTS_PER_CLASS", 50)
    built, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    points = built.foreground("case4")[1]
    assert len(np.unique(points, axis=0)) == len(points) == 50


def test_building_again_prepares_nothing(volumes, tmp_path):
    assert build(volumes, a_plan(SPACING), tmp_path / "s")[1] == 6
    assert build(volumes, a_plan(SPACING), tmp_path / "s")[1] == 0


def test_another_preparation_is_another_store_and_another_schedule_is_not(volumes, tmp_path):
    plan = a_plan(SPACING)
    build(volumes, plan, tmp_path / "s")
    assert build(volumes, plan.model_copy(update={"steps": 99, "seed": 5}), tmp_path / "s")[1] == 0
    finer = plan.model_copy(update={"grid": GridPlan(resize="spacing", spacing=(2.0, 2.0, 2.0))})
    assert build(volumes, finer, tmp_path / "s")[1] == 6


def test_a_changed_file_is_prepared_anew(volumes, tmp_path):
    build(volumes, a_plan(SPACING), tmp_path / "s")
    path = volumes.manifest.root / "i4.nii.gz"
    new = np.random.default_rng(9).normal(size=(80, 70, 60)).astype(np.float32)
    nibabel.Nifti1Image(new, np.diag([-1, 1, 1, 1.0])).to_filename(path)
    built, prepared = build(volumes, a_plan(SPACING), tmp_path / "s")
    assert prepared >= 1
    assert built.array("case4")[:].std() == pytest.approx(1, abs=1e-3)
    assert built.array("case4")[0, 0, 0, 0] != 0


def test_a_build_that_was_stopped_goes_on(volumes, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_PACK", 2)
    token = CancelToken()

    class StopAfterFour(Silent):
        seen = 0

        def advance(self, stage, amount=1.0, note=""):
            self.seen += bool(note)
            if self.seen == 4:
                token.cancel()

    with pytest.raises(Cancelled, match="go on from here"):
        PreparedStore.build(
            volumes, volumes.records, a_plan(SPACING), tmp_path / "s", progress=StopAfterFour(), cancel=token
        )
    built, prepared = build(volumes, a_plan(SPACING), tmp_path / "s")
    assert len(built) == 6
    assert prepared <= 2


def test_what_a_killed_build_left_is_ignored_and_removed(volumes, tmp_path):
    built, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    leftover = built.folder / f"x.image.b2nd.{parts.socket.gethostname()}.999999999.1.part"
    leftover.write_bytes(b"half")
    build(volumes, a_plan(SPACING), tmp_path / "s")
    assert not leftover.exists()


def test_a_truncated_part_is_made_again(volumes, tmp_path):
    built, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    expected = built.array("case4")[:]
    largest = max(built.folder.glob("*.image.b2nd"), key=lambda p: p.stat().st_size)
    fresh = largest.read_bytes()[:1000]
    largest.unlink()
    largest.write_bytes(fresh)
    again, prepared = build(volumes, a_plan(SPACING), tmp_path / "s")
    assert prepared == 1
    assert np.array_equal(again.array("case4")[:], expected)


def test_a_bad_study_is_listed_with_its_reason_and_the_others_go_on(volumes, tmp_path):
    root = volumes.manifest.root
    (root / "i0.nii.gz").write_bytes(b"not a volume")
    (root / "i1.nii.gz").unlink()
    nibabel.Nifti1Image(np.ones((14, 10, 9), np.uint8), np.eye(4) * 3).to_filename(root / "m2.nii.gz")
    nibabel.Nifti1Image(np.full((15, 10, 9), 4, np.uint8), np.diag([-1, 1, 1, 1.0])).to_filename(root / "m3.nii.gz")
    built, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    assert built.names == ("case4", "case5")
    assert "i0.nii.gz" in built.refused["case0"]
    assert "No such file" in built.refused["case1"]
    assert "does not lie on the image's grid" in built.refused["case2"]
    assert "no label: 4" in built.refused["case3"]


def test_a_refused_study_that_was_repaired_joins_the_pack(volumes, tmp_path):
    path = volumes.manifest.root / "i1.nii.gz"
    stat, good = path.stat(), path.read_bytes()
    path.write_bytes(b"x" * len(good))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    partial, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    assert set(partial.refused) == {"case1"}
    path.write_bytes(good)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    repaired, prepared = build(volumes, a_plan(SPACING), tmp_path / "s")
    fresh, _ = build(volumes, a_plan(SPACING), tmp_path / "fresh")
    assert prepared == 1
    for name in partial.names:
        assert np.array_equal(partial.array(name)[:], fresh.array(name)[:])
    for name in fresh.names:
        assert np.array_equal(repaired.array(name)[:], fresh.array(name)[:])
        assert np.array_equal(repaired.mask(name)[:], fresh.mask(name)[:])
        assert np.array_equal(repaired.foreground(name)[1], fresh.foreground(name)[1])


def test_small_cases_share_files(thumbnails, tmp_path):
    plan = a_plan(GridPlan(resize="stretch", shape=(28, 28)), CLASSES, 2)
    built, _ = build(thumbnails, plan, tmp_path / "s")
    assert len(list(built.folder.iterdir())) == 10  # five packs: arrays and rows
    assert [built.target(f"t{n}") for n in range(4)] == [0, 1, 0, 1]
    assert built.foreground("t0") == {}
    with np.load(tmp_path / "t.npz") as archive:
        got = np.stack([built.array(f"t{n}")[0] for n in range(300)])
        assert all(
            np.corrcoef(g.T.ravel(), p.ravel())[0, 1] > 0.999 for g, p in zip(got, archive["images"], strict=True)
        )


def test_a_pack_is_written_as_soon_as_it_is_large_and_found_again(volumes, tmp_path, monkeypatch):
    whole, _ = build(volumes, a_plan(SPACING), tmp_path / "whole")
    monkeypatch.setattr(store, "_PACK_BYTES", 8_000)
    built, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    assert len(list(built.folder.glob("*-*.json"))) == 3  # of two, two and one small case
    again, prepared = build(volumes, a_plan(SPACING), tmp_path / "s")
    assert prepared == 0
    for name in whole.names:
        assert np.array_equal(again.array(name)[:], whole.array(name)[:])
        assert np.array_equal(again.mask(name)[:], whole.mask(name)[:])
        assert np.array_equal(again.foreground(name)[1], whole.foreground(name)[1])


def test_without_memory_the_same_comes_from_disk(thumbnails, tmp_path):
    plan = a_plan(GridPlan(resize="stretch", shape=(20, 24)), CLASSES, 2)
    built, _ = build(thumbnails, plan, tmp_path / "s")
    frugal = PreparedStore(built.folder, built.records, built._rows, {}, memory=0)
    assert all(np.array_equal(frugal.array(name), built.array(name)) for name in built.names)


def test_threads_and_a_pickled_copy_read_the_same(volumes, tmp_path):
    built, _ = build(volumes, a_plan(SPACING), tmp_path / "s")
    copy = pickle.loads(pickle.dumps(built))  # noqa: S301 - our own bytes
    expected = built.array("case4")[:, 10:40, 5:35, 7:37]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: copy.array("case4")[:, 10:40, 5:35, 7:37], range(40)))
    assert all(np.array_equal(g, expected) for g in got)


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "the disk is full: .* needs .*B more.*free space"), (errno.EROFS, "cannot write .*writable")],
)
def test_a_disk_that_is_full_or_locked_is_said_in_one_sentence(volumes, tmp_path, monkeypatch, code, message):
    def refuse(self, data):
        raise OSError(code, "no")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match=message):
        build(volumes, a_plan(SPACING), tmp_path / "s")


def test_a_folder_that_cannot_be_made_is_refused(volumes, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make the folder"):
        build(volumes, a_plan(SPACING), tmp_path / "file" / "s")


def test_two_cases_of_one_name_are_refused(volumes, tmp_path):
    twice = volumes.with_records(volumes.records[:1] * 2)
    with pytest.raises(DatasetError, match="two cases are called case0"):
        build(twice, a_plan(SPACING), tmp_path / "s")
