"""The documentation holds: its links lead somewhere, and its blocks marked ``run`` run.

Blocks run page by page in a folder with small data under the names that the pages use. What a page says of time is
kept short: ``--budget 15m``, or no budget, becomes ``--steps 4``. A page that trains no model itself finds one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, Block, anchors_of, blocks_of, links_of
from small_data import write_small_data

RUNNABLE = [page for page in PAGES if any(block.runs for block in blocks_of(page))]
# pages that train nothing and need no model
QUICK = {"lay-out-your-data.md", "change-a-plan.md", "inspect-a-dataset.md", "fetch-public-data.md"}
_TRAINS = re.compile(r"osler train (?!.*--plan-only)|osler\.train\(")


def _shortened(code: str) -> str:
    code = re.sub(r'budget="\w+"', "steps=4", re.sub(r"--budget \w+", "--steps 4", code))
    return re.sub(r"osler train (?!.*--steps)", "osler train --steps 4 ", code)


def _run(block: Block, folder: Path) -> None:
    code = _shortened(block.code)
    command = [sys.executable, "-c", code] if block.language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ended = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"line {block.line}: {code}\n{ended.stdout}\n{ended.stderr}"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small data and a model that was trained for a moment."""
    folder = tmp_path_factory.mktemp("docs")
    write_small_data(folder)
    _run(Block("bash run", "osler train data/hippocampus --steps 4 --output models/hippocampus", 0), folder)
    return folder


def _run_page(page: Path, folder: Path) -> None:
    blocks = [block for block in blocks_of(page) if block.runs]
    cells = [block for block in blocks if block.language == "python"]
    for block in blocks:
        if block.language == "bash":
            _run(block, folder)
    if cells:  # one program, as the cells of a notebook are
        _run(Block(cells[0].info, "\n".join(block.code for block in cells), cells[0].line), folder)


@pytest.mark.parametrize("page", [p for p in RUNNABLE if p.name in QUICK], ids=lambda page: page.name)
def test_a_page_that_trains_nothing_runs(page: Path, tmp_path: Path) -> None:
    write_small_data(tmp_path)
    _run_page(page, tmp_path)


@pytest.mark.parametrize("page", [p for p in RUNNABLE if p.name not in QUICK], ids=lambda page: page.name)
def test_a_page_runs(page: Path, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "workspace"
    shutil.copytree(trained, folder)
    if any(_TRAINS.search(block.code) for block in blocks_of(page) if block.runs):
        shutil.rmtree(folder / "models")
    _run_page(page, folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in links_of(page):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        place = (page.parent / target).resolve() if target else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors_of(place)):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_in_the_docs_exists_with_its_options(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from osler.cli import main

    known: dict[str, str] = {}
    for block in blocks_of(page):
        for command, rest in re.findall(
            r"(?:^|/|\s)osler (\w+)([^\n|>]*)", block.code if block.language == "bash" else ""
        ):
            if command not in known:
                assert main([command, "--help"]) == 0, f"line {block.line}: no command {command}"
                known[command] = capsys.readouterr().out
            missing = [option for option in re.findall(r"(?<=\s)--[a-z-]+", rest) if option not in known[command]]
            assert not missing, f"line {block.line}: osler {command} has no {missing}"


def test_the_four_parts_of_the_documentation_are_there() -> None:
    for part in ("tutorials", "how-to", "concepts", "reference"):
        assert list((ROOT / "docs" / part).glob("*.md")), part


def test_every_page_is_reached_from_the_index() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links_of(page) if ":" not in link]
    pages = {page for page in PAGES if page.parent.name != "decisions" and "docs" in page.parts}
    assert not pages - reached


def test_design_records_are_numbered_and_say_status_and_date() -> None:
    records = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(record.name[:4]) for record in records] == list(range(1, len(records) + 1))
    for record in records:
        assert re.search(
            r"^Status: (accepted|superseded by \d+|withdrawn) · \d{4}-\d\d-\d\d$", record.read_text(), re.M
        )


def test_every_extension_point_in_contributing_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    missing = [name for name in re.findall(r"`((?:tests|docs)/[\w./-]+)`", text) if not (ROOT / name).exists()]
    missing += [
        name
        for name in re.findall(r"`((?!tests/)[a-z]+/[\w/]+(?:__init__)?\.py)`", text)
        if "NAME" not in name and not (ROOT / "src/osler" / name).exists()
    ]
    assert not missing
