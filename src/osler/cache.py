"""Where Osler keeps what it can make again: the user's cache, which may be deleted at any time."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]

_OFF = "off"


def cache_folder() -> Path | None:
    """``$OSLER_CACHE``, else ``$XDG_CACHE_HOME/osler``, else ``~/.cache/osler``.

    Returns:
        The folder, which need not exist; None where ``OSLER_CACHE`` is ``off``: nothing is kept then.
    """
    chosen = os.environ.get("OSLER_CACHE", "")
    if chosen:
        return None if chosen.lower() == _OFF else Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "osler"
