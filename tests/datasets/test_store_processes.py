"""The prepared store made by processes: the same bytes, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from test_pool import alive, eventually
from test_store import BLOB, CLASSES, SPACING, Counter, a_plan

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.measure import measure
from osler.datasets.plan import GridPlan
from osler.datasets.store import PreparedStore
from osler.workflows.inspect import inspect


class Deadly(Dataset):
    """A data set whose case3 kills whoever reads it, as a reader with a fault in its C code would."""

    def with_records(self, records):
        return Deadly(self.manifest.model_copy(update={"records": records}))

    def read_case(self, record):
        if record.name == "case3":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_case(record)


class Slow(Dataset):
    """A data set that tells who reads it, and takes its time from the fourth case on."""

    def with_records(self, records):
        return Slow(self.manifest.model_copy(update={"records": records}))

    def read_case(self, record):
        (self.manifest.root / f"{os.getpid()}.pid").touch()
        if record.name >= "case3":
            time.sleep(60)
        return super().read_case(record)


@pytest.fixture
def volumes(tmp_path) -> Manifest:
    """Six volumes with masks, those of odd number large (over a megabyte when prepared)."""
    root = tmp_path / "data"
    root.mkdir()
    records = []
    for n in range(6):
        shape = (80, 70, 60) if n % 2 else (12 + n, 10, 9)
        mask = np.zeros(shape, np.uint8)
        mask[3:9, 2:8, 2:7] = 1
        image = np.random.default_rng(n).normal(mask, 0.1).astype(np.float32)
        nibabel.Nifti1Image(image, np.diag([-1.3, 1, 1, 1.0])).to_filename(root / f"i{n}.nii.gz")
        nibabel.Nifti1Image(mask, np.diag([-1.3, 1, 1, 1.0])).to_filename(root / f"m{n}.nii.gz")
        images = {"image": ImageRef(path=f"i{n}.nii.gz")}
        records.append(Record(name=f"case{n}", images=images, mask=ImageRef(path=f"m{n}.nii.gz")))
    return Manifest(name="v", root=root, layout="test", labels=BLOB, records=tuple(records))


@pytest.fixture
def photographs(tmp_path) -> Manifest:
    """Colour pictures in an archive, which the plan makes grey."""
    pixels = np.random.default_rng(0).integers(0, 255, (30, 37, 41, 3)).astype(np.uint8)
    np.savez(tmp_path / "p.npz", images=pixels)
    refs = [ImageRef(path="p.npz", key="images", index=n) for n in range(len(pixels))]
    records = tuple(Record(name=f"p{n}", images={"image": ref}, target=n % 2) for n, ref in enumerate(refs))
    return Manifest(name="p", root=tmp_path, layout="test", labels=CLASSES, records=records)


def build(dataset, plan, folder, *, processes, workers=2):
    counter = Counter()
    store = PreparedStore.build(
        dataset, dataset.records, plan, folder, progress=counter, workers=workers, processes=processes
    )
    return store, counter.prepared


def files_of(store):
    return {path.name: path.read_bytes() for path in store.folder.iterdir()}


def test_threads_and_processes_write_the_same_bytes(volumes, photographs, tmp_path):
    pictures = a_plan(GridPlan(resize="stretch", shape=(20, 24)), CLASSES, 2)
    for dataset, plan in ((Dataset(volumes), a_plan(SPACING)), (Dataset(photographs), pictures)):
        made = []
        for processes in (0, 1, 2):
            folder = tmp_path / f"{dataset.manifest.name}{processes}"
            made.append(build(dataset, plan, folder, processes=processes, workers=processes or 1)[0])
        assert files_of(made[0]) == files_of(made[1]) == files_of(made[2])
        assert made[0].names == made[1].names == made[2].names == tuple(record.name for record in dataset)


def test_a_case_that_kills_its_process_is_refused_as_an_unreadable_one_and_the_rest_is_as_without_it(volumes, tmp_path):
    lines = []

    class Told(Counter):
        def say(self, message):
            lines.append(message)

    dataset = Deadly(volumes)
    store = PreparedStore.build(dataset, dataset.records, a_plan(SPACING), tmp_path / "s", progress=Told(), processes=2)
    assert store.names == ("case0", "case1", "case2", "case4", "case5")
    assert list(store.refused) == ["case3"]
    assert "case3 was killed (SIGKILL) and again" in store.refused["case3"]
    assert lines == ["case3: its process was killed (SIGKILL); it is tried once more, alone"]
    threads, _ = build(Dataset(volumes), a_plan(SPACING), tmp_path / "threads", processes=0)
    assert all(np.array_equal(store.array(name)[:], threads.array(name)[:]) for name in store.names)


def test_inspection_and_measuring_refuse_it_too(volumes, monkeypatch):
    monkeypatch.setattr("osler.datasets.parallel.WORTH_PROCESSES_S", 0.0)
    dataset = Deadly(volumes)
    assert [name for name, _ in measure(dataset, dataset.records).unreadable] == ["case3"]
    (found,) = (problem for problem in inspect(dataset).problems if problem.code == "unreadable")
    assert found.cases == ("case3",)
    assert "SIGKILL" in found.details["case3"]


def test_what_was_finished_before_the_parent_was_killed_is_not_done_again(volumes, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_store_processes import *\n"
        f"volumes = Manifest.model_validate_json({volumes.model_dump_json()!r})\n"
        f"build(Slow(volumes), a_plan(SPACING), {str(tmp_path / 's')!r}, processes=2)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)])
    try:
        assert eventually(lambda: list((tmp_path / "s").rglob("*.json")), 60)
    finally:
        parent.kill()
        parent.wait()
    workers = [int(path.stem) for path in volumes.root.glob("*.pid")]
    assert workers
    assert eventually(lambda: not any(alive(worker) for worker in workers))
    store, prepared = build(Dataset(volumes), a_plan(SPACING), tmp_path / "s", processes=0)
    assert prepared == 5
    assert len(store) == 6


def test_ctrl_c_stops_cleanly_and_leaves_no_process(volumes, tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_store_processes import *\nfrom osler.cli.terminal import terminal\n"
        f"volumes = Manifest.model_validate_json({volumes.model_dump_json()!r})\n"
        "with terminal() as (progress, cancel):\n    PreparedStore.build(Slow(volumes), volumes.records, "
        f"a_plan(SPACING), {str(tmp_path / 's')!r}, processes=2, progress=progress, cancel=cancel)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: list((tmp_path / "s").rglob("*.json")), 60)
        os.killpg(parent.pid, signal.SIGINT)
        _, said = parent.communicate(timeout=30)
    finally:
        parent.kill()
        parent.wait()
    assert "finishing cleanly" in said
    assert "Cancelled: stopped at your request" in said
    assert "KeyboardInterrupt" not in said
    workers = [int(path.stem) for path in volumes.root.glob("*.pid")]
    assert not any(alive(worker) for worker in workers)
    assert not list((tmp_path / "s").rglob("*.part"))
