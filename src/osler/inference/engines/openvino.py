"""OpenVINO: the default engine on processors."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from osler.datasets.hardware import Hardware
from osler.errors import ModelError
from osler.inference.engines import graph_cache
from osler.inference.engines.base import Engine, Output, Precision, is_out_of_memory
from osler.studies.geometry import Array

__all__ = ["OpenVinoEngine"]

# OpenVINO picks bf16 by itself where the processor has it, so exactness has to be asked for.
_HINTS: dict[Precision, dict[str, str]] = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
    "auto": {},
}
_MOST_AT_ONCE = 4  # each sample in hand needs the memory of all its features
_FEW_ALONE = 2  # lone samples after a larger batch, such as a layer's last window: not worth the memory of a graph


@dataclass(frozen=True)
class _Lane:
    """How many requests share the processor, and whether each gets one sample and no more."""

    count: int
    alone: bool = False


@dataclass(frozen=True)
class _UnderWay:
    """A request that reads ``arrays`` and writes ``result``; ``failure`` where it could not even begin."""

    request: Any
    arrays: dict[str, Array]
    result: Array | None = None
    failure: MemoryError | None = None


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
        self._digest: Future[str] = Future()
        self._output: Output = "logits"
        self._dtype: Any = np.float32
        self._at_once = 1
        self._spare = 0
        self._compiled: dict[_Lane, Any] = {}
        self._requests: dict[_Lane, list[Any]] = {}
        self._kept: list[Array] = []

    @property
    def at_once(self) -> int:
        """As many samples as there are threads, up to four."""
        return self._at_once

    def load(
        self,
        graph: Path,
        *,
        precision: Precision = "float32",
        threads: int = 0,
        output: Output = "logits",
        many: bool = False,
        narrow: bool = False,
    ) -> None:
        """Read ``graph``; see ``Engine.load``. It is compiled when the first batch shows for how many samples."""
        import openvino

        self.release()
        self._core = openvino.Core()
        self._settings = {**_hints(self._core, precision)}
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._network = self._core.read_model(str(graph))
            _keep_output(self._network, output)
            narrow = narrow and precision in ("bf16", "int8") and _has_bf16(self._core)
            self._dtype = ml_dtypes.bfloat16 if narrow else np.float32
            if narrow:
                self._network = _answering_bf16(self._network)
        except RuntimeError as error:
            self.release()
            raise ModelError(
                f"OpenVINO cannot load {graph.name} ({_first_line(error)})", remedy="restore the model folder"
            ) from error
        hashing = ThreadPoolExecutor(1, thread_name_prefix="osler-digest")  # while the first study is read
        self._digest = hashing.submit(graph_cache.digest_of, graph, graph.with_suffix(".bin"))
        hashing.shutdown(wait=False)
        self._output = output
        self._at_once = min(threads or _cores(), _MOST_AT_ONCE) if self._any_batch() else 1
        self._spare = -1 if many else _FEW_ALONE  # -1: every lone sample may go where several would
        self._facts = {
            "output": output,
            "narrow": narrow,
            "openvino": openvino.get_version(),
            "machine": Hardware.detect().model_dump(),
        }

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch; a shape that the graph was not made for has it reshaped first, which takes a moment.

        Raises:
            ModelError: when nothing is loaded, an input is missing, or the graph cannot take the shape.
            MemoryError: when memory ran out.
        """
        arrays = self._arrays(inputs)
        with _named(arrays):
            self._fit(arrays)
            count = len(next(iter(arrays.values())))
            parts = _parts(count, self._at_once)
            requests = self._lane(len(parts), alone=count == len(parts))
            result = _room_for(count, requests[0], self._dtype)
            with ExitStack() as running:  # every request is waited for, also when another one fails
                for part, request in zip(parts, requests, strict=False):
                    own = {name: array[part] for name, array in arrays.items()}
                    _start(request, own, None if result is None else result[part])
                    running.callback(request.wait)
            if result is None:
                result = np.concatenate([_copy_of(request, self._dtype) for request in requests[: len(parts)]])
            return {self._output: result}

    def run_many(self, batches: Iterable[Mapping[str, Array]]) -> Iterator[dict[str, Array] | MemoryError]:
        """Run batches in as many requests at once as samples of one batch would, and one more that waits.

        Requests are kept in a queue of our own: ``openvino.AsyncInferQueue`` gives answers in no order, and calls
        nobody for a batch that failed.
        """
        under_way: deque[_UnderWay] = deque()
        idle: list[Any] | None = None
        try:
            for inputs in batches:
                arrays = self._arrays(inputs)
                if idle is None or not self._takes(arrays):  # the graph is made anew, and its requests with it
                    while under_way:
                        yield self._awaited(under_way.popleft())
                    with _named(arrays):
                        self._fit(arrays)
                        idle = self._new_requests(_Lane(self._at_once), self._at_once + 1)
                if not idle:
                    first = under_way.popleft()
                    yield self._awaited(first)
                    idle.append(first.request)
                under_way.append(_begun(idle.pop(), arrays, self._dtype))
            while under_way:
                yield self._awaited(under_way.popleft())
        finally:  # nothing may still read the arrays of whoever stopped listening
            for one in under_way:
                _settle(one)

    def release(self) -> None:
        """Free the graph."""
        self._forget()
        self._network = self._core = None

    def _forget(self) -> None:
        self._requests, self._compiled = {}, {}
        self._kept = []

    def _arrays(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if self._network is None:
            raise ModelError("the OpenVINO engine has no graph", remedy="call load before run")
        return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in inputs.items()}

    def _lane(self, parts: int, *, alone: bool) -> list[Any]:
        """Requests that run at the same time: as many as the engine allows when there are several parts.

        ``alone``: each part is one sample.
        """
        several = self._known(_Lane(self._at_once, alone=alone))
        lane = several
        if parts == 1:
            one = self._known(_Lane(1, alone=alone))
            lane = several if self._spare and (self._spare < 0 or several in self._compiled) else one
            self._spare -= self._spare > 0
        elif self._spare >= 0:  # a lone window between batches, the last of each layer, is no reason to compile either
            self._spare = _FEW_ALONE
        if lane not in self._requests:
            self._requests[lane] = self._new_requests(lane, lane.count)
        return self._requests[lane]

    def _known(self, lane: _Lane) -> _Lane:
        """The same for any number of samples, if there is a graph for that already."""
        of_any = _Lane(lane.count)
        return of_any if of_any in self._compiled else lane

    def _new_requests(self, lane: _Lane, count: int) -> list[Any]:
        if lane not in self._compiled:
            self._compiled[lane] = self._compile(lane)
        return [self._compiled[lane].create_infer_request() for _ in range(count)]

    def _compile(self, wanted: _Lane) -> Any:
        """A compiled graph, from the cache when it is there."""
        import openvino

        network = self._network
        if wanted.alone and self._any_batch():  # sizes that are known save a copy of the answer
            network = network.clone()
            network.reshape({port.get_any_name(): _of_one(port.get_partial_shape()) for port in network.inputs})
        lane: dict[str, str | int] = (
            {"PERFORMANCE_HINT": "LATENCY"} if wanted.count == 1 else {"NUM_STREAMS": wanted.count}
        )
        settings = {**self._settings, **lane}
        shapes = {port.get_any_name(): str(port.get_partial_shape()) for port in network.inputs}
        facts = {**self._facts, "graph": self._digest.result(), "settings": settings, "shapes": shapes}
        key = graph_cache.key_of(facts)
        kept = graph_cache.fetch(key)
        if kept is not None:
            try:
                compiled = self._core.import_model(openvino.Tensor(kept, shared_memory=True), "CPU", settings)
                self._kept.append(kept)  # whose weights the compiled network goes on reading
                return compiled
            except RuntimeError:  # OpenVINO no longer takes what it once wrote
                graph_cache.discard(key)
        compiled = self._core.compile_model(network, "CPU", settings)
        graph_cache.keep(key, compiled.export_model().getvalue())
        return compiled

    def _any_batch(self) -> bool:
        return all(port.get_partial_shape()[0].is_dynamic for port in self._network.inputs)

    def _takes(self, arrays: Mapping[str, Array]) -> bool:
        """Whether the graph takes these shapes as it is; a wrong name is found when it is run."""
        import openvino

        shapes = {name: openvino.PartialShape(list(array.shape)) for name, array in arrays.items()}
        inputs = {name: port for port in self._network.inputs for name in port.get_names()}
        return all(name not in inputs or inputs[name].partial_shape.compatible(shape) for name, shape in shapes.items())

    def _fit(self, arrays: Mapping[str, Array]) -> None:
        import openvino

        if self._takes(arrays):
            return
        first = [-1] if self._any_batch() else []
        shapes = {name: openvino.PartialShape([*first, *array.shape[len(first) :]]) for name, array in arrays.items()}
        self._network.reshape(shapes)
        self._forget()

    def _awaited(self, one: _UnderWay) -> dict[str, Array] | MemoryError:
        if one.failure is not None:
            return one.failure
        try:
            with _named(one.arrays):
                one.request.wait()
                result = _copy_of(one.request, self._dtype) if one.result is None else one.result
                return {self._output: result}
        except MemoryError as error:
            return error


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


def _begun(request: Any, arrays: dict[str, Array], dtype: Any) -> _UnderWay:
    try:
        with _named(arrays):
            result = _room_for(len(next(iter(arrays.values()))), request, dtype)
            _start(request, arrays, result)
    except MemoryError as error:
        return _UnderWay(request, arrays, failure=error)
    return _UnderWay(request, arrays, result)


def _settle(one: _UnderWay) -> None:
    if one.failure is None:
        one.request.cancel()
        with suppress(RuntimeError):  # it was cancelled, or failed: nobody wants its answer
            one.request.wait()


def _start(request: Any, arrays: Mapping[str, Array], result: Array | None) -> None:
    """Begin; the network writes its answer where it is wanted, instead of having it copied there."""
    import openvino

    if result is not None:
        if result.dtype == np.float32:
            tensor = openvino.Tensor(result, shared_memory=True)
        else:  # OpenVINO does not know NumPy's bfloat16, but its bits
            tensor = openvino.Tensor(result.view(np.uint16), openvino.Shape(result.shape), openvino.Type.bf16)
        request.set_output_tensor(0, tensor)
    request.start_async(arrays, share_inputs=True)


def _room_for(count: int, request: Any, dtype: Any) -> Array | None:
    """An array for the output of so many samples; None where its shape is known only afterwards."""
    sides = list(request.model_outputs[0].get_partial_shape())[1:]
    if any(side.is_dynamic for side in sides):
        return None
    return np.empty((count, *(side.get_length() for side in sides)), dtype)


def _copy_of(request: Any, dtype: Any) -> Array:
    """Its output: the request writes its next one into the same memory."""
    data = request.get_output_tensor(0).data
    return np.array(data if dtype == np.float32 else data.view(dtype))


def _parts(count: int, most: int) -> list[slice]:
    """``count`` samples in at most ``most`` parts that differ by one at most."""
    ends = [count * n // most for n in range(most + 1)]
    return [slice(first, end) for first, end in itertools.pairwise(ends) if end > first]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hints(core: Any, precision: Precision) -> dict[str, str]:
    """What stays in float in a quantised graph is bf16 where the processor has it, and never another half precision."""
    if precision == "int8":
        return _HINTS["bf16" if _has_bf16(core) else "float32"]
    return _HINTS[precision]


def _of_one(shape: Any) -> Any:
    """The shape (B, ...) of one sample."""
    import openvino

    return openvino.PartialShape([1, *list(shape)[1:]])


def _has_bf16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _answering_bf16(network: Any) -> Any:
    """The same with its output as bfloat16, which is what it was computed in."""
    import openvino
    from openvino.preprocess import PrePostProcessor

    around = PrePostProcessor(network)
    around.output(0).tensor().set_element_type(openvino.Type.bf16)
    return around.build()


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
