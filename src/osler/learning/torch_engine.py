"""The torch engine: runs a member's safetensors weights; inference finds it by the entry point ``osler.engines``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from osler.errors import ModelError
from osler.inference.engines.base import Engine, Output, Precision, is_out_of_memory
from osler.learning.export import load_network
from osler.learning.networks import Network
from osler.models.folder import Model
from osler.studies.geometry import Array

__all__ = ["TorchEngine"]


class TorchEngine(Engine):
    """Runs on the GPU where there is one. ``load`` is given ``MODEL/weights/memberN.safetensors``."""

    name = "torch"
    suffix = ".safetensors"

    def __init__(self) -> None:
        self._network: Network | None = None
        self._bf16 = False
        self._output: Output = "logits"
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def load(
        self, graph: Path, *, precision: Precision = "float32", threads: int = 0, output: Output = "logits"
    ) -> None:
        """Raises:
        ModelError: when the weights do not fit the model's plan, or the network has no such output.
        """
        if threads:
            torch.set_num_threads(threads)
        model = Model.open(graph.parents[1])
        member = next(n for n, entry in enumerate(model.info.members) if Path(entry.weights).name == graph.name)
        self._network = load_network(model, member).to(self._device)
        if output == "features" and not self._network.head_name:
            raise ModelError(f"the network of {graph.name} has no output {output}", remedy="use logits")
        self._output = output
        self._bf16 = precision == "bf16" or (precision == "auto" and self._device.type == "cuda")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One batch.

        Raises:
            MemoryError: when memory ran out, of the processor or of the GPU.
        """
        if self._network is None:
            raise RuntimeError("run was called before load")
        try:
            return {self._output: self._run(self._network, inputs)}
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(f"torch has no memory ({error})") from error

    def _run(self, network: Network, inputs: Mapping[str, Array]) -> Array:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(a)).to(self._device) for name, a in inputs.items()}
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            outputs = network(tensors)
        return np.asarray(outputs[self._output].float().cpu().numpy())

    def release(self) -> None:
        """Forget the network."""
        self._network = None
