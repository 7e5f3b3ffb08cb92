"""The public names are a list, each of them is there, and each module keeps to its own list."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

import osler

SOURCE = Path(osler.__file__).parent
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.stat().st_size and path.name != "__main__.py")

PUBLIC = [
    "Dataset",
    "Image",
    "Model",
    "Study",
    "compress",
    "convert",
    "errors",
    "evaluate",
    "fetch",
    "import_dataset",
    "inspect",
    "open_dataset",
    "predict",
    "train",
    "verify",
]


def test_the_public_names_are_these() -> None:
    assert sorted(osler.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(osler, name).__doc__
    assert name in dir(osler)


def test_a_name_that_is_not_public_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'guess'"):
        osler.guess  # noqa: B018


def test_the_version_is_that_of_the_package() -> None:
    assert osler.__version__.count(".") == 2


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_every_module_says_what_it_is_for_and_what_is_public(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "no docstring"
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    listed = next(
        (
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        ),
        None,
    )
    assert listed is not None or not defined, "no __all__"
    unlisted = {name for name in defined if not name.startswith("_")} - set(listed or ())
    assert not unlisted, f"public in name only: {sorted(unlisted)}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_file_stays_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 450


def test_every_name_that_a_module_lists_exists() -> None:
    for room in ("errors", "progress", "workflows.durations", "cli.outcome", "cli.terminal"):
        module = import_module(f"osler.{room}")
        assert all(hasattr(module, name) for name in module.__all__)
