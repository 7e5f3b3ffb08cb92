"""The whole way on a phantom: write studies, inspect, train, evaluate on other patients, predict an unseen study."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osler.errors import OutputExists
from osler.progress import CancelToken, Progress, Silent
from osler.workflows.evaluate import Evaluated, evaluate
from osler.workflows.inspect import inspect
from osler.workflows.predict import Predictions, predict
from osler.workflows.settings import budget_seconds
from osler.workflows.train import TrainResult, train

__all__ = ["DemoResult", "demo"]

_WRITING = "writing chest CTs of phantoms as DICOM"
_CASES = 36
_OTHER_CASES = 10
_NEW_STUDY = "new-study"
_NEW_STUDY_SEED = 20_260
_INTENDED_USE = "Trying Osler out on phantoms; it has never seen a patient"


@dataclass(frozen=True)
class DemoResult:
    """What the demo left in ``folder``. ``evaluated`` and ``predicted`` are None when it was stopped before them.

    ``commands`` are what a user would type for the same steps.
    """

    folder: Path
    trained: TrainResult
    commands: tuple[str, ...]
    evaluated: Evaluated | None = None
    predicted: Predictions | None = None
    places: dict[str, Path] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether the whole way was walked."""
        return self.predicted is not None and self.predicted.complete and not self.trained.stopped_early

    def summary(self) -> list[str]:
        """Lines for a person: the figures, what to look at, and the commands to repeat it."""
        lines = self.evaluated.summary()[:-1] if self.evaluated is not None else ["stopped before it was measured"]
        lines += ["", "Look at"] + [f"  {what}: {path}" for what, path in self.places.items()]
        return [*lines, "", "The same with your own data", *(f"  {command}" for command in self.commands)]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "folder": str(self.folder),
            "model": None if self.trained.model is None else str(self.trained.model.path),
            "evaluation": None if self.evaluated is None else self.evaluated.record(),
            "prediction": None if self.predicted is None else self.predicted.record(),
            "places": {what: str(path) for what, path in self.places.items()},
        }


def demo(
    output: str | Path = "demo",
    *,
    budget: str | float = "3m",
    steps: int | None = None,
    cases: int = _CASES,
    force: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> DemoResult:
    """Walk the whole way.

    Args:
        output: a new folder for everything; what an earlier demo left there is replaced with ``force``.
        budget: time for planning and training, as "3m" or in seconds.
        steps: train exactly so many steps instead.
        cases: phantoms to train on.
        force: replace an earlier demo.
        progress: told of each stage.
        cancel: asked between pieces of work.

    Raises:
        OutputExists: when there is an earlier demo and ``force`` is off.
        StorageError: when the disk is full.
        Cancelled: when stopped before there was anything to keep.
    """
    from osler.studies.phantoms import chest_ct

    progress, cancel = progress or Silent(), cancel or CancelToken()
    folder = Path(output)
    budget_seconds(budget)  # a mistake is told before anything is written
    _make_room(folder, force=force)
    data, others, study = folder / "chest", folder / "other-patients", folder / _NEW_STUDY
    progress.start(_WRITING, None)
    chest_ct.write_dataset(data, cases=cases, seed=0)
    cancel.raise_if_cancelled()
    chest_ct.write_dataset(others, cases=_OTHER_CASES, seed=1)
    chest_ct.write_study(study, seed=_NEW_STUDY_SEED)
    progress.finish(_WRITING)
    inspection = folder / "inspection"
    inspect(data, task="segment", output=inspection, progress=progress, cancel=cancel)
    model = folder / "model"
    trained = train(
        data,
        output=model,
        task="segment",
        budget=budget,
        steps=steps,
        intended_use=_INTENDED_USE,
        progress=progress,
        cancel=cancel,
    )
    places = {
        "what is in the data": inspection / "index.html",
        "how the training went": trained.run_folder / "fold0" / "curves.png",
        "its figures on patients left out of training": trained.run_folder / "evaluation" / "index.html",
    }
    commands = (
        f"osler inspect {data} --task segment",
        f"osler train {data} --task segment --budget {budget} --output {model}",
        f"osler evaluate {model} {others} --output {folder / 'evaluation'}",
        f"osler predict {model} {study} --output {folder / 'prediction'}",
    )
    if trained.stopped_early:
        return DemoResult(folder, trained, commands, places=places)
    evaluated = evaluate(model, others, output=folder / "evaluation", progress=progress, cancel=cancel)
    predicted = predict(model, study, output=folder / "prediction", progress=progress, cancel=cancel)
    places["its figures on other patients"] = folder / "evaluation" / "index.html"
    places["the unseen study with its masks"] = folder / "prediction" / _NEW_STUDY / "overlay.png"
    return DemoResult(folder, trained, commands, evaluated, predicted, places)


def _make_room(folder: Path, *, force: bool) -> None:
    """Only what a demo writes is ever removed."""
    parts = ["chest", "other-patients", _NEW_STUDY, "inspection", "model", "model.run", "evaluation", "prediction"]
    there = [folder / part for part in parts if (folder / part).exists()]
    if there and not force:
        raise OutputExists(f"{folder} holds an earlier demo", remedy="give another --output, or --force to replace it")
    for part in there:
        shutil.rmtree(part)
