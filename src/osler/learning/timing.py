"""Measures training steps on this machine, for the planner; results are kept in the user's cache."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import torch
from lightning_fabric import Fabric

from osler.datasets.candidates import Candidate, Variant, steps_needed, variants
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


def cache_file() -> Path:
    """Where step times are kept: ``$XDG_CACHE_HOME/osler/step-times.json``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "osler" / "step-times.json"


def _machine(hardware: Hardware) -> str:
    return f"{hardware.gpu or hardware.processor} threads={torch.get_num_threads()} torch={torch.__version__}"


def _read_cache(machine: str) -> dict[str, float]:
    try:
        stored = json.loads(cache_file().read_text())
    except (OSError, json.JSONDecodeError):  # no cache, or one cut off: everything is measured again
        return {}
    return {key: float(value) for key, value in stored.get(machine, {}).items()}


def _write_cache(machine: str, timings: dict[str, float]) -> None:
    path = cache_file()
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


def time_step(plan: Plan, fabric: Fabric, *, limit_s: float = 4.0) -> float:
    """Seconds of one training step of the plan's method, augmentation included: the fastest of up to four.

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
    while len(times) < 5 and (len(times) < 2 or time.monotonic() - begun < limit_s):
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
    make_fabric: object,
    progress: Progress,
    cancel: CancelToken,
    method: str = "supervised",
) -> Timings:
    """Time candidates from the cheapest up until one is too slow for the budget; at most a twentieth of the budget.

    The arithmetic (precision and memory layout) is chosen on a cheap candidate and kept for the others.
    """
    machine = _machine(hardware)
    known = _read_cache(machine)
    fresh: dict[str, float] = {}
    begun = time.monotonic()

    def seconds(candidate: Candidate, variant: Variant) -> float:
        key = timing_key(candidate, variant)
        if key not in known:
            plan = plan_for(fingerprint, task, candidate, variant, steps=100, method=method)
            known[key] = fresh[key] = time_step(plan, make_fabric(plan))  # type: ignore[operator]
        return known[key]

    progress.start("timing candidates", None, "networks")
    choice = offered(fingerprint, task, hardware)
    first = choice[min(2, len(choice) - 1)]
    best = min(variants(hardware), key=lambda v: seconds(first, v))
    used: dict[str, float] = {timing_key(first, v): known[timing_key(first, v)] for v in variants(hardware)}
    for candidate in choice:
        cancel.raise_if_cancelled()
        if time.monotonic() - begun > 0.05 * budget_s:
            break
        took = seconds(candidate, best)
        used[timing_key(candidate, best)] = took
        progress.advance("timing candidates", 1, f"{candidate.network.features[0]} filters: {took:.3f} s a step")
        if took * steps_needed(candidate, task, fingerprint.cases) > 2.0 * budget_s:
            break
    progress.finish("timing candidates")
    if fresh:
        _write_cache(machine, fresh)
    return used
