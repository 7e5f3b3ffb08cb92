"""The list of engines. Rooms above and other packages add theirs by the entry point group ``osler.engines``."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from osler.errors import MissingExtra, ModelError, Unknown
from osler.inference.engines.base import Engine, Output, Precision

__all__ = ["DEFAULT_ENGINE", "Engine", "Output", "Precision", "engine_names", "make_engine"]

DEFAULT_ENGINE = "openvino"
_BUILT_IN = {
    "openvino": "osler.inference.engines.openvino:OpenVinoEngine",
    "onnxruntime": "osler.inference.engines.onnxruntime:OnnxRuntimeEngine",
}
_GROUP = "osler.engines"


def _targets() -> dict[str, str]:
    return {**{point.name: point.value for point in entry_points(group=_GROUP)}, **_BUILT_IN}


def engine_names() -> list[str]:
    """All engines that are known, whether or not their library is installed."""
    return sorted(_targets())


def make_engine(name: str = DEFAULT_ENGINE) -> Engine:
    """A new engine by its name.

    Raises:
        Unknown: when no engine has this name.
        MissingExtra: when the library that the engine needs is not installed.
        ModelError: when an entry point does not name an engine.
    """
    target = _BUILT_IN.get(name) or _targets().get(name)  # built-in names need no scan of installed packages
    if target is None:
        raise Unknown(f"no engine is called {name!r}", remedy=f"choose one of {', '.join(engine_names())}")
    module, _, attribute = target.partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise MissingExtra(
            f"the engine {name!r} cannot be loaded ({error})", remedy="pip install 'osler[train]'"
        ) from error
    engine = kind()
    if not isinstance(engine, Engine):
        raise ModelError(f"the entry point {name!r} of {_GROUP} is not an engine", remedy="uninstall what provides it")
    return engine
