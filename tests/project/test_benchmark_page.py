"""``docs/benchmarks.md`` says what ``benchmarks/results`` say, and runs in turns are turns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def module_of(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return __import__(name)

    yield load
    for name in [
        name for name, module in sys.modules.items() if str(BENCHMARKS) in str(getattr(module, "__file__", ""))
    ]:
        del sys.modules[name]


def _result(folder: Path, **changes) -> None:
    row = {
        "what": "seconds", "value": 2.0, "low": 1.5, "high": 2.5, "n": "median of 5", "must_reach": "< 3 s",
        "peer": 9.0, "peer_low": None, "peer_high": None, "reference": "", "unit": "s", "aim": "1 s", "met": True,
    }  # fmt: skip
    machine = {"processor": "P", "cores": 2, "memory_gb": 24, "load": 0.4, "date": "2026-11-21T09:00", "commit": "abc"}
    record = {"title": "A thing", "peer": "another", "rows": [{**row, **changes}], "machine": machine}
    (folder / "thing.json").write_text(json.dumps(record))


def test_the_page_is_what_the_results_say(module_of):
    page = module_of("_page")
    assert page.PAGE.read_text() == page.page_of(BENCHMARKS / "results"), "run python benchmarks/_page.py"


def test_a_row_has_claim_aim_figure_peer_and_ratio(module_of, tmp_path):
    _result(tmp_path)
    text = module_of("_page").page_of(tmp_path)
    assert "| seconds | < 3 s ✓ | 1 s | 2.00 s (1.50 to 2.50) | 9.00 s | 4.5 | median of 5 |" in text
    assert "P, 2 cores, 24 GB, load 0.4 at the end; 2026-11-21, commit abc." in text


def test_what_was_not_reached_is_marked(module_of, tmp_path):
    _result(tmp_path, met=False)
    assert "< 3 s ✗" in module_of("_page").page_of(tmp_path)


def test_a_result_without_peer_or_aim_leaves_the_cells_empty(module_of, tmp_path):
    _result(tmp_path, peer=None, unit="", aim="", met=None)
    assert "| seconds | < 3 s |  | 2.000 (1.500 to 2.500) |  |  | median of 5 |" in module_of("_page").page_of(tmp_path)


def test_ways_run_in_turns_and_the_first_turn_does_not_count(module_of):
    alternate, runs = module_of("_alternate"), module_of("_runs")
    order: list[str] = []

    def way(name: str, seconds: float):
        def run():
            order.append(name)
            return runs.Run(0.0, 100.0 * len(order), json.dumps({"seconds": seconds * len(order)}))

        return run

    found = alternate.alternate({"a": way("a", 1.0), "b": way("b", 10.0)}, runs=3)
    assert order == ["a", "b"] * 4
    assert found["a"].seconds == (3.0, 5.0, 7.0)
    assert found["a"].median == 5.0
    assert found["b"].peak_mb == 800.0


def test_the_ratio_is_of_medians_and_its_interval_of_turns(module_of):
    alternate = module_of("_alternate")
    ours, theirs = alternate.Times((1.0, 2.0, 3.0), 0.0), alternate.Times((4.0, 6.0, 15.0), 0.0)
    row = alternate.times_faster("times faster", ours, theirs)
    assert (row.value, row.low, row.high) == (3.0, 3.0, 5.0)


def test_quick_runs_write_no_result(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); sys.argv.append('--quick');"
        "import _table; _table.RESULTS = __import__('pathlib').Path(sys.argv[1]);"
        "_table.write_table('x', 'X', [_table.Row('a', 1.0)])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "# X" in ended.stdout
    assert not list(tmp_path.iterdir())


def test_every_benchmark_says_what_it_measures():
    for script in BENCHMARKS.glob("[!_]*.py"):
        assert script.read_text().startswith('"""'), script.name
