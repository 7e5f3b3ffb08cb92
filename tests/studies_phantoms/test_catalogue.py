"""Every phantom on the list: the same seed writes the same bytes, the truth names every case, options are refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from osler.cli import main
from osler.errors import Cancelled, OutputExists, Unknown, UsageError
from osler.progress import CancelToken, Silent
from osler.studies.phantoms import brain_mr, cardiac_cine, chest_ct, chest_xray, ecg, planted, slide_cells
from osler.studies.phantoms.catalogue import PHANTOMS, write
from osler.studies.phantoms.degrade import Faults

SMALL: dict[str, tuple[Any, dict[str, Any]]] = {
    "chest-ct": (chest_ct, {"cases": 1, "size": (32, 32, 16), "faults": Faults(dose=0.3, motion=4), "times": 2}),
    "chest-xray": (chest_xray, {"cases": 1, "size": 64, "faults": Faults(dose=0.3, motion=2)}),
    "brain-mr": (brain_mr, {"cases": 1, "coarser": 4, "faults": Faults(motion=2, bias=0.3)}),
    "cardiac-cine": (cardiac_cine, {"cases": 1, "frames": 14, "faults": Faults(motion=1, bias=0.3)}),
    "ecg": (ecg, {"cases": 2, "seconds": 3}),
    "slide-cells": (slide_cells, {"cases": 1, "size": 256}),
    "planted": (planted, {"cases": 1}),
}


def digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    parts = [path.relative_to(folder).as_posix().encode() + path.read_bytes() for path in files]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_every_phantom_of_the_list_is_tested() -> None:
    assert [one.name for one in PHANTOMS] == list(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_writes_the_same_bytes_and_another_one_others(name: str, tmp_path: Path) -> None:
    module, options = SMALL[name]
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        module.write_dataset(tmp_path / folder, seed=seed, **options)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
    truth = json.loads((tmp_path / "a" / "truth.json").read_text())
    assert (truth["version"], truth["phantom"], truth["seed"]) == (1, name, 1)
    assert len(truth["cases"]) == options["cases"] * options.get("times", 1)
    assert len({case["seed"] for case in truth["cases"].values()}) == options["cases"]
    with pytest.raises(OutputExists, match="is not empty"):
        module.write_dataset(tmp_path / "a", seed=1, **options)


def test_nodules_grow_as_their_doubling_time_says(tmp_path: Path) -> None:
    chest_ct.write_dataset(tmp_path, cases=2, seed=5, size=(32, 32, 16), times=3)
    cases = json.loads((tmp_path / "truth.json").read_text())["cases"]
    grew = 0
    for patient in ("chest-001", "chest-002"):
        visits = [cases[f"{patient}-{visit}"] for visit in (1, 2, 3)]
        assert [visit["day"] for visit in visits] == [0, 90, 180]
        for first, _, last in zip(*(visit["nodules"] for visit in visits), strict=True):
            days = first["doubling_days"]
            wanted = 1.0 if days is None else 2 ** (180 / days)
            assert last["volume_mm3"] / first["volume_mm3"] == pytest.approx(wanted)
            assert last["centre_lps_mm"] == first["centre_lps_mm"]
            grew += days is not None
    assert grew > 0


def test_a_nodules_volume_is_that_of_its_voxels() -> None:
    from osler.studies.geometry import volume_per_voxel

    early, late = (chest_ct.make(8, nodules=1, size=(128, 128, 90), day=day) for day in (0, 720))
    for phantom in (early, late):
        voxels = (phantom.mask.array == 4).sum() * volume_per_voxel(phantom.image.affine)
        assert voxels == pytest.approx(phantom.nodules[0].volume, rel=0.05)


def test_the_command_writes_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["phantom", "ecg", "--output", str(tmp_path / "ecg"), "--cases", "2", "--seed", "3", "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"ok": True, "phantom": "ecg", "folder": str(tmp_path / "ecg"), "cases": 2, "times": 1}
    assert main(arguments) == 2
    assert "is not empty" in capsys.readouterr().err


def test_what_a_phantom_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unknown, match="no phantom 'knee'"):
        write("knee", tmp_path)
    for name, faults, times, option in (
        ("ecg", Faults(dose=0.5), 1, "dose"),
        ("chest-ct", Faults(bias=0.5), 1, "bias"),
        ("slide-cells", Faults(motion=2), 1, "motion"),
        ("cardiac-cine", Faults(), 2, "times"),
    ):
        with pytest.raises(UsageError, match=f"{name} has no option {option}"):
            write(name, tmp_path, faults=faults, times=times)
    with pytest.raises(UsageError, match="cases must be 1 or more, not 0"):
        write("ecg", tmp_path, cases=0)


def test_it_stops_when_asked_and_counts_its_cases(tmp_path: Path) -> None:
    class Counting(Silent):
        seen = 0.0

        def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
            self.seen += amount

    progress, cancel = Counting(), CancelToken()
    write("ecg", tmp_path / "whole", cases=3, progress=progress)
    assert progress.seen == 3
    cancel.cancel()
    with pytest.raises(Cancelled, match="stopped at your request"):
        write("ecg", tmp_path / "stopped", cases=3, cancel=cancel)
