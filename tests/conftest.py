"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own: the user's stays as it is."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSLER_CACHE", str(place))
        yield place


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; tests that need it are skipped where there is none, never in CI."""
    root = Path(os.environ.get("OSLER_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not root.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the shared data, and {root} does not exist")
        pytest.skip(f"no shared data at {root} (set OSLER_SHARED)")
    return root
