"""Checkpoints of a run: written whole or not at all, read without executing anything."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from osler.errors import StorageError

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside, flush to disk, rename: a kill at any moment leaves the old or the new file, never a part.

    Raises:
        StorageError: when the disk is full or the folder is not writable.
    """
    temporary = path.with_suffix(".partial")
    try:
        with temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        full = isinstance(error, RuntimeError) or error.errno == errno.ENOSPC
        raise StorageError(
            f"the checkpoint {path} could not be written ({error})",
            remedy="free some space and run the same command again" if full else "check the folder's permissions",
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """The checkpoint, or None when there is none. Tensors and plain values only (``weights_only``).

    Raises:
        StorageError: when the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StorageError(
            f"the checkpoint {path} is damaged ({error})", remedy="delete the run folder to start anew"
        ) from error
    return loaded
