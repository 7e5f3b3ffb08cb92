"""Fits a model's calibration on cases that the training of its weights did not see.

Logits and answers are collected once (``collect``), joined over folds where there are several (``join``), and then
fitted (``fit``). ``calibrate`` does all of it for one split.

Of masks, voxels are drawn: half of them anywhere, half where the network is not certain of background, because nearly
every voxel of a scan is certain background and would drown the others. Which voxels are drawn depends on the network's
answer alone and never on the truth, so the drawing does not bias the temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import Record, Target
from osler.datasets.plan import Plan
from osler.datasets.preparation import Trace, prepare_mask
from osler.errors import UsageError
from osler.inference.predictor import Predictor
from osler.inference.probabilities import probabilities, softmax
from osler.inference.stream import Answer, stream
from osler.metrics.calibration import fit_interval_half_width, fit_temperature, fit_temperature_sigmoid
from osler.models.folder import Calibration
from osler.progress import CancelToken
from osler.studies.geometry import Array
from osler.studies.image import Image

__all__ = ["Collected", "calibrate", "collect", "encode", "fit", "images_of", "join"]

_VOXELS = 200_000  # over all cases
_MOST_CASES = 48  # with masks: each costs a whole prediction
_CERTAIN = 0.999  # of background
_SEED = 20251


@dataclass(frozen=True)
class Collected:
    """Logits (N, O) and answers of cases or voxels: (N,) indices or numbers, or (N, O) of 0, 1 and NaN; and how many
    cases they come from."""

    logits: Array
    answers: Array
    cases: int


def calibrate(
    predictor: Predictor, dataset: Dataset, records: Sequence[Record], *, cancel: CancelToken | None = None
) -> Calibration:
    """Fit temperature or interval on a split.

    Args:
        predictor: entered; with the members that have not seen ``records``.
        dataset: where they lie.
        records: the calibration split.
        cancel: asked between cases; what was collected until then is fitted.

    Returns:
        The default calibration (``cases`` 0) when no record has an answer.

    Raises:
        StudyError: when a case cannot be used.
    """
    return fit(predictor.plan, collect(predictor, dataset, records, cancel=cancel))


def collect(
    predictor: Predictor, dataset: Dataset, records: Sequence[Record], *, cancel: CancelToken | None = None
) -> Collected:
    """Logits and answers of a split; arguments as ``calibrate``.

    Raises:
        StudyError: when a case cannot be used: training used it, so something has changed.
    """
    chosen = [record for record in records if record.answered]
    if predictor.plan.task == "segment" and len(chosen) > _MOST_CASES:
        chosen = [chosen[round(n)] for n in np.linspace(0, len(chosen) - 1, _MOST_CASES)]
    sources = ((record, partial(images_of, dataset, record, predictor.plan)) for record in chosen)
    logits, answers = [], []
    take = _taker(predictor, dataset, max(1, len(chosen)))
    for answer in stream(predictor, sources, logits=True, cancel=cancel):
        some, true = take(answer)
        logits.append(some)
        answers.append(true)
    if not logits:
        return Collected(np.zeros((0, predictor.plan.outputs), np.float32), np.zeros(0), 0)
    return Collected(np.concatenate(logits), np.concatenate(answers), len(logits))


def join(parts: Sequence[Collected]) -> Collected:
    """The cases of several folds as one."""
    filled = [part for part in parts if part.cases]
    if not filled:
        return parts[0]
    logits = np.concatenate([part.logits for part in filled])
    answers = np.concatenate([part.answers for part in filled])
    return Collected(logits, answers, sum(part.cases for part in filled))


def fit(plan: Plan, collected: Collected) -> Calibration:
    """The calibration of highest likelihood; for a number the half-width that 95 % of new cases stay within."""
    if not collected.cases:
        return Calibration()
    if plan.task == "regress":
        predicted = probabilities(collected.logits, plan, axis=1)[:, 0]
        half_width = fit_interval_half_width(collected.answers, predicted)
        return Calibration(half_width=half_width, cases=collected.cases if half_width is not None else 0)
    fitter: Callable[[Array, Array], float] = (
        fit_temperature if plan.task in ("classify", "segment") else fit_temperature_sigmoid
    )
    return Calibration(temperature=fitter(collected.logits, collected.answers), cases=collected.cases)


def images_of(dataset: Dataset, record: Record, plan: Plan) -> list[Image]:
    """The images of a record, without its mask, in the order of the plan's channels (else of the record).

    Raises:
        StudyError: when an image cannot be read.
    """
    images = dataset.load(record.model_copy(update={"mask": None})).study.images
    names = plan.channels if set(plan.channels) == set(images) else tuple(images)
    return [images[name] for name in names]


def encode(target: Target | None, plan: Plan) -> Array:
    """A target as an array that fits the logits: (1,) index or number; (1, O) for several labels and grades.

    Raises:
        UsageError: when the target does not fit the task.
    """
    if plan.task == "multilabel" and isinstance(target, tuple):
        return np.array([[np.nan if value is None else value for value in target]], float)
    if isinstance(target, int | float):
        if plan.task == "ordinal":
            return (np.arange(plan.outputs) < target).astype(float)[None]
        return np.array([target], float if plan.task == "regress" else np.int64)
    raise UsageError(f"the answer {target!r} does not fit the task {plan.task}", remedy="check the labels of the data")


def _taker(predictor: Predictor, dataset: Dataset, cases: int) -> Callable[[Answer[Record]], tuple[Array, Array]]:
    plan = predictor.plan
    random = np.random.default_rng(_SEED)

    def take(answer: Answer[Record]) -> tuple[Array, Array]:
        image, trace, logits = answer.usable
        record = answer.key
        if plan.task != "segment" or record.mask is None:
            return logits[None], encode(record.target, plan)
        truth = prepare_mask(dataset.read_mask(record.mask, onto=image), trace, plan)
        return _voxels(logits, truth, trace, -(-_VOXELS // cases), random)

    return take


def _voxels(logits: Array, truth: Array, trace: Trace, count: int, random: np.random.Generator) -> tuple[Array, Array]:
    """``count`` voxels of the study, padding left out: logits (count, O) and class indices (count,)."""
    inner = logits[(slice(None), *trace.inside)].reshape(len(logits), -1)
    uncertain = np.flatnonzero(softmax(inner)[0] < _CERTAIN)
    anywhere = random.integers(inner.shape[1], size=count - count // 2 if len(uncertain) else count)
    chosen = np.concatenate([anywhere, random.choice(uncertain, count - len(anywhere))]) if len(uncertain) else anywhere
    return inner[:, chosen].T.copy(), truth[trace.inside].reshape(-1)[chosen].astype(np.int64)
