"""OpenVINO: the default engine on processors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from osler.datasets.hardware import Hardware
from osler.errors import ModelError
from osler.inference.engines import graph_cache
from osler.inference.engines.base import Engine, Output, Precision
from osler.studies.geometry import Array

__all__ = ["OpenVinoEngine"]

# OpenVINO picks bf16 by itself where the processor has it, so exactness has to be asked for.
_HINTS: dict[Precision, dict[str, str]] = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
    "auto": {},
}
_MOST_AT_ONCE = 4  # each sample in hand needs the memory of all its features
_FEW_ALONE = 2  # lone samples after larger batches, such as a volume's last window: not worth compiling for


class OpenVinoEngine(Engine):
    """Runs ``.xml`` (with the ``.bin`` beside it) on the processor.

    A sample that comes alone has all threads. Several run at the same time on fewer threads each, which wait less for
    one another: 0.153 instead of 0.224 s for a window of 64³ of a U-Net of 32 to 320 filters in bf16 on two cores. A
    graph is compiled for either when it is first needed, and kept on disk (``graph_cache``).
    """

    name = "openvino"
    suffix = ".xml"

    def __init__(self) -> None:
        self._core: Any = None
        self._network: Any = None
        self._settings: dict[str, str | int] = {}
        self._facts: dict[str, object] = {}
        self._output: Output = "logits"
        self._at_once = 1
        self._alone = 0
        self._requests: dict[int, list[Any]] = {}

    @property
    def at_once(self) -> int:
        """As many samples as there are threads, up to four."""
        return self._at_once

    def load(
        self, graph: Path, *, precision: Precision = "float32", threads: int = 0, output: Output = "logits"
    ) -> None:
        """Read ``graph``; see ``Engine.load``. It is compiled when the first batch shows for how many samples."""
        import openvino

        self.release()
        self._settings = {**_HINTS[precision]}
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._core = openvino.Core()
        try:
            self._network = self._core.read_model(str(graph))
            _keep_output(self._network, output)
        except RuntimeError as error:
            self.release()
            raise ModelError(
                f"OpenVINO cannot load {graph.name} ({_first_line(error)})", remedy="restore the model folder"
            ) from error
        self._output = output
        self._at_once = min(threads or _cores(), _MOST_AT_ONCE) if self._any_batch() else 1
        self._facts = {
            "graph": graph_cache.digest_of(graph, graph.with_suffix(".bin")),
            "output": output,
            "openvino": openvino.get_version(),
            "machine": Hardware.detect().model_dump(),
        }

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch; a shape that the graph was not made for has it reshaped first, which takes a moment.

        Raises:
            ModelError: when nothing is loaded, an input is missing, or the graph cannot take the shape.
        """
        if self._network is None:
            raise ModelError("the OpenVINO engine has no graph", remedy="call load before run")
        arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in inputs.items()}
        try:
            self._fit(arrays)
            return {self._output: self._infer(arrays)}
        except (RuntimeError, KeyError) as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ModelError(
                f"the graph cannot take inputs of shape {shapes} ({_first_line(error)})",
                remedy="the model was exported for another input; export it again",
            ) from error

    def release(self) -> None:
        """Free the graph."""
        self._requests, self._alone = {}, 0
        self._network = self._core = None

    def _infer(self, arrays: Mapping[str, Array]) -> Array:
        """The output of all samples: (B, O[, \\*S])."""
        count = len(next(iter(arrays.values())))
        parts = _parts(count, self._at_once)
        requests = self._requests_for(len(parts))
        result = _room_for(count, requests[0])
        with ExitStack() as running:  # every request is waited for, also when another one fails
            for part, request in zip(parts, requests, strict=False):
                if result is not None:
                    _write_into(request, result[part])
                request.start_async({name: array[part] for name, array in arrays.items()}, share_inputs=True)
                running.callback(request.wait)
        if result is None:
            result = np.concatenate([request.get_output_tensor(0).data for request in requests[: len(parts)]])
        return result

    def _requests_for(self, parts: int) -> list[Any]:
        """Requests that run at the same time: as many as the engine allows when there are several parts."""
        lanes = self._at_once
        if parts == 1 and not (lanes in self._requests and self._alone < _FEW_ALONE):
            lanes = 1
        self._alone += parts == 1
        if lanes not in self._requests:
            compiled = self._compile(lanes)
            self._requests[lanes] = [compiled.create_infer_request() for _ in range(lanes)]
        return self._requests[lanes]

    def _compile(self, lanes: int) -> Any:
        """A compiled graph, from the cache when it is there."""
        lane: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY"} if lanes == 1 else {"NUM_STREAMS": lanes}
        settings = {**self._settings, **lane}
        shapes = {port.get_any_name(): str(port.get_partial_shape()) for port in self._network.inputs}
        key = graph_cache.key_of({**self._facts, "settings": settings, "shapes": shapes})
        kept = graph_cache.fetch(key)
        if kept is not None:
            try:
                return self._core.import_model(kept, "CPU", settings)
            except RuntimeError:  # OpenVINO no longer takes what it once wrote
                graph_cache.discard(key)
        compiled = self._core.compile_model(self._network, "CPU", settings)
        graph_cache.keep(key, compiled.export_model())
        return compiled

    def _any_batch(self) -> bool:
        return all(port.get_partial_shape()[0].is_dynamic for port in self._network.inputs)

    def _fit(self, arrays: Mapping[str, Array]) -> None:
        import openvino

        shapes = {name: openvino.PartialShape(list(array.shape)) for name, array in arrays.items()}
        if all(self._network.input(name).partial_shape.compatible(shape) for name, shape in shapes.items()):
            return
        if self._any_batch():
            shapes = {name: openvino.PartialShape([-1, *array.shape[1:]]) for name, array in arrays.items()}
        self._network.reshape(shapes)
        self._requests = {}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parts(count: int, most: int) -> list[slice]:
    """``count`` samples in at most ``most`` parts that differ by one at most."""
    ends = [count * n // most for n in range(most + 1)]
    return [slice(first, end) for first, end in zip(ends, ends[1:], strict=False) if end > first]


def _room_for(count: int, request: Any) -> Array | None:
    """An array for the output of so many samples; None where its shape is known only afterwards."""
    shape = request.model_outputs[0].get_partial_shape()
    rest = list(shape)[1:]
    if any(side.is_dynamic for side in rest):
        return None
    return np.empty((count, *(side.get_length() for side in rest)), np.float32)


def _write_into(request: Any, part: Array) -> None:
    """Have the network write its answer where it is wanted, instead of copying it there."""
    import openvino

    request.set_output_tensor(0, openvino.Tensor(part, shared_memory=True))


def _keep_output(network: Any, output: Output) -> None:
    """Take all other results out of the graph, so that they are not computed.

    Raises:
        RuntimeError: when there is no such output.
    """
    network.output(output)
    for port in network.outputs:
        if output not in port.get_names():
            network.remove_result(port.get_node())


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
