"""How a workflow tells what it does and hears that it should stop, without printing and without globals."""

from __future__ import annotations

import threading
from typing import Protocol

from osler.errors import Cancelled

__all__ = ["CancelToken", "Progress", "Silent"]


class Progress(Protocol):
    """A sink for progress. A stage is started, advanced, and finished; stages may follow one another.

    A terminal, a notebook and a web service each implement it. Implementations must be safe to call from threads.
    """

    def start(self, stage: str, total: float | None, unit: str = "") -> None:
        """A stage begins. ``total`` is in ``unit`` ("cases", "s", "steps"); None when it is not known."""

    def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
        """``amount`` more of the stage is done; ``note`` replaces the text beside the bar."""

    def finish(self, stage: str) -> None:
        """The stage ended."""

    def say(self, message: str) -> None:
        """One line for the user that should stay on the screen."""


class Silent:
    """A sink that shows nothing: the default of every Python function."""

    def start(self, stage: str, total: float | None, unit: str = "") -> None:
        """Nothing is shown."""

    def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
        """Nothing is shown."""

    def finish(self, stage: str) -> None:
        """Nothing is shown."""

    def say(self, message: str) -> None:
        """Nothing is shown."""


class CancelToken:
    """A flag that a face sets (Ctrl-C, a button) and a workflow looks at between two pieces of work."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop at its next safe point."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def raise_if_cancelled(self) -> None:
        """Raises:
        Cancelled: when a stop was asked for.
        """
        if self.cancelled:
            raise Cancelled("stopped at your request", remedy="run the same command again to go on from here")
