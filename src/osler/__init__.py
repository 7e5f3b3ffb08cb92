"""Osler: from a folder of medical studies to a trained, calibrated, validated model and its findings.

    import osler

    osler.train("data/hippocampus", budget="15m", output="models/hippocampus")
    osler.predict("models/hippocampus", ["scan.nii.gz"], output="out")

Names are imported when they are first used: ``import osler`` itself loads no array library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler import errors
    from osler.datasets.dataset import Dataset
    from osler.datasets.layouts import open_dataset
    from osler.models.folder import Model
    from osler.studies.image import Image
    from osler.studies.study import Study
    from osler.workflows.compress import compress
    from osler.workflows.convert import convert
    from osler.workflows.evaluate import evaluate
    from osler.workflows.fetch import fetch
    from osler.workflows.import_dataset import import_dataset
    from osler.workflows.inspect import inspect
    from osler.workflows.predict import predict
    from osler.workflows.train import train
    from osler.workflows.verify import verify

__all__ = [
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

_HOMES = {
    "Dataset": "osler.datasets.dataset",
    "Image": "osler.studies.image",
    "Model": "osler.models.folder",
    "Study": "osler.studies.study",
    "compress": "osler.workflows.compress",
    "convert": "osler.workflows.convert",
    "evaluate": "osler.workflows.evaluate",
    "fetch": "osler.workflows.fetch",
    "import_dataset": "osler.workflows.import_dataset",
    "inspect": "osler.workflows.inspect",
    "open_dataset": "osler.datasets.layouts",
    "predict": "osler.workflows.predict",
    "train": "osler.workflows.train",
    "verify": "osler.workflows.verify",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("osler.errors")
    if name == "__version__":
        from importlib.metadata import version

        return version("osler")
    if name not in _HOMES:
        raise AttributeError(f"module 'osler' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
