"""Each gate is fed something bad, in a copy, and must turn red: a gate that was never seen red is worth nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def _run(command: Sequence[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the project's configuration with empty rooms: quick to check, and green."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    source, rooms = ROOT / "src" / "osler", tmp_path / "src" / "osler"
    for module in [*source.glob("*.py"), *source.glob("*/__init__.py")]:
        target = rooms / module.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    for name in ("inspect", "evaluate", "predict", "verify"):
        (rooms / "workflows" / f"{name}.py").touch()
    return tmp_path


def _layers(house: Path) -> subprocess.CompletedProcess[str]:
    return _run([BIN / "lint-imports", "--no-cache", "--no-logo"], house, PYTHONPATH=str(house / "src"))


def test_empty_rooms_are_green(house: Path) -> None:
    assert _layers(house).returncode == 0
    assert _run([BIN / "ruff", "check", "--no-cache", "."], house).returncode == 0


def test_a_room_that_imports_a_room_above_turns_the_layers_red(house: Path) -> None:
    (house / "src/osler/studies/wrong.py").write_text("import osler.datasets\n")
    ended = _layers(house)
    assert ended.returncode == 1
    assert "osler.studies.wrong -> osler.datasets" in ended.stdout


def test_a_new_room_that_has_no_place_turns_the_layers_red(house: Path) -> None:
    (house / "src/osler/cellar").mkdir()
    (house / "src/osler/cellar/__init__.py").touch()
    ended = _layers(house)
    assert ended.returncode == 1
    assert "cellar" in ended.stdout


@pytest.mark.parametrize("library", ["torch", "monai.networks.nets", "lightning_fabric"])
def test_torch_outside_learning_turns_the_contract_red(house: Path, library: str) -> None:
    (house / "src/osler/metrics/wrong.py").write_text(f"def use() -> None:\n    import {library}\n")
    ended = _layers(house)
    assert ended.returncode == 1
    assert "Only learning imports torch" in ended.stdout
    assert "BROKEN" in ended.stdout


def test_prediction_that_reaches_learning_turns_the_contract_red(house: Path) -> None:
    (house / "src/osler/workflows/helper.py").write_text("import osler.learning\n")
    (house / "src/osler/workflows/predict.py").write_text("import osler.workflows.helper\n")
    ended = _layers(house)
    assert ended.returncode == 1
    assert "osler.workflows.helper -> osler.learning" in ended.stdout


_BRANCHES = "\n".join(f"    if x == {n}:\n        return {n + 100}" for n in range(10))


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        (f"def tangled(x: int) -> int:\n{_BRANCHES}\n    return 0\n", "C901"),
        ("try:\n    import json\nexcept Exception:\n    json = None\n", "BLE001"),
        ("import json\n", "F401"),
        ("# x = compute(1)\n", "ERA001"),
        ("print('here')\n", "T201"),
        ("import pickle\n\npickle.loads(b'')\n", "S301"),
    ],
)
def test_bad_code_turns_ruff_red(house: Path, code: str, rule: str) -> None:
    (house / "src/osler/studies/wrong.py").write_text(code)
    ended = _run([BIN / "ruff", "check", "--no-cache", "--output-format", "concise", "."], house)
    assert ended.returncode == 1
    assert rule in ended.stdout


def test_a_file_that_is_not_formatted_turns_ruff_format_red(house: Path) -> None:
    (house / "src/osler/studies/wrong.py").write_text("x = {  'a':1 }\n")
    assert _run([BIN / "ruff", "format", "--no-cache", "--check", "."], house).returncode == 1


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("def area(width, height):\n    return width * height\n", "no-untyped-def"),
        ("def name() -> str:\n    return 3\n", "return-value"),
    ],
)
def test_missing_or_wrong_types_turn_mypy_red(house: Path, code: str, fault: str) -> None:
    (house / "src/osler/studies/wrong.py").write_text(code)
    ended = _run([BIN / "mypy", "--cache-dir", house / "cache"], house)
    assert ended.returncode == 1
    assert fault in ended.stdout


def _measure(folder: Path, calls: str) -> subprocess.CompletedProcess[str]:
    (folder / "src/osler/studies/half.py").write_text(
        "def one() -> int:\n    x = 1\n    return x\n\n\ndef two() -> int:\n    x = 2\n    x += 0\n    return x\n"
    )
    (folder / "tests").mkdir()
    (folder / "tests/test_half.py").write_text(f"from osler.studies import half\n\n\ndef test_half():\n    {calls}\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "--cov=osler"]
    return _run(command, folder, PYTHONPATH=str(folder / "src"), COVERAGE_FILE=str(folder / ".coverage"))


def test_code_that_no_test_runs_turns_the_coverage_floor_red(house: Path) -> None:
    ended = _measure(house, "assert half.one() == 1")
    assert ended.returncode == 1
    assert "1 passed" in ended.stdout
    assert "Required test coverage" in ended.stdout + ended.stderr


def test_code_that_tests_run_leaves_the_coverage_floor_green(house: Path) -> None:
    assert _measure(house, "assert half.one() + half.two() == 3").returncode == 0
