"""Measures training steps on this machine, for the planner; results are kept in the user's cache."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lightning_fabric import Fabric

from osler.cache import cache_folder
from osler.datasets.candidates import Candidate, Variant, assumed_step_s, is_coarse, steps_needed, variants
from osler.datasets.fingerprint import Fingerprint
from osler.datasets.hardware import Hardware
from osler.datasets.plan import Plan, TaskName
from osler.datasets.planner import Timings, offered, plan_for, timing_key
from osler.learning.augmentation import source_shape
from osler.learning.methods import Batch, make_method
from osler.learning.tasks import make_task
from osler.progress import CancelToken, Progress

__all__ = ["cache_file", "detect_hardware", "measure_step_times", "time_step"]


def detect_hardware(device: str = "auto") -> Hardware:
    """The machine, with its GPU when torch sees one and ``device`` does not rule it out."""
    found = Hardware.detect()
    if device == "cpu" or not torch.cuda.is_available():
        return found
    properties = torch.cuda.get_device_properties(0)
    memory = round(properties.total_memory / 2**30, 1)
    return found.model_copy(update={"gpu": properties.name, "gpu_memory_gib": memory})


def cache_file() -> Path | None:
    """Where step times are kept: ``step-times.json`` in the user's cache; None where nothing is kept."""
    folder = cache_folder()
    return None if folder is None else folder / "step-times.json"


def _machine(hardware: Hardware) -> str:
    return f"{hardware.gpu or hardware.processor} threads={torch.get_num_threads()} torch={torch.__version__}"


def _read_cache(machine: str) -> dict[str, float]:
    path = cache_file()
    if path is None:
        return {}
    try:
        stored = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):  # no cache, or one cut off: everything is measured again
        return {}
    return {key: float(value) for key, value in stored.get(machine, {}).items()}


def _write_cache(machine: str, timings: dict[str, float]) -> None:
    path = cache_file()
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            stored = json.loads(path.read_text())
        except (OSError, json.JSONDecodeError):
            stored = {}
        stored[machine] = {**stored.get(machine, {}), **timings}
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(stored, indent=1))
        os.replace(temporary, path)
    except OSError:  # a home that cannot be written costs some seconds at the next run and nothing else
        return


def _fake_batch(plan: Plan, generator: torch.Generator) -> Batch:
    dense = plan.task == "segment"
    shape = source_shape(plan.patch, plan.augmentation) if dense else plan.patch
    image = torch.randn(plan.batch, plan.inputs, *shape, generator=generator)
    if dense:
        return Batch(image, torch.randint(0, plan.outputs, (plan.batch, *shape), generator=generator))
    if plan.task == "classify":
        return Batch(image, torch.randint(0, plan.outputs, (plan.batch,), generator=generator))
    return Batch(image, torch.randint(0, 2, (plan.batch, plan.outputs), generator=generator).float())


def time_step(plan: Plan, fabric: Fabric, *, limit_s: float = 2.0) -> float:
    """Seconds of one training step of the plan's method, augmentation included: the fastest of two to five.

    The first step, which compiles kernels, does not count.
    """
    torch.manual_seed(0)
    method = make_method(plan, make_task(plan))
    method.setup(fabric)
    generator = torch.Generator().manual_seed(0)
    batch = _fake_batch(plan, generator)
    batch = Batch(fabric.to_device(batch.image), fabric.to_device(batch.answer))
    times: list[float] = []
    begun = time.monotonic()
    while len(times) < 6 and (len(times) < 3 or time.monotonic() - begun < limit_s):
        started = time.monotonic()
        method.step(batch, progress=0.5, generator=generator)  # its figures are read, so a GPU has finished
        times.append(time.monotonic() - started)
    return min(times[1:])


def measure_step_times(
    fingerprint: Fingerprint,
    task: TaskName,
    hardware: Hardware,
    *,
    budget_s: float,
    make_fabric: Callable[[Plan], Fabric],
    progress: Progress,
    cancel: CancelToken,
    method: str = "supervised",
) -> Timings:
    """Time the candidates around the one that the budget allows, in at most a twentieth of the budget.

    The arithmetic (precision and memory layout) is chosen on a cheap candidate and kept for the others. Its step time
    scales the cost model, which says where to look first; what is returned was measured.
    """
    stopwatch = _Stopwatch(fingerprint, task, hardware, make_fabric, method, cancel)
    progress.start("timing candidates", None, "networks")
    choice = offered(fingerprint, task, hardware)
    first = choice[len(choice) // 3]
    best = stopwatch.best_variant(first, until_s=0.03 * budget_s)
    scale = stopwatch.seconds(first, best) / assumed_step_s(first, best, hardware)
    room = 0.93 * budget_s

    def fits(number: int, step_s: float) -> bool:
        return step_s * steps_needed(choice[number], task, fingerprint.cases) <= room

    coarse = [is_coarse(candidate, fingerprint, hardware) for candidate in choice]
    for wanted in (False, True):  # the coarse grid is looked at only when nothing fits on the fine one
        numbers = [n for n, is_it in enumerate(coarse) if is_it == wanted]
        if _search(numbers, choice, best, scale, fits, stopwatch, hardware, progress, until_s=0.05 * budget_s):
            break
    progress.finish("timing candidates")
    stopwatch.keep()
    return stopwatch.used


def _search(
    numbers: list[int],
    choice: Sequence[Candidate],
    best: Variant,
    scale: float,
    fits: Callable[[int, float], bool],
    stopwatch: _Stopwatch,
    hardware: Hardware,
    progress: Progress,
    *,
    until_s: float,
) -> bool:
    """Time up or down from the candidate that the scaled cost model hopes for, until the limit lies between two.

    Returns:
        Whether one of ``numbers`` fits the budget.
    """
    if not numbers:
        return False
    hopeful = [n for n, c in enumerate(numbers) if fits(c, scale * assumed_step_s(choice[c], best, hardware))]
    at = hopeful[-1] if hopeful else 0
    tried: dict[int, bool] = {}
    while 0 <= at < len(numbers) and at not in tried and (not tried or stopwatch.spent_s() < until_s):
        candidate = choice[numbers[at]]
        seconds = stopwatch.seconds(candidate, best)
        progress.advance("timing candidates", 1, f"{candidate.network.features[0]} filters: {seconds:.3f} s a step")
        tried[at] = fits(numbers[at], seconds)
        at += 1 if tried[at] else -1
    return any(tried.values())


class _Stopwatch:
    """Times candidates, each once; what the cache knows is not timed again."""

    def __init__(
        self,
        fingerprint: Fingerprint,
        task: TaskName,
        hardware: Hardware,
        make_fabric: Callable[[Plan], Fabric],
        method: str,
        cancel: CancelToken,
    ) -> None:
        self._fingerprint = fingerprint
        self._task: TaskName = task
        self._hardware = hardware
        self._make_fabric = make_fabric
        self._method = method
        self._cancel = cancel
        self._machine = _machine(hardware)
        self._known = _read_cache(self._machine)
        self._fresh: dict[str, float] = {}
        self._begun = time.monotonic()
        self.used: dict[str, float] = {}

    def spent_s(self) -> float:
        """Since the first look."""
        return time.monotonic() - self._begun

    def seconds(self, candidate: Candidate, variant: Variant) -> float:
        """Of one step."""
        self._cancel.raise_if_cancelled()
        key = f"{timing_key(candidate, variant)} {self._method}"
        if key not in self._known:
            plan = plan_for(self._fingerprint, self._task, candidate, variant, steps=100, method=self._method)
            self._known[key] = self._fresh[key] = time_step(plan, self._make_fabric(plan))
        self.used[timing_key(candidate, variant)] = self._known[key]
        return self._known[key]

    def best_variant(self, candidate: Candidate, *, until_s: float) -> Variant:
        """The fastest arithmetic for a candidate; the most promising is timed first, the others while there is time."""
        times: dict[Variant, float] = {}
        for variant in reversed(variants(self._hardware)):
            if not times or self.spent_s() < until_s:
                times[variant] = self.seconds(candidate, variant)
        return min(times, key=lambda v: times[v])

    def keep(self) -> None:
        """Store what was timed anew."""
        if self._fresh:
            _write_cache(self._machine, self._fresh)
