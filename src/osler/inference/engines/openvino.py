"""OpenVINO: the default engine on processors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import ModelError
from osler.inference.engines.base import Engine, Output, Precision
from osler.studies.geometry import Array

__all__ = ["OpenVinoEngine"]

# OpenVINO picks bf16 by itself where the processor has it, so exactness has to be asked for.
_HINTS: dict[Precision, dict[str, str]] = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32"},
    "bf16": {"INFERENCE_PRECISION_HINT": "bf16"},
    "auto": {},
}


class OpenVinoEngine(Engine):
    """Runs ``.xml`` (with the ``.bin`` beside it) on the processor. Nothing is cached on disk."""

    name = "openvino"
    suffix = ".xml"

    def __init__(self) -> None:
        self._core: Any = None
        self._network: Any = None
        self._compiled: Any = None
        self._request: Any = None
        self._settings: dict[str, str | int] = {}

    def load(
        self, graph: Path, *, precision: Precision = "float32", threads: int = 0, output: Output = "logits"
    ) -> None:
        """Read and compile ``graph``; see ``Engine.load``."""
        import openvino

        self._core = openvino.Core()
        self._settings = {**_hints(self._core, precision), "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
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
        if self._compiled is None:
            raise ModelError("the OpenVINO engine has no graph", remedy="call load before run")
        arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in inputs.items()}
        try:
            self._fit(arrays)
            results = self._request.infer(arrays, share_inputs=True, share_outputs=False)
        except (RuntimeError, KeyError) as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            raise ModelError(
                f"the graph cannot take inputs of shape {shapes} ({_first_line(error)})",
                remedy="the model was exported for another input; export it again",
            ) from error
        return {port.get_any_name(): np.asarray(value) for port, value in results.items()}

    def release(self) -> None:
        """Free the graph."""
        self._request = self._compiled = self._network = self._core = None

    def _compile(self) -> None:
        self._compiled = self._core.compile_model(self._network, "CPU", self._settings)
        self._request = self._compiled.create_infer_request()

    def _fit(self, arrays: Mapping[str, Array]) -> None:
        import openvino

        shapes = {name: openvino.PartialShape(list(array.shape)) for name, array in arrays.items()}
        if all(self._network.input(name).partial_shape.compatible(shape) for name, shape in shapes.items()):
            return
        self._network.reshape(shapes)
        self._compile()


def _hints(core: Any, precision: Precision) -> dict[str, str]:
    """What stays in float in a quantised graph is bf16 where the processor has it, and never another half precision."""
    if precision == "int8":
        return _HINTS["bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "float32"]
    return _HINTS[precision]


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
