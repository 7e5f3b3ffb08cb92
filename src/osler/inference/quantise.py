"""INT8 graphs by NNCF's post-training quantisation with accuracy control, on the OpenVINO graph. No torch.

Weights become symmetric and activations asymmetric 8-bit integers (NNCF's preset "mixed": leaky ReLUs are not
symmetric). Where that costs too much on the calibration cases, NNCF puts back into float, one after another, the
operations that cost the most. Whether the result may be run is decided afterwards, by ``inference.parity``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import Record
from osler.datasets.plan import Plan
from osler.datasets.preparation import prepare, prepare_mask
from osler.errors import ModelError
from osler.extras import require
from osler.inference.calibrate import encode, images_of
from osler.inference.probabilities import sigmoid, softmax
from osler.inference.windows import pad_to
from osler.metrics.segmentation import dice
from osler.models.folder import INT8_SUFFIX, Member, Model
from osler.progress import CancelToken, Progress
from osler.studies.geometry import Array

__all__ = ["Window", "quantise", "windows_of"]

_WINDOWS = 96
"""Patches that ranges are measured on and that the accuracy control judges by."""
_RANKED = 24  # of them, by which operations are ranked
_REVERTED = 12  # rounds of putting operations back into float
_DICE_DROP, _LOSS_DROP = 0.002, 0.005
_SEED = 20262
_STAGE = "quantising"


@dataclass(frozen=True)
class Window:
    """``image`` (1, C, \\*patch) float32 as the network takes it, and ``answer``: class indices (\\*patch), or of tasks
    without masks as ``encode`` gives it."""

    image: Array
    answer: Array


def windows_of(dataset: Dataset, records: Sequence[Record], plan: Plan, *, cancel: CancelToken) -> list[Window]:
    """Patches of calibration cases: of masks one around the structures of each case and the rest anywhere, else the
    whole studies.

    Raises:
        StudyError: when a case cannot be used.
        Cancelled: when a stop was asked for.
    """
    random = np.random.default_rng(_SEED)
    chosen = [records[round(n)] for n in np.linspace(0, len(records) - 1, min(_WINDOWS, len(records)))]
    each = max(1, _WINDOWS // len(chosen)) if plan.task == "segment" else 1
    windows: list[Window] = []
    for record in chosen:
        cancel.raise_if_cancelled()
        images = images_of(dataset, record, plan)
        prepared = prepare(images, plan)
        if record.mask is None:
            windows.append(Window(prepared.array[None], encode(record.target, plan)))
            continue
        classes = prepare_mask(dataset.read_mask(record.mask, onto=images[0]), prepared.trace, plan)
        windows += _patches(prepared.array, classes, plan, min(each, 4), random)
    return windows


def quantise(
    model: Model, folder: Path, windows: Sequence[Window], *, progress: Progress, cancel: CancelToken
) -> tuple[Member, ...]:
    """Write ``graphs/memberN.int8.xml`` and ``.bin`` into ``folder`` for every member.

    Args:
        model: whose float32 OpenVINO graphs are quantised.
        folder: of the model that is being made.
        windows: from ``windows_of``.
        progress: gets the stage "quantising", in patches that were run.
        cancel: asked between them.

    Returns:
        The members with these graphs.

    Raises:
        MissingExtra: when NNCF is not installed.
        ModelError: when a graph cannot be quantised.
        Cancelled: when a stop was asked for.
    """
    import openvino

    nncf = _nncf()
    members = []
    progress.start(_STAGE, None, "patches")
    for number, member in enumerate(model.info.members):
        graph = openvino.Core().read_model(str(model.graph(number, ".xml")))
        with _quiet(nncf):
            try:
                made = _quantised(nncf, graph, model.plan, windows, progress, cancel)
            except (RuntimeError, nncf.ValidationError, nncf.UnsupportedModelError) as error:
                raise ModelError(
                    f"member {number} cannot be quantised ({error})", remedy="compress it without --int8"
                ) from error
        relative = f"graphs/member{number}{INT8_SUFFIX}"
        openvino.save_model(made, str(folder / relative), compress_to_fp16=False)
        members.append(member.model_copy(update={"graphs": {**member.graphs, INT8_SUFFIX: relative}}))
    progress.finish(_STAGE)
    return tuple(members)


def _quantised(
    nncf: ModuleType, graph: Any, plan: Plan, windows: Sequence[Window], progress: Progress, cancel: CancelToken
) -> Any:
    def run(window: Window) -> dict[str, Array]:
        cancel.raise_if_cancelled()
        progress.advance(_STAGE)
        return {"image": window.image}

    score = _scorer(plan)

    def judge(compiled: Any, items: Iterable[Window]) -> tuple[float, list[float]]:
        scores = [score(np.asarray(compiled(run(item))["logits"]), item.answer) for item in items]
        return float(np.mean(scores)), scores

    settings = {
        "max_drop": _DICE_DROP if plan.task == "segment" else _LOSS_DROP,
        "preset": nncf.QuantizationPreset.MIXED,
        "target_device": nncf.TargetDevice.CPU,
        "subset_size": len(windows),
        "advanced_accuracy_restorer_parameters": nncf.AdvancedAccuracyRestorerParameters(
            max_num_iterations=_REVERTED, ranking_subset_size=min(_RANKED, len(windows)), num_ranking_workers=1
        ),
    }
    calibration, validation = nncf.Dataset(list(windows), run), nncf.Dataset(list(windows))
    return nncf.quantize_with_accuracy_control(graph, calibration, validation, judge, **settings)


def _scorer(plan: Plan) -> Callable[[Array, Array], float]:
    """A score of one window from its logits (1, O[, \\*patch]) and its answer; higher is better."""

    def of_mask(logits: Array, answer: Array) -> float:
        found = logits[0].argmax(axis=0)
        present = [k for k in range(1, len(logits[0])) if (answer == k).any()]
        if not present:  # a patch without structures: the share that is rightly background
            return float((found == 0).mean())
        return float(np.mean([dice(answer == k, found == k) for k in present]))

    def of_regions(logits: Array, answer: Array) -> float:
        values = np.array([0, *plan.labels.values])[answer]
        pairs = [(np.isin(values, region.values), one > 0) for region, one in zip(plan.regions, logits[0], strict=True)]
        return float(np.mean([dice(true, found) if true.any() else 1 - found.mean() for true, found in pairs]))

    def of_class(logits: Array, answer: Array) -> float:
        return float(np.log(max(1e-7, softmax(logits[0])[int(answer[0])])))

    def of_several(logits: Array, answer: Array) -> float:
        right = np.where(answer[0] > 0.5, sigmoid(logits[0]), 1 - sigmoid(logits[0]))[np.isfinite(answer[0])]
        return float(np.log(np.maximum(right, 1e-7)).mean()) if right.size else 0.0

    def of_number(logits: Array, answer: Array) -> float:
        return -abs(float(logits[0, 0]) - (float(answer[0]) - plan.target_mean) / plan.target_std)

    if plan.task == "segment":
        return of_regions if plan.regions else of_mask
    return {"classify": of_class, "regress": of_number}.get(plan.task, of_several)


def _patches(array: Array, classes: Array, plan: Plan, count: int, random: np.random.Generator) -> list[Window]:
    """The first around the structures, the others anywhere; a study that is smaller than the patch is padded, as it is
    for prediction."""
    array, classes = pad_to(array, plan.patch)[0], pad_to(classes[None], plan.patch)[0][0]
    places = np.argwhere(classes)
    middle = places.mean(axis=0) if len(places) else np.array(classes.shape) / 2
    free = np.array(classes.shape) - np.array(plan.patch)
    starts = [np.clip(np.round(middle - np.array(plan.patch) / 2), 0, free).astype(int)]
    starts += [random.integers(0, free + 1) for _ in range(count - 1)]
    found = []
    for start in starts:
        box = tuple(slice(s, s + n) for s, n in zip(start.tolist(), plan.patch, strict=True))
        found.append(Window(np.ascontiguousarray(array[(slice(None), *box)])[None], classes[box]))
    return found


def _nncf() -> ModuleType:
    """NNCF with its telemetry off: nothing about a hospital's models is reported to anybody.

    It decides at its first import, by this variable, whether to report to Google Analytics.
    """
    before = os.environ.get(_NO_TELEMETRY)
    os.environ[_NO_TELEMETRY] = "1"
    try:
        return require("nncf", extra="compress", purpose="osler compress --int8")
    finally:
        if before is None:
            del os.environ[_NO_TELEMETRY]
        else:
            os.environ[_NO_TELEMETRY] = before


_NO_TELEMETRY = "NNCF_CI"


@contextmanager
def _quiet(nncf: ModuleType) -> Iterator[None]:
    """NNCF draws bars on stdout, which is for results, and logs; the progress sink tells instead."""
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        yield
