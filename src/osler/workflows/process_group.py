"""Several processes under ``torchrun``: the first plans and writes, the others wait for its plan and then train along.

Only the environment that torchrun sets is read here; gradients are exchanged by learning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from osler.errors import StorageError
from osler.progress import CancelToken

__all__ = ["ProcessGroup"]

_MARK = "planned-by"
_PATIENCE_S = 1800.0


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place. ``run`` is the same in all processes of one start and differs between starts."""

    rank: int = 0
    size: int = 1
    run: str = ""

    @classmethod
    def detect(cls, environment: Mapping[str, str] | None = None) -> ProcessGroup:
        """From torchrun's environment; a group of one without it."""
        found = os.environ if environment is None else environment
        if "TORCHELASTIC_RUN_ID" not in found:
            return cls()
        run = "-".join(found.get(key, "") for key in ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT"))
        return cls(int(found.get("RANK", "0")), int(found.get("WORLD_SIZE", "1")), run)

    @property
    def first(self) -> bool:
        """Whether this is the process that plans and writes."""
        return self.rank == 0

    def announce(self, folder: Path) -> None:
        """Tell the others that splits and plan are stored in ``folder``."""
        if self.size > 1:
            (folder / _MARK).write_text(self.run)

    def wait(self, folder: Path, cancel: CancelToken, *, patience_s: float = _PATIENCE_S) -> None:
        """Until the first process of this start has announced.

        Raises:
            StorageError: when it does not within half an hour (the folder is not shared, or that process died).
            Cancelled: when asked to stop.
        """
        until = time.monotonic() + patience_s
        while not self._announced(folder):
            cancel.raise_if_cancelled()
            if time.monotonic() > until:
                raise StorageError(
                    f"process {self.rank} of {self.size} saw no plan in {folder}",
                    remedy="give an --output that all machines share",
                )
            time.sleep(0.1)

    def _announced(self, folder: Path) -> bool:
        path = folder / _MARK
        return path.is_file() and path.read_text() == self.run
