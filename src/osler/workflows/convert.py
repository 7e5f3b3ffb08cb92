"""A trained nnU-Net v2 results folder as a model folder: weights, plan, graphs, parity, card. Needs torch once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osler.assurance.card import model_card
from osler.datasets.plan import Plan
from osler.errors import ModelError, OutputExists, StorageError, UsageError
from osler.extras import require
from osler.models.folder import DataSummary, Member, Model, ModelInfo, seal, sha256_of
from osler.models.nnunet.axes import Axes
from osler.models.nnunet.plan import mirror_axes_of, plan_of
from osler.models.nnunet.results import CheckpointName, Results, choose_checkpoints, find_results
from osler.models.nnunet.weights import Trained, read_checkpoint
from osler.models.torch_file import TorchFile
from osler.progress import CancelToken, Progress, Silent
from osler.workflows.finish import move_into_place

if TYPE_CHECKING:
    from osler.learning.conversion import Parity

__all__ = ["Converted", "convert"]

_STAGE = "converting"
_UNITS = "steps"
_STEPS = ("read", "exported", "compared with torch")
"""Of each fold."""


@dataclass(frozen=True)
class Converted:
    """What was made: the model, the checkpoint of each fold, and how each exported graph compares with torch."""

    model: Model
    checkpoints: dict[str, Path]
    parity: tuple[Parity, ...]
    notes: tuple[str, ...]

    def summary(self) -> list[str]:
        """Lines for a person."""
        plan = self.model.plan
        worst = max(self.parity, key=lambda one: one.difference)
        answers = [region.name for region in plan.regions] or list(plan.labels.names)
        return [
            f"wrote {self.model.path}: {len(self.parity)} network(s), {plan.network.family}, patch {plan.patch}",
            f"answers: {', '.join(answers[:8])}{' ...' if len(answers) > 8 else ''}",
            f"parity with torch: logits differ by at most {worst.difference:.2g} (largest {worst.largest:.3g}), "
            f"{min(one.same_answer for one in self.parity):.4%} of voxels the same",
            *self.notes,
            "not measured by Osler: osler evaluate does that on labelled studies that it was not trained on",
        ]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "model": self.model.path,
            "checkpoints": {fold: str(path) for fold, path in self.checkpoints.items()},
            "parity": [one.model_dump() for one in self.parity],
            "notes": list(self.notes),
        }


def convert(
    results: str | Path,
    *,
    output: str | Path,
    configuration: str | None = None,
    folds: Sequence[str | int] = (),
    checkpoint: CheckpointName | None = None,
    orientation: str | None = None,
    intended_use: str = "",
    force: bool = False,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Converted:
    """Convert.

    Args:
        results: the folder Trainer__Plans__configuration, or one above it.
        output: the model folder to write.
        configuration: which, where there are several.
        folds: which; by default all that were trained; several become an ensemble.
        checkpoint: "final" or "best"; by default "final" where every fold has it.
        orientation: three letters such as "RAS", where the pipeline around the model turned studies that way first.
        intended_use: what the model is for; written into its card.
        force: replace a model at ``output``.
        progress: where to tell; None is silent.
        cancel: asked between folds and their steps.

    Raises:
        PathNotFound, UsageError: when there is no trained model, or none that fits what was asked for.
        ModelError: when a file holds something that is refused, or the model a part that Osler does not know.
        OutputExists: before any work.
        MissingExtra: when torch is not installed; it is needed for the conversion, and not afterwards.
        StorageError: when the disk is full or ``output`` cannot be written.
        Cancelled: when a stop was asked for.
    """
    place = Path(output)
    _ensure_free(place, force=force)
    _check_orientation(orientation)
    found = find_results(results, configuration)
    checkpoints = choose_checkpoints(found, [str(fold) for fold in folds], checkpoint)
    plan, axes = plan_of(found, orientation=orientation)
    require("torch", extra="train", purpose="converting a model")
    sink, token = progress or Silent(), cancel or CancelToken()
    staging = place.with_name(place.name + ".partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        sink.start(_STAGE, len(_STEPS) * len(checkpoints), _UNITS)
        work = _Work(plan, axes, found, staging)
        for fold, path in checkpoints.items():
            token.raise_if_cancelled()
            for step, _ in zip(_STEPS, work.add(fold, path), strict=True):
                sink.advance(_STAGE, 1, f"fold {fold} {step}")
                token.raise_if_cancelled()
        sink.finish(_STAGE)
        _write(work, checkpoints, place.name, intended_use)
        move_into_place(staging, place)
    except OSError as error:
        raise StorageError.of(error, place) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Converted(Model.open(place), checkpoints, tuple(work.parity), _notes(work.plan, orientation))


class _Work:
    """What came of the folds so far; each is read, exported and compared by itself, so that one is held in memory."""

    def __init__(self, plan: Plan, axes: Axes, results: Results, staging: Path) -> None:
        self.plan, self.results = plan, results
        self.members: list[Member] = []
        self.parity: list[Parity] = []
        self.trainers: list[str] = []
        self.epochs: list[int] = []
        self._axes, self.staging = axes, staging

    def add(self, fold: str, path: Path) -> Iterator[None]:
        """Export one fold, in ``_STEPS``: each is done when it yields."""
        from osler.learning.conversion import check_parity, network_with
        from osler.learning.export import export_member

        with TorchFile(path) as file:
            trained = read_checkpoint(file, self.plan.network, self._axes)
        self._settle(trained, path)
        yield
        network = network_with(self.plan, trained.weights)
        number = int(fold) if fold.isdigit() else None
        member = export_member(network, self.plan, self.staging, len(self.members), steps=0, fold=number)
        yield
        self.parity.append(check_parity(network, self.plan, self.staging, member))
        self.members.append(member)
        self.trainers.append(trained.trainer)
        self.epochs.append(trained.epochs)
        yield

    def _settle(self, trained: Trained, path: Path) -> None:
        """What only the checkpoint says goes into the plan; all folds must say the same."""
        if trained.configuration not in ("", self.results.configuration):
            raise ModelError(
                f"{path} was trained for {trained.configuration}, not for {self.results.configuration}",
                remedy="give --configuration, or the folder that it belongs to",
            )
        mirror = mirror_axes_of(self.plan, self._axes, trained.mirror_axes)
        network = self.plan.network.model_copy(update={"normalisation": trained.normalisation})
        settled = self.plan.model_copy(update={"network": network, "mirror_axes": mirror, "members": 1})
        if self.members and settled != self.plan:
            raise ModelError(
                f"{path} was trained in another way than the fold before it", remedy="convert one --fold at a time"
            )
        self.plan = settled


def _write(work: _Work, checkpoints: dict[str, Path], name: str, intended_use: str) -> None:
    """plan.json, the card, and model.json over all files."""
    plan = Plan.model_validate(work.plan.model_copy(update={"members": len(work.members)}).model_dump())
    staging = work.staging
    (staging / "plan.json").write_text(plan.model_dump_json(indent=1))
    dataset = str(work.results.plans["dataset_name"])
    answers = ", ".join([region.name for region in plan.regions] or plan.labels.names)
    use = intended_use or f"Research on studies like those of {dataset}: it outlines {answers}."
    cases = work.results.dataset.get("numTraining")
    count = cases if type(cases) is int else 0
    info = ModelInfo(
        osler_version=version("osler"),
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        intended_use=use,
        members=tuple(work.members),
        data=DataSummary(name=dataset, modality=plan.modality, train=count, split_by="unknown"),
        lineage={
            "method": "nnU-Net v2, converted",
            "trainer": work.trainers,
            "configuration": work.results.configuration,
            "plans": work.results.plans.get("plans_name", ""),
            "epochs": work.epochs,
            "checkpoints": {f"fold_{fold}/{path.name}": sha256_of(path) for fold, path in checkpoints.items()},
            "parity": [one.model_dump() for one in work.parity],
        },
    )
    (staging / "card.md").write_text(model_card(name, None, intended_use=use, facts=_facts(work, plan, info)))
    seal(staging, info)


def _facts(work: _Work, plan: Plan, info: ModelInfo) -> dict[str, str]:
    network, worst = plan.network, max(work.parity, key=lambda one: one.difference)
    epochs = ", ".join(str(count) if count else "?" for count in work.epochs)
    cases = f"{info.data.train} cases" if info.data.train else "an unknown number of cases"
    turned = plan.grid.orientation or "as the file has them"
    return {
        "Trained by": f"nnU-Net v2 ({', '.join(sorted(set(work.trainers)))}), {work.results.configuration}, "
        f"{len(work.members)} fold(s) of {epochs} epochs; converted, not trained, by Osler",
        "Trained on": f"{cases} of {info.data.name}; which ones, and of how many patients, is not recorded",
        "Network": f"{network.family}, filters {', '.join(map(str, network.features))}; patch {plan.patch}",
        "Axes of studies": turned,
        "Parity": f"logits of the exported graphs differ from torch's by at most {worst.difference:.2g}",
        "Calibration": "none: probabilities are the network's own",
        "Performance": "not measured by Osler; ask its maker, and measure it with osler evaluate",
    }


def _notes(plan: Plan, orientation: str | None) -> tuple[str, ...]:
    if plan.dimensions == 2 or orientation or plan.grid.orientation:
        return ()
    return (
        "studies keep the axes of their files, as nnU-Net does it; if the pipeline around this model turned them first "
        "(TotalSegmentator: RAS), convert it with --orientation RAS",
    )


def _check_orientation(orientation: str | None) -> None:
    pairs = ("LR", "PA", "IS")
    if orientation is None or (len(orientation) == 3 and all(sum(c in p for c in orientation) == 1 for p in pairs)):
        return
    raise UsageError(
        f"{orientation!r} is no orientation", remedy="give three letters, one each of L or R, P or A, I or S, as RAS"
    )


def _ensure_free(place: Path, *, force: bool) -> None:
    if not place.exists() or (place.is_dir() and not any(place.iterdir())):
        return
    if not force:
        raise OutputExists(f"{place} exists already", remedy="give another --output, or --force to replace it")
    if not (place / "model.json").is_file():  # whatever it is, it is not ours to remove
        raise OutputExists(f"{place} exists and is no model folder", remedy="give another --output")
