"""From a trained coarse network to its place in a model folder: export, bound chosen, losses counted, or left out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from osler.datasets.coarse import coarse_plan
from osler.datasets.dataset import Dataset
from osler.datasets.manifest import Record
from osler.datasets.plan import Plan
from osler.datasets.preparation import grid_difference, trace_of
from osler.datasets.slabs import fits
from osler.errors import DatasetError, GridMismatch, StudyError
from osler.inference.bounding import Seen, choose, look, lost_of
from osler.inference.calibrate import images_of
from osler.inference.coarse import CoarsePass
from osler.models.folder import Coarse, Model, ModelInfo, seal
from osler.progress import Progress

if TYPE_CHECKING:
    from osler.workflows.finish import Trained

__all__ = ["FOLDER", "add_coarse"]

FOLDER = "coarse"
_STAGE = "measuring the coarse pass"
_FEWEST_CASES = 5  # with a target, of validation: fewer say nothing about what is lost
_MOST_WINDOWS = 0.8  # of the fine windows: a bound that leaves more saves nothing


def add_coarse(
    staging: Path, info: ModelInfo, plan: Plan, trained: Trained, *, progress: Progress
) -> tuple[ModelInfo, str]:
    """Write the coarse network into the folder that is being made, where its bound keeps what it must keep.

    Args:
        staging: the folder, not sealed.
        info: of the model.
        plan: of the fine network.
        trained: the coarse network.
        progress: told of each case.

    Returns:
        ``info`` with the bound and what it loses, and "" or why that record does not allow its use; or ``info`` as it
        was and why there is no coarse network.

    Raises:
        StudyError: when a validation case cannot be used: training used it, so something has changed.
    """
    model = _export(staging / FOLDER, info, plan, trained)
    coarse = CoarsePass(model)
    coarse.load()
    try:
        entry, problem = _bound(coarse, plan, trained, progress)
    finally:
        coarse.release()
    if entry is None:
        shutil.rmtree(staging / FOLDER)
        return info, problem
    return info.model_copy(update={"coarse": entry}), entry.problem


def _export(folder: Path, info: ModelInfo, plan: Plan, trained: Trained) -> Model:
    from osler.learning.export import export_member

    own = coarse_plan(plan)
    assert own is not None  # there is no coarse network without its plan
    own = own.model_copy(update={"steps": trained.outcome.steps})
    folder.mkdir()
    (folder / "plan.json").write_text(own.model_dump_json(indent=1))
    member = export_member(trained.outcome.network, own, folder, 0, steps=trained.outcome.steps, fold=None)
    update = {
        "name": f"{info.name}, coarse network",
        "intended_use": "Says where the network of the model around it looks; it answers nothing by itself.",
        "members": (member,),
        "lineage": {"method": own.method, "seed": own.seed, "steps": [trained.outcome.steps]},
    }
    return seal(folder, info.model_copy(update=update))


def _bound(coarse: CoarsePass, plan: Plan, trained: Trained, progress: Progress) -> tuple[Coarse | None, str]:
    """What is recorded of the coarse network, or why it is left out."""
    records = {split: trained.records(split) for split in ("validation", "test")}
    progress.start(_STAGE, sum(map(len, records.values())), "cases")
    validation = _look(coarse, plan, trained.dataset, records["validation"], progress)
    with_targets = sum(bool(case.targets) for case in validation)
    if with_targets < _FEWEST_CASES:
        progress.finish(_STAGE)
        return None, f"only {with_targets} validation cases have a target, and {_FEWEST_CASES} are needed"
    choice = choose(validation, plan)
    problem = ""
    if choice is None:
        problem = "at no threshold and margin did it keep every target of the validation cases"
    elif choice.windows > _MOST_WINDOWS:
        problem = f"{choice.windows:.0%} of the windows of the validation cases touched its bound"
    if choice is None or problem:
        progress.finish(_STAGE)
        return None, problem
    test = _look(coarse, plan, trained.dataset, records["test"], progress)
    progress.finish(_STAGE)
    return (
        Coarse(
            folder=FOLDER,
            threshold=choice.threshold,
            margin=choice.margin,
            windows=round(choice.windows, 4),
            validation=lost_of(validation, choice.threshold, choice.margin),
            test=lost_of(test, choice.threshold, choice.margin),
        ),
        "",
    )


def _look(
    coarse: CoarsePass, plan: Plan, dataset: Dataset, records: Sequence[Record], progress: Progress
) -> list[Seen]:
    """Cases as the coarse pass sees them; those that cannot be used are told, and those that go the whole way, where
    every window is run, are left out."""
    cases = []
    for record in records:
        try:
            seen = _look_at(coarse, plan, dataset, record)
        except (StudyError, DatasetError) as error:
            progress.say(f"{record.name} is left out of the coarse pass's figures: {error.problem}")
        else:
            cases += [] if seen is None else [seen]
        progress.advance(_STAGE, 1, record.name)
    return cases


def _look_at(coarse: CoarsePass, plan: Plan, dataset: Dataset, record: Record) -> Seen | None:
    if record.mask is None:
        return None
    images = images_of(dataset, record, plan)
    if images[0].dimensions != 3 or not fits(trace_of(images[0], plan.grid), plan):
        return None
    mask = dataset.read_mask(record.mask, onto=images[0])
    difference = grid_difference(images[0], mask)
    if difference:
        raise GridMismatch(f"the mask does not lie on the image's grid: {difference}", remedy="resample it first")
    return look(images, mask.array[0], plan.labels, coarse, plan, patient=record.patient or record.name)
