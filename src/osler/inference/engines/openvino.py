"""OpenVINO: the default engine on processors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import ModelError
from osler.inference.engines.base import Engine, Output, Precision, is_out_of_memory
from osler.studies.geometry import Array

__all__ = ["OpenVinoEngine"]

# OpenVINO picks bf16 by itself where the processor has it, so exactness has to be asked for.
_HINTS: dict[Precision, dict[str, str]] = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
    "auto": {},
}


@dataclass(frozen=True)
class _UnderWay:
    """A request that reads ``arrays``; ``failure`` where it could not even begin."""

    request: Any
    arrays: dict[str, Array]
    failure: MemoryError | None = None


class OpenVinoEngine(Engine):
    """Runs ``.xml`` (with the ``.bin`` beside it) on the processor. Nothing is cached on disk."""

    name = "openvino"
    suffix = ".xml"

    def __init__(self) -> None:
        self._core: Any = None
        self._network: Any = None
        self._compiled: Any = None
        self._request: Any = None
        self._queue: list[Any] = []
        self._settings: dict[str, str | int] = {}

    def load(
        self, graph: Path, *, precision: Precision = "float32", threads: int = 0, output: Output = "logits"
    ) -> None:
        """Read and compile ``graph``; see ``Engine.load``."""
        import openvino

        self._settings = {**_HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._core = openvino.Core()
        try:
            self._network = self._core.read_model(str(graph))
            _keep_output(self._network, output)
            self._compile()
        except RuntimeError as error:
            self.release()
            raise ModelError(
                f"OpenVINO cannot load {graph.name} ({_first_line(error)})", remedy="restore the model folder"
            ) from error

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch; a shape that the graph was not made for has it reshaped first, which takes a moment.

        Raises:
            ModelError: when nothing is loaded, an input is missing, or the graph cannot take the shape.
        """
        arrays = self._arrays(inputs)
        with _named(arrays):
            self._fit(arrays)
            results = self._request.infer(arrays, share_inputs=True, share_outputs=False)
        return {port.get_any_name(): np.asarray(value) for port, value in results.items()}

    def run_many(self, batches: Iterable[Mapping[str, Array]]) -> Iterator[dict[str, Array] | MemoryError]:
        """Run batches in as many requests at once as OpenVINO finds best, and one more that waits; see ``Engine``.

        Requests are kept in a queue of our own: ``openvino.AsyncInferQueue`` gives answers in no order, and calls
        nobody for a batch that failed.
        """
        under_way: deque[_UnderWay] = deque()
        idle = list(self._queue)
        try:
            for inputs in batches:
                arrays = self._arrays(inputs)
                if not (self._queue and self._takes(arrays)):
                    while under_way:
                        yield self._awaited(under_way.popleft())
                    with _named(arrays):
                        idle = self._queue_for(arrays)
                if not idle:
                    first = under_way.popleft()
                    yield self._awaited(first)
                    idle = [first.request]
                under_way.append(_begun(idle.pop(), arrays))
            while under_way:
                yield self._awaited(under_way.popleft())
        finally:  # nothing may still read the arrays of whoever stopped listening
            for one in under_way:
                _settle(one)

    def release(self) -> None:
        """Free the graph."""
        self._queue = []
        self._request = self._compiled = self._network = self._core = None

    def _compile(self) -> None:
        self._queue = []
        self._compiled = self._core.compile_model(self._network, "CPU", self._settings)
        self._request = self._compiled.create_infer_request()

    def _queue_for(self, arrays: Mapping[str, Array]) -> list[Any]:
        """Requests on a graph that is compiled for most batches a second, made when they are first needed."""
        self._fit(arrays)
        if not self._queue:
            settings = {**self._settings, "PERFORMANCE_HINT": "THROUGHPUT"}
            compiled = self._core.compile_model(self._network, "CPU", settings)
            count = 1 + int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            self._queue = [compiled.create_infer_request() for _ in range(count)]
        return list(self._queue)

    def _arrays(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._compiled is None:
            raise ModelError("the OpenVINO engine has no graph", remedy="call load before run")
        return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in inputs.items()}

    def _takes(self, arrays: Mapping[str, Array]) -> bool:
        """Whether the graph takes these shapes as it is; a wrong name is found when it is run."""
        import openvino

        ports = {name: port for port in self._network.inputs for name in port.get_names()}
        shapes = {name: openvino.PartialShape(list(array.shape)) for name, array in arrays.items() if name in ports}
        return all(ports[name].partial_shape.compatible(shape) for name, shape in shapes.items())

    def _fit(self, arrays: Mapping[str, Array]) -> None:
        import openvino

        if not self._takes(arrays):
            self._network.reshape({name: openvino.PartialShape(list(array.shape)) for name, array in arrays.items()})
            self._compile()

    def _awaited(self, one: _UnderWay) -> dict[str, Array] | MemoryError:
        if one.failure is not None:
            return one.failure
        try:
            with _named(one.arrays):
                one.request.wait()
        except MemoryError as error:
            return error
        outputs = enumerate(self._compiled.outputs)
        return {port.get_any_name(): np.array(one.request.get_output_tensor(n).data) for n, port in outputs}


@contextmanager
def _named(arrays: Mapping[str, Array]) -> Iterator[None]:
    """Turns OpenVINO's errors about a batch into Osler's.

    Raises:
        MemoryError: when memory ran out.
        ModelError: for anything else.
    """
    try:
        yield
    except (RuntimeError, KeyError) as error:
        shapes = {name: array.shape for name, array in arrays.items()}
        if is_out_of_memory(error):
            raise MemoryError(f"OpenVINO has no memory for inputs of shape {shapes}") from error
        raise ModelError(
            f"the graph cannot take inputs of shape {shapes} ({_first_line(error)})",
            remedy="the model was exported for another input; export it again",
        ) from error


def _begun(request: Any, arrays: dict[str, Array]) -> _UnderWay:
    try:
        with _named(arrays):
            request.start_async(arrays, share_inputs=True)
    except MemoryError as error:
        return _UnderWay(request, arrays, error)
    return _UnderWay(request, arrays)


def _settle(one: _UnderWay) -> None:
    if one.failure is None:
        one.request.cancel()
        with suppress(RuntimeError):  # it was cancelled, or failed: nobody wants its answer
            one.request.wait()


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
