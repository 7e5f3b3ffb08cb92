"""A part of ``make fuzz`` that CI can afford, and that the fuzzing itself sees what it is there to see."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the child, a script, finds these modules so too
import fuzz_run
from fuzz_damage import zeros
from fuzz_judge import MOST_BYTES, judge
from fuzz_list import TARGETS
from fuzz_table import Failure, Tally, write_results
from fuzz_targets import make_case

from osler.errors import Unreadable
from osler.studies.formats import FORMATS, LABEL_FORMATS, SIGNAL_FORMATS
from osler.studies.image import Image

COUNT = 120
SEED = 20_240_501


@pytest.fixture(scope="module")
def tallies() -> dict[str, Tally]:
    """One process reads the inputs of all targets: most of the time of a short run is its start."""
    return fuzz_run.run({name: (0, COUNT) for name in TARGETS}, SEED)


def test_every_format_is_fuzzed() -> None:
    assert {one.NAME for one in (*FORMATS, *LABEL_FORMATS, *SIGNAL_FORMATS)} <= TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_are_read_or_refused_with_their_reason(name: str, tallies: dict[str, Tally]) -> None:
    tally = tallies[name]
    command = f"make fuzz FORMAT={name} SEED={SEED} COUNT={COUNT}"
    assert not tally.failures, f"{command}: {tally.failures[0]}"
    assert tally.inputs == COUNT
    assert tally.refused > COUNT / 5, "the damage does too little"


def test_an_input_is_made_again_from_its_number(tmp_path: Path) -> None:
    target = TARGETS["nrrd"]
    seeds = target.write_seeds(tmp_path / "seeds")
    one, other = (make_case(target, seeds, 7, 3, tmp_path / name) for name in ("one", "other"))
    assert one.what == other.what
    assert [p.name for p in sorted(one.path.parent.iterdir())] == [p.name for p in sorted(other.path.parent.iterdir())]
    assert one.path.read_bytes() == other.path.read_bytes()


def _raise(error: Exception) -> None:
    raise error


def _no_room() -> None:
    try:
        _raise(MemoryError("Unable to allocate 9 TiB"))
    except MemoryError as error:
        raise Unreadable("a.nii is damaged") from error


AFFINE = np.diag([1e200, 1e200, 1, 1])


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: _raise(KeyError("x")), "KeyError: 'x'"),
        (lambda: _raise(Unreadable(" ")), "without a problem"),
        (lambda: _raise(Unreadable("it is damaged")), "names no file"),
        (lambda: _raise(Unreadable("a.nii of Fuzzpatient")), "tells the patient's name"),
        (_no_room, "more memory than there is"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_reader_may_do_is_a_failure(call: object, why: str) -> None:
    verdict = judge([("read", call)], {"a.nii"})
    assert verdict.outcome == "failed"
    assert why in verdict.why


def test_half_a_file_that_is_read_is_a_failure() -> None:
    image = Image(np.zeros((1, 2, 2, 2), np.uint8))
    assert judge([("read", lambda: image)], {"a.nii"}).outcome == "read"
    assert "half of it is lost" in judge([("read", lambda: image)], {"a.nii"}, must_refuse=True).why


@pytest.fixture
def bad_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A child whose readers crash, hang and eat memory, one after the other."""
    script = tmp_path / "fuzz_child.py"
    script.write_text(
        "import json, os, sys, time\n"
        "task = json.loads(sys.argv[1])\n"
        "say = lambda **what: print(json.dumps(what), flush=True)\n"
        "name, start, stop = task['inputs'][0]\n"
        "for number in range(start, stop):\n"
        "    say(target=name, number=number)\n"
        "    say(what=f'damage {number}')\n"
        "    say(call='read')\n"
        "    if number == 1: os.abort()\n"
        "    if number == 2: time.sleep(60)\n"
        "    eaten = os.urandom(1 << 20) * (300 if number == 3 else 0)\n"
        "    if eaten: time.sleep(60)\n"
        "    say(outcome='refused', why='', what='', seconds=0.1, peak=0)\n"
        "say(done=True)\n"
    )
    monkeypatch.setattr(fuzz_run, "__file__", str(tmp_path / "fuzz_run.py"))
    monkeypatch.setattr(fuzz_run, "MOST_SECONDS", 1.5)
    monkeypatch.setattr(fuzz_run, "MOST_BYTES", 150 << 20)
    return script


def test_a_crash_a_hang_and_hunger_are_laid_to_their_input(bad_reader: Path, tmp_path: Path) -> None:
    tally = fuzz_run.run({"nifti": (0, 5)}, 0)["nifti"]
    assert [(one.number, one.what) for one in tally.failures] == [(1, "damage 1"), (2, "damage 2"), (3, "damage 3")]
    assert "SIGABRT" in tally.failures[0].why
    assert "hangs" in tally.failures[1].why
    assert "MiB of memory" in tally.failures[2].why
    assert tally.refused == 2


def test_parts_of_a_run_add_up_and_no_input_counts_twice(tmp_path: Path) -> None:
    bad = Tally(read=3, refused=6, failures=[Failure(12, "cut", "KeyError")], slowest=2.5, peak=300 << 20)
    parts = [(Tally(read=4, refused=6, slowest=0.5, peak=200 << 20), 0), (bad, 10), (Tally(read=5, refused=5), 10)]
    pages = []
    for tally, start in parts:
        write_results(tmp_path / "fuzzing.md", ["nrrd", "nifti"], "nifti", tally, 7, start)
        pages.append((tmp_path / "fuzzing.md").read_text())
    assert "| nifti | 10 | 4 | 6 | 0 | 0.50 s | 200 MiB | 7 |" in pages[0]
    assert "| nifti | 20 | 7 | 12 | 1 | 2.50 s | 300 MiB | 7 |" in pages[1]
    assert "| nifti | 20 | 9 | 11 | 0 | 0.50 s | 200 MiB | 7 |" in pages[2]
    write_results(tmp_path / "fuzzing.md", ["nrrd", "nifti"], "nrrd", Tally(refused=3), 8, 0)
    rows = [line for line in (tmp_path / "fuzzing.md").read_text().splitlines() if line.startswith("| n")]
    assert [row[:20] for row in rows] == ["| nrrd | 3 | 0 | 3 |", "| nifti | 20 | 9 | 1"]
    write_results(tmp_path / "fuzzing.md", ["nifti"], "nifti", Tally(refused=3), 8, 0)
    assert "| nifti | 3 | 0 | 3 | 0 |" in (tmp_path / "fuzzing.md").read_text()


@pytest.mark.parametrize("method", ["gzip", "bzip2", "zlib", "deflate"])
def test_bombs_are_what_they_announce(method: str) -> None:
    import bz2
    import gzip
    import zlib

    size = (40 << 20) + 7
    unpack = {"gzip": gzip.decompress, "bzip2": bz2.decompress, "zlib": zlib.decompress}
    squeezed = zeros(method, size, b"head")
    found = unpack.get(method, lambda data: zlib.decompress(data, -zlib.MAX_WBITS))(squeezed)
    assert len(found) == size < MOST_BYTES
    assert found[:6] == b"head\0\0"
    assert len(squeezed) < size / 900
