"""``compress``: a smaller or faster model from a model, written only where it answers as well as its parent."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.datasets.dataset import Dataset
from osler.datasets.layouts import open_dataset
from osler.errors import OutputExists, PlanError, StorageError, Unknown, UsageError
from osler.extras import require
from osler.models.folder import Model
from osler.models.parity import FormName, ParityRecord
from osler.progress import CancelToken, Progress, Silent
from osler.workflows.compressing import Making, Wanted, parameters_of
from osler.workflows.finish import move_into_place
from osler.workflows.known_cases import known_cases
from osler.workflows.settings import budget_seconds, check_counts

__all__ = ["Compressed", "compress"]

_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Compressed:
    """What came of it.

    Args:
        model: None when nothing that was asked for may be shipped; then nothing was written.
        parity: how every form answered.
        refused: forms that were asked for and lose too much.
        parameters: of the parent and of what was made.
        megabytes: of the smallest OpenVINO graphs of the parent and of what was made.
    """

    model: Model | None
    parity: ParityRecord
    refused: tuple[FormName, ...]
    parameters: tuple[int, int]
    megabytes: tuple[float, float]

    def summary(self) -> list[str]:
        """Lines for a person."""
        lines = self.parity.sentences()
        for name in self.refused:
            form = self.parity.form(name)
            what = "the new network" if name == "float32" else name
            lines.append(f"not shipped: {what}: {', '.join(form.faults) if form else 'it was not measured'}")
        if self.model is None:
            return [*lines, "nothing was written"]
        before, after = self.parameters
        lines.append(
            f"parameters: {after:,} of {before:,}; graphs: {self.megabytes[1]:.2f} MB of {self.megabytes[0]:.2f}"
        )
        if after == before and self.megabytes[1] == self.megabytes[0]:
            lines.append("it is no smaller: the network is the same; --int8, --prune and --distil make another")
        return [*lines, f"runs in: {self.parity.allowed()[0]} where the processor has it", f"model: {self.model.path}"]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "model": None if self.model is None else str(self.model.path),
            "parity": self.parity.model_dump(mode="json"),
            "refused": list(self.refused),
            "parameters": {"parent": self.parameters[0], "model": self.parameters[1]},
            "megabytes": {"parent": self.megabytes[0], "model": self.megabytes[1]},
        }


def compress(
    model: Model | str | Path,
    dataset: Dataset | str | Path,
    *,
    output: str | Path,
    int8: bool = False,
    prune: float | None = None,
    distil: bool = False,
    budget: str | float = "15m",
    steps: int | None = None,
    seed: int = 0,
    patient: str | None = None,
    device: str = "auto",
    threads: int = 0,
    force: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Compressed:
    """Compress a model. Without ``int8``, ``prune`` and ``distil`` its bf16 form is compared and nothing else changed.

    Args:
        model: a model folder; it is not touched.
        dataset: what it was trained on. Its validation split judges, its training split is learnt from, and cases that
            it has not seen are left alone.
        output: the model folder to write.
        int8: quantise the graphs.
        prune: share of the filters of each level to take away, and train on.
        distil: train one network of the stronger half of the filters on what the model (all members of it) answers.
        budget: for the training of ``prune`` and ``distil``, as "15m" or in seconds.
        steps: train exactly so many steps instead.
        seed: of that training.
        patient: a regular expression that finds the patient in a case's name.
        device: "auto", "cpu" or "cuda", for training.
        threads: of the processor; 0 takes all.
        force: replace a model at ``output``.
        progress: told of each stage.
        cancel: asked all along; a stop writes nothing.

    Raises:
        UsageError, OutputExists, Unknown, MissingExtra: before any work, when it cannot be done as asked.
        ModelError: when the model is damaged, or for other data.
        TooFew: when the data hold none of the cases that the model was calibrated on.
        PlanError: when a network of this kind cannot be pruned or distilled.
        StorageError: when the disk is full or ``output`` cannot be written.
        Cancelled: when a stop was asked for.
    """
    check_counts(steps=steps, folds=1)
    parent = model if isinstance(model, Model) else Model.open(model)
    wanted = Wanted(
        int8=int8,
        prune=prune,
        distil=distil,
        budget_s=None if steps is not None else budget_seconds(budget),
        steps=steps or 1,
        seed=seed,
        device=device,
        threads=threads,
    )
    _check(wanted, parent)
    place = Path(output)
    _ensure_free(place, parent, force=force)
    sink, token = progress or Silent(), cancel or CancelToken()
    task = parent.plan.task
    opened = dataset if isinstance(dataset, Dataset) else open_dataset(dataset, task=task, patient=patient)
    cases = known_cases(parent, opened, seed=seed, progress=sink, cancel=token)
    staging, work = place.with_name(place.name + ".partial"), place.with_name(place.name + ".work")
    try:
        for folder in (staging, work):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        making = Making(parent, cases, wanted, place.name, staging, work, sink, token)
        return _judged(making, place, token)
    except OSError as error:
        raise StorageError.of(error, place) from error
    finally:
        for folder in (staging, work):
            shutil.rmtree(folder, ignore_errors=True)


def _judged(making: Making, place: Path, cancel: CancelToken) -> Compressed:
    """Make it, and move it into place where it may be shipped."""
    record = making.make()
    refused = _refused(record, making.wanted)
    made = Model.open(making.staging)
    sizes = (_megabytes(making.parent), _megabytes(made))
    counts = (parameters_of(making.parent), parameters_of(made))
    if "float32" in refused or (refused and not making.wanted.student):
        return Compressed(None, record, refused, counts, sizes)
    making.finish(record)
    cancel.raise_if_cancelled()
    sizes = (sizes[0], _megabytes(Model.open(making.staging)))
    move_into_place(making.staging, place)
    return Compressed(Model.open(place), record, refused, counts, sizes)


def _refused(record: ParityRecord, wanted: Wanted) -> tuple[FormName, ...]:
    """Of what was asked for: the student itself, and INT8. That bf16 is not allowed only means that it is not run."""
    asked: list[FormName] = [*(["float32"] if wanted.student else []), *(["int8"] if wanted.int8 else [])]  # type: ignore[list-item]
    return tuple(name for name in asked if (form := record.form(name)) is None or not form.allowed)


def _megabytes(model: Model) -> float:
    """Weights of the OpenVINO graphs; the quantised ones where there are any."""
    from osler.models.folder import INT8_SUFFIX

    names = [member.graphs.get(INT8_SUFFIX, member.graphs[".xml"]) for member in model.info.members]
    return sum((model.path / name).with_suffix(".bin").stat().st_size for name in names) / 1e6


def _check(wanted: Wanted, parent: Model) -> None:
    if wanted.device not in _DEVICES:
        raise Unknown(f"no device {wanted.device!r}", remedy=f"choose one of {', '.join(_DEVICES)}")
    if wanted.prune is not None and wanted.distil:
        raise UsageError(
            "both --prune and --distil were given, and each makes a new network", remedy="give one of them"
        )
    if wanted.prune is not None and not 0 < wanted.prune < 1:
        raise UsageError(f"{wanted.prune:g} is no share of the filters", remedy="give a number between 0 and 1, as 0.5")
    if wanted.student and parent.plan.regions:
        raise PlanError(
            "a network whose structures overlap cannot be trained here, so neither pruned nor distilled",
            remedy="compress it with --int8 only",
        )
    if wanted.student:
        require("torch", extra="train", purpose="pruning and distilling")
        require("torch_pruning", extra="train", purpose="osler compress --prune and --distil")


def _ensure_free(place: Path, parent: Model, *, force: bool) -> None:
    if place.exists() and parent.path.resolve() == place.resolve():
        raise UsageError("--output is the model itself", remedy="give another folder: the parent stays as it is")
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not force:
        raise OutputExists(f"{place} exists already", remedy="give another --output, or --force to replace it")
    if not (place / "model.json").is_file():  # whatever it is, it is not ours to remove
        raise OutputExists(f"{place} exists and is no model folder", remedy="give another --output")
