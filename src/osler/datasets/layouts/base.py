"""``Layout``: how one way of laying out a dataset on disk becomes a ``Manifest``."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import Manifest
from osler.datasets.plan import TaskName

__all__ = ["Layout"]


class Layout(Protocol):
    """The story: ``open_dataset`` asks each layout on its list, in order, whether it knows the path (``sniff``); the
    first that gives a reason reads it (``read``). Where none does, ``NEEDS`` (what the layout consists of) tells which
    is the nearest and what it lacks. A layout is a module with these four names; it holds no state.

    ``sniff`` looks at names and small headers only, never raises, and is quick on a folder of 100,000 files.
    ``read`` lists every case, opens no image further than its header (label values of unlabelled masks excepted), and
    refuses what is inconsistent, naming the file. It leaves patients alone unless the data names them: patterns are
    ``patients.with_patients``'s work. Every layout passes ``tests/datasets/test_layouts.py``.
    """

    NAME: str
    NEEDS: tuple[Need, ...]

    def sniff(self, path: Path) -> str | None:
        """Why this layout fits ``path`` (for the user to read), None when it does not."""

    def read(self, path: Path, task: TaskName | None) -> Manifest:
        """All cases of ``path``.

        Args:
            path: a file or folder for which ``sniff`` gave a reason.
            task: what is asked of the data; None takes what the layout holds.

        Raises:
            DatasetError: when the data is inconsistent, incomplete or without answers.
            UsageError: when the layout cannot answer ``task``.
        """
