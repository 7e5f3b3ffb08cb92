"""The one door for optional libraries: what is not installed answers with its install command."""

from __future__ import annotations

import importlib
from types import ModuleType

from osler.errors import MissingExtra

__all__ = ["require"]


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional library.

    Args:
        module: what to import, e.g. ``"onnxruntime"``.
        extra: the extra of Osler that installs it.
        purpose: what needs it, for the error's sentence.

    Raises:
        MissingExtra: when it is not installed; the remedy is the install command.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{purpose} needs {module}, which is not installed", remedy=f"pip install 'osler[{extra}]'"
        ) from error
