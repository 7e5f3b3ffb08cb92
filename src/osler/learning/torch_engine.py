"""The torch engine: runs a member's safetensors weights; inference finds it by the entry point ``osler.engines``.

On a GPU: bf16 where asked for and offered, channels last, pinned memory for what goes there and back, and compiled once
a run has proved long enough to be worth the half minute that this takes. Written from torch's documentation; nothing of
it was measured on a GPU yet.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from osler.errors import ModelError
from osler.inference.engines.base import Engine, Output, Precision, is_out_of_memory
from osler.learning.export import load_network
from osler.models.folder import Model
from osler.studies.geometry import Array

__all__ = ["TorchEngine", "Way", "way_of"]

_COMPILE_AFTER = 512  # samples
_AT_ONCE = 4  # on a GPU: enough work for its processors, little enough for its memory


@dataclass(frozen=True)
class Way:
    """How a network is run: ``compiled`` says whether it will be when the run is long; ``pinned`` where from and to
    the arrays are copied."""

    device: str
    bf16: bool
    channels_last: bool
    compiled: bool
    pinned: bool


def way_of(precision: Precision, *, gpu: bool, gpu_bf16: bool = False, compiler: bool = False) -> Way:
    """The way for a precision on a machine.

    Args:
        precision: "auto" is bf16 on a GPU that has it, else float32.
        gpu: whether there is one.
        gpu_bf16: whether it computes in bf16.
        compiler: whether torch can compile for it.
    """
    if not gpu:
        return Way("cpu", precision == "bf16", channels_last=False, compiled=False, pinned=False)
    bf16 = precision == "bf16" or (precision == "auto" and gpu_bf16)
    return Way("cuda", bf16, channels_last=True, compiled=compiler, pinned=True)


class TorchEngine(Engine):
    """Runs on the GPU where there is one. ``load`` is given ``MODEL/weights/memberN.safetensors``."""

    name = "torch"
    suffix = ".safetensors"

    def __init__(self) -> None:
        self._network: Any = None
        self._output: Output = "logits"
        self._way = way_of("float32", gpu=False)
        self._seen = 0

    @property
    def at_once(self) -> int:
        """Several on a GPU, one on a processor."""
        return _AT_ONCE if self._way.device == "cuda" else 1

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
        """Raises:
        ModelError: when the weights do not fit the model's plan, or the network has no such output.
        """
        if threads:
            torch.set_num_threads(threads)
        model = Model.open(graph.parents[1])
        member = next(n for n, entry in enumerate(model.info.members) if Path(entry.weights).name == graph.name)
        network = load_network(model, member)
        if output == "features" and not network.head_name:
            raise ModelError(f"the network of {graph.name} has no output {output}", remedy="use logits")
        self._way = _way_here(precision)
        self._network = network.to(self._way.device)
        if self._way.channels_last:
            self._network = self._network.to(memory_format=_last(model.plan.dimensions))
        self._output, self._seen = output, 0

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """One batch.

        Raises:
            MemoryError: when memory ran out, of the processor or of the GPU.
        """
        if self._network is None:
            raise RuntimeError("run was called before load")
        try:
            return {self._output: self._run(inputs)}
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if self._way.device == "cuda":
                torch.cuda.empty_cache()
            shapes = {name: array.shape for name, array in inputs.items()}
            raise MemoryError(f"torch has no memory for inputs of shape {shapes}") from error
        finally:
            self._compile_when_worth_it(len(next(iter(inputs.values()))))

    def _run(self, inputs: Mapping[str, Array]) -> Array:
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            stack.enter_context(torch.autocast(self._way.device, torch.bfloat16, enabled=self._way.bf16))
            stack.enter_context(_without_tf32())
            tensors = {name: self._there(array) for name, array in inputs.items()}
            return self._back(self._network(tensors)[self._output])

    def release(self) -> None:
        """Forget the network."""
        self._network = None

    def _there(self, array: Array) -> Tensor:
        """(B, C, \\*S) on the device."""
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
        if not self._way.pinned:
            return tensor
        moved = tensor.pin_memory().to(self._way.device, non_blocking=True)
        return moved.contiguous(memory_format=_last(tensor.ndim - 2)) if self._way.channels_last else moved

    def _back(self, output: Tensor) -> Array:
        if not self._way.pinned:
            return np.asarray(output.float().numpy())
        result = torch.empty(output.shape, dtype=torch.float32, pin_memory=True)
        result.copy_(output, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return np.asarray(result.numpy())

    def _compile_when_worth_it(self, count: int) -> None:
        self._seen += count
        if self._way.compiled and self._seen - count < _COMPILE_AFTER <= self._seen:
            self._network = torch.compile(self._network)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """TensorFloat-32, which torch allows itself in convolutions, keeps ten bits of a number: not float32's promise."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _way_here(precision: Precision) -> Way:
    gpu = torch.cuda.is_available()
    compiler = gpu and importlib.util.find_spec("triton") is not None and any(map(shutil.which, ("cc", "gcc", "clang")))
    return way_of(precision, gpu=gpu, gpu_bf16=gpu and torch.cuda.is_bf16_supported(), compiler=compiler)


def _last(dimensions: int) -> torch.memory_format:
    return torch.channels_last if dimensions == 2 else torch.channels_last_3d
