"""ONNX Runtime: the engine for other runtimes and devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import ModelError, UsageError
from osler.extras import require
from osler.inference.engines.base import Engine, Output, Precision, is_out_of_memory
from osler.studies.geometry import Array

__all__ = ["OnnxRuntimeEngine", "providers_of"]


class OnnxRuntimeEngine(Engine):
    """Runs ``.onnx`` in float32 on the first provider that is there: CUDA (unmeasured), then the processor."""

    name = "onnxruntime"
    suffix = ".onnx"

    def __init__(self) -> None:
        self._session: Any = None
        self._output: Output = "logits"

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
        """Read and compile ``graph``; see ``Engine.load``.

        Raises:
            MissingExtra: when onnxruntime is not installed.
            UsageError: when bf16 or int8 is asked for, which this engine does not offer.
        """
        if precision in ("bf16", "int8"):
            raise UsageError("ONNX Runtime runs in float32 only", remedy=f"use --engine openvino for {precision}")
        runtime = require("onnxruntime", extra="service", purpose="the engine onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        providers = providers_of(runtime.get_available_providers())
        try:
            self._session = runtime.InferenceSession(str(graph), options, providers=providers)
        except _failures(runtime) as error:
            raise ModelError(
                f"ONNX Runtime cannot load {graph.name} ({_first_line(error)})", remedy="restore the model folder"
            ) from error
        if output not in [port.name for port in self._session.get_outputs()]:
            raise ModelError(f"ONNX Runtime cannot load {graph.name} (it has no output {output})", remedy="use logits")
        self._output = output

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch.

        Raises:
            ModelError: when nothing is loaded or the graph cannot take the inputs.
            MemoryError: when memory ran out, of the processor or of the GPU.
        """
        if self._session is None:
            raise ModelError("the ONNX Runtime engine has no graph", remedy="call load before run")
        arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in inputs.items()}
        runtime = require("onnxruntime", extra="service", purpose="the engine onnxruntime")
        try:
            (result,) = self._session.run([self._output], arrays)
        except _failures(runtime) as error:
            shapes = {name: array.shape for name, array in arrays.items()}
            if is_out_of_memory(error):
                raise MemoryError(f"ONNX Runtime has no memory for inputs of shape {shapes}") from error
            raise ModelError(
                f"the graph cannot take inputs of shape {shapes} ({_first_line(error)})",
                remedy="the model was exported for another input; export it again",
            ) from error
        return {self._output: np.asarray(result)}

    def release(self) -> None:
        """Free the graph."""
        self._session = None


def providers_of(offered: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """What a graph may run on, best first, with its settings.

    On a GPU without TensorFloat-32, which keeps ten bits of a number and is not what float32 promises; kernels are
    chosen by rule, since trying them all takes longer than most studies.
    """
    settings = {
        "CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
        "CPUExecutionProvider": {},
    }
    return [(name, chosen) for name, chosen in settings.items() if name in offered]


def _failures(runtime: Any) -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions share no base class below ``Exception``."""
    state = runtime.capi.onnxruntime_pybind11_state
    names = (
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NoSuchFile",
        "NotImplemented",
        "RuntimeException",
    )
    return (*(getattr(state, name) for name in names), ValueError, RuntimeError)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
