"""``make_plan``: a pure function from fingerprint, task, budget and hardware to one ``Plan``, with a reason for each
decision. Timings are an argument: training measures them, inspection goes by the cost model and says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from osler.datasets.candidates import (
    Candidate,
    Variant,
    assumed_step_s,
    candidates,
    is_coarse,
    steps_needed,
    variants,
    working_shape,
)
from osler.datasets.coarse import with_coarse
from osler.datasets.fingerprint import Fingerprint
from osler.datasets.hardware import Hardware
from osler.datasets.plan import Plan, TaskName
from osler.datasets.plan_checks import check_plan_fields
from osler.datasets.recipe import augmentation_for, flips_for, loss_for, normalisation_for, optimiser_for
from osler.errors import PlanError

__all__ = [
    "Timings",
    "check_names",
    "make_plan",
    "member_budget",
    "offered",
    "override",
    "plan_for",
    "task_of",
    "timing_key",
]

Timings = Mapping[str, float]
"""Seconds of one training step by ``timing_key``."""

_USED = 0.93  # of the budget that is left to training steps; the rest goes to validation and checkpoints
_AIR = 0.1  # of the patches of volumes of CT
_ENSEMBLE = 3  # networks that answer together where the time is enough for each
_KIND_TO_TASK: dict[str, TaskName] = {
    "classes": "classify",
    "several": "multilabel",
    "grades": "ordinal",
    "number": "regress",
    "mask": "segment",
}


def task_of(kind: str) -> TaskName:
    """The task that a kind of label set asks for."""
    return _KIND_TO_TASK[kind]


def timing_key(candidate: Candidate, variant: Variant) -> str:
    """Names a measured step."""
    return f"{candidate.key} {variant.precision} channels_last={variant.channels_last}"


def member_budget(task: TaskName, budget_s: float, *, folds: int = 1) -> float:
    """Seconds that one network of a run has: folds share the time, and so do the members of an ensemble.

    One network that answers about a study has learnt what it can long before its time is up; several that disagree by
    chance are better together. A mask is an average over many places already, and there a longer run is better.
    """
    return budget_s / (folds if folds > 1 or task == "segment" else _ENSEMBLE)


def make_plan(
    fingerprint: Fingerprint,
    *,
    task: TaskName | None = None,
    budget_s: float | None = None,
    steps: int | None = None,
    hardware: Hardware | None = None,
    timings: Timings | None = None,
    seed: int = 0,
    method: str = "supervised",
    folds: int = 1,
    coarse: bool | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Plan:
    """Decide everything.

    Args:
        fingerprint: of the training cases.
        task: must fit the kind of labels; None takes the one that does.
        budget_s: seconds for training, of all folds together; ignored when ``steps`` is given.
        steps: the exact number of steps; then nothing depends on timings but the cost model.
        hardware: None detects it.
        timings: measured seconds per step; candidates without one go by the cost model.
        seed: of everything random.
        method: name of a training method.
        folds: networks that a cross-validation trains anyway; with more than 1 each fold has one.
        coarse: whether a coarse network says where the fine one looks; None where that is worth having.
        overrides: dotted field to value, as text or as it is; applied last.

    Raises:
        PlanError: when the task does not fit the labels or an override does not fit the plan.
    """
    wanted = task_of(fingerprint.labels.kind)
    task = task or wanted
    if task != wanted:
        raise PlanError(
            f"task {task} does not fit labels of kind {fingerprint.labels.kind}", remedy=f"use --task {wanted}"
        )
    hardware = hardware or Hardware.detect()
    reasons: dict[str, str] = {}
    budget_s = 900.0 if budget_s is None else budget_s
    seconds = member_budget(task, budget_s, folds=folds)
    together = steps is None and folds == 1 and task != "segment"
    if together and not _any_fits(fingerprint, task, seconds, hardware, timings):
        together, seconds = False, budget_s
    candidate, variant, step_s = _choose(fingerprint, task, seconds, steps, hardware, timings, reasons)
    total = steps if steps is not None else max(20, int(seconds * _USED / step_s))
    plan = plan_for(fingerprint, task, candidate, variant, steps=total, seed=seed, method=method, reasons=reasons)
    if together:
        reasons["members"] = f"each of {_ENSEMBLE} gets its steps in its share of the time; together they err less"
    plan = plan.model_copy(
        update={
            "budget_s": None if steps is not None else budget_s,
            "members": _ENSEMBLE if together else 1,
            "reasons": reasons,
        }
    )
    plan = override(plan, overrides or {})
    if "coarse" in (overrides or {}):
        return plan
    return with_coarse(plan, fingerprint, hardware, wanted=coarse, folds=folds)


def plan_for(
    fingerprint: Fingerprint,
    task: TaskName,
    candidate: Candidate,
    variant: Variant,
    *,
    steps: int,
    seed: int = 0,
    method: str = "supervised",
    reasons: dict[str, str] | None = None,
) -> Plan:
    """The whole plan around one candidate; ``reasons`` is filled in."""
    reasons = {} if reasons is None else reasons
    flips = flips_for(fingerprint, reasons)
    _explain_grid(fingerprint, candidate, reasons)
    plan = Plan(
        task=task,
        method=method,
        seed=seed,
        dimensions=3 if fingerprint.dimensions == 3 else 2,
        channels=tuple(channel.name for channel in fingerprint.channels),
        colours=fingerprint.colours,
        labels=fingerprint.labels,
        modality=fingerprint.modality,
        grid=candidate.grid,
        normalisation=normalisation_for(fingerprint, reasons),
        patch=candidate.patch,
        batch=candidate.batch,
        foreground=0.75 if task == "segment" and fingerprint.dimensions == 2 else 0.5,
        network=candidate.network,
        loss=loss_for(fingerprint, task, reasons),
        optimiser=optimiser_for(fingerprint, task, reasons),
        augmentation=augmentation_for(fingerprint, task, flips, reasons),
        steps=steps,
        precision="bf16" if variant.precision == "bf16" else "float32",
        channels_last=variant.channels_last,
        mirror_axes=tuple(axis for axis, flip in enumerate(flips) if flip),
        target_mean=fingerprint.target_mean,
        target_std=fingerprint.target_std or 1.0,
        reasons=reasons,
    )
    if task != "segment" or plan.dimensions != 3 or not plan.tells_air:
        return plan
    reasons["air"] = (
        "training rarely meets windows at the rim of a wide field of view, and a network calls organs what it never met"
    )
    return plan.model_copy(update={"air": _AIR})


def offered(fingerprint: Fingerprint, task: TaskName, hardware: Hardware) -> tuple[Candidate, ...]:
    """The candidates of a dataset, cheapest first."""
    inputs = len(fingerprint.channels) * fingerprint.colours
    return candidates(fingerprint, task, hardware, inputs, _outputs(fingerprint, task))


def _outputs(fingerprint: Fingerprint, task: TaskName) -> int:
    count = len(fingerprint.labels.labels)
    return {"classify": count, "multilabel": count, "ordinal": count - 1, "regress": 1, "segment": count + 1}[task]


def _choose(
    fingerprint: Fingerprint,
    task: TaskName,
    budget_s: float,
    steps: int | None,
    hardware: Hardware,
    timings: Timings | None,
    reasons: dict[str, str],
) -> tuple[Candidate, Variant, float]:
    """The most expensive candidate that still gets the steps it needs; the cheapest when none does."""
    choice, timed = _timed(fingerprint, task, hardware, timings)
    source = "measured on this machine" if timings else "from the cost model, not measured"

    def fits(candidate: Candidate) -> bool:
        return _fits(candidate, timed, budget_s, steps, task, fingerprint)

    choice = _finest_that_fits(choice, fingerprint, hardware, fits)
    fitting = [c for c in choice if fits(c)]
    if steps is not None:
        source = "by the number of steps; nothing was measured"
    chosen = fitting[-1] if fitting else choice[0]
    variant, seconds = timed[chosen.key]
    reasons["network"] = (
        f"{chosen.network.family} with {chosen.network.features} filters: the largest candidate of {len(choice)} that "
        f"gets the {steps_needed(chosen, task, fingerprint.cases)} steps it needs ({seconds:.3f} s a step, {source})"
        if fitting
        else f"the smallest candidate; even it gets fewer steps than it needs ({seconds:.3f} s a step, {source})"
    )
    reasons["precision"] = f"{variant.precision}, channels last {variant.channels_last}: the fastest, {source}"
    return chosen, variant, seconds


def _timed(
    fingerprint: Fingerprint, task: TaskName, hardware: Hardware, timings: Timings | None
) -> tuple[tuple[Candidate, ...], dict[str, tuple[Variant, float]]]:
    """The candidates that were measured (all when none was), and the fastest arithmetic and step time of each."""
    choice = offered(fingerprint, task, hardware)
    if timings:
        choice = tuple(c for c in choice if any(timing_key(c, v) in timings for v in variants(hardware))) or choice
    return choice, {c.key: _fastest(c, hardware, timings or {}) for c in choice}


def _any_fits(
    fingerprint: Fingerprint, task: TaskName, budget_s: float, hardware: Hardware, timings: Timings | None
) -> bool:
    choice, timed = _timed(fingerprint, task, hardware, timings)
    return any(_fits(candidate, timed, budget_s, None, task, fingerprint) for candidate in choice)


def _fits(
    candidate: Candidate,
    timed: Mapping[str, tuple[Variant, float]],
    budget_s: float,
    steps: int | None,
    task: TaskName,
    fingerprint: Fingerprint,
) -> bool:
    """Whether a candidate gets the steps that it needs."""
    given = budget_s * _USED / timed[candidate.key][1] if steps is None else steps
    return given >= steps_needed(candidate, task, fingerprint.cases)


def _finest_that_fits(
    choice: tuple[Candidate, ...], fingerprint: Fingerprint, hardware: Hardware, fits: Callable[[Candidate], bool]
) -> tuple[Candidate, ...]:
    """The candidates on the fine grid while one of them gets its steps, else those on the coarse one, if any."""
    coarse = tuple(c for c in choice if is_coarse(c, fingerprint, hardware))
    fine = tuple(c for c in choice if c not in coarse)
    return fine if not coarse or (fine and any(fits(c) for c in fine)) else coarse


def _fastest(candidate: Candidate, hardware: Hardware, timings: Timings) -> tuple[Variant, float]:
    measured = {v: timings[timing_key(candidate, v)] for v in variants(hardware) if timing_key(candidate, v) in timings}
    times = measured or {v: assumed_step_s(candidate, v, hardware) for v in variants(hardware)}
    best = min(times, key=lambda v: times[v])
    return best, times[best]


def _explain_grid(fingerprint: Fingerprint, candidate: Candidate, reasons: dict[str, str]) -> None:
    grid = candidate.grid
    unit = "mm" if fingerprint.spacing_known else "px"
    if grid.resize == "spacing":
        reasons["grid"] = (
            f"{grid.spacing} {unit} from a median of {tuple(round(s, 3) for s in fingerprint.median_spacing)}"
        )
    else:
        reasons["grid"] = (
            f"studies of {fingerprint.minimum_shape} to {fingerprint.maximum_shape} are brought to {grid.shape}"
        )
    reasons["patch"] = f"{candidate.patch} of a working study of {working_shape(fingerprint, grid)}"
    reasons["batch"] = f"{candidate.batch} per step"


def check_names(changes: Mapping[str, Any]) -> None:
    """Refuse fields that no plan has, before any data are read.

    Raises:
        PlanError: when there is no such field; the remedy lists those there are.
    """
    for dotted in changes:
        fields: Any = Plan.model_fields
        for part in dotted.split("."):
            if part not in fields:
                raise PlanError(f"a plan has no field {dotted!r}", remedy=f"choose one of {', '.join(sorted(fields))}")
            fields = getattr(fields[part].annotation, "model_fields", {})


def override(plan: Plan, changes: Mapping[str, Any]) -> Plan:
    """The plan with fields replaced.

    Args:
        plan: to change.
        changes: dotted field (``optimiser.learning_rate``) to a value; text is read as JSON where it is JSON
            (``32``, ``[32,32,32]``, ``true``), as a list where it holds commas, else as text.

    Raises:
        PlanError: when there is no such field, the value does not fit its type, or fields do not fit each other.
    """
    if not changes:
        return plan
    data = plan.model_dump()
    reasons = dict(plan.reasons)
    for dotted, value in changes.items():
        _set(data, dotted, _parse(value) if isinstance(value, str) else value)
        reasons[dotted] = "set by the user"
    data["reasons"] = reasons
    try:
        changed = Plan.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise PlanError(
            f"{place} cannot be {first['input']!r}: {first['msg']}", remedy="see osler train --plan-only"
        ) from error
    check_plan_fields(changed)
    return changed


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    return [_parse(part.strip()) for part in text.split(",")] if "," in text else text


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    place: Any = data
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        known = ", ".join(sorted(place)) if isinstance(place, dict) else ", ".join(sorted(data))
        raise PlanError(f"a plan has no field {dotted!r}", remedy=f"choose one of {known}")
    place[last] = value
