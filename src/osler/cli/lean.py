"""Loading libraries without those parts of them that a command has no use for, so that it starts sooner.

Only in a process of the command line, where nobody else uses these libraries: nibabel loads all of pydicom (0.2 s) for
DICOM headers that a NIfTI file may carry, which Osler does not read, and OpenVINO its converter (0.06 s). Whoever asks
for these parts afterwards still gets them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["load_libraries"]

_NIFTI = (".nii", ".nii.gz")


def load_libraries(paths: Sequence[Path], engine: str) -> None:
    """Load what predicting these studies with this engine needs.

    Args:
        paths: as given on the command line.
        engine: its name.
    """
    if any(path.name.lower().endswith(_NIFTI) for path in paths):
        with _absent("pydicom"):
            importlib.import_module("nibabel")
    if engine == "openvino":
        with _absent("openvino.tools.ovc"):
            importlib.import_module("openvino")


@contextmanager
def _absent(name: str) -> Iterator[None]:
    """While it lasts, importing a module that was not loaded before fails as if it were not installed."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's own word for "is not there"
    try:
        yield
    finally:
        del sys.modules[name]
