"""``Engine``: what runs a compiled network. Three calls: load, run a batch, release."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from osler.studies.geometry import Array

__all__ = ["Engine", "Output", "Precision"]

Precision = Literal["float32", "bf16", "int8", "auto"]
Output = Literal["logits", "features"]


class Engine(ABC):
    """The story: ``load`` is called once with one member's graph, then ``run`` any number of times from one thread,
    then ``release``. An engine holds no state between runs. Arrays in and out are float32 NumPy by name
    (``"image"`` (B, C, *spatial) in; ``"logits"`` (B, outputs[, *spatial]) out, or ``"features"`` (B, F[, *spatial]),
    what the network's last layer makes logits of).
    Every engine passes ``tests/conformance/test_engines.py``.
    """

    name: str = ""
    suffix: str = ""

    @abstractmethod
    def load(
        self, graph: Path, *, precision: Precision = "float32", threads: int = 0, output: Output = "logits"
    ) -> None:
        """Read and compile ``graph``.

        Args:
            graph: the file in the model folder (``.xml`` OpenVINO, ``.onnx``, ``.safetensors``).
            precision: "float32" is exact; "bf16" asks for it; "int8" is for a quantised graph, the rest of which runs
                as the processor does it best; "auto" leaves everything to the processor.
            threads: 0 lets the engine decide.
            output: the only one that is computed.

        Raises:
            ModelError: when the graph cannot be loaded or has no such output.
        """

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch; the batch size and the spatial shape may differ from call to call."""

    @abstractmethod
    def release(self) -> None:
        """Free what ``load`` took. Loading again afterwards is allowed."""
