"""``Engine``: what runs a compiled network. Three calls: load, run a batch, release."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from osler.studies.geometry import Array

__all__ = ["Engine", "Output", "Precision", "is_out_of_memory"]

Precision = Literal["float32", "bf16", "int8", "auto"]
Output = Literal["logits", "features"]
_OUT_OF_MEMORY = (  # what OpenVINO, ONNX Runtime, CUDA and torch say; they raise it as a plain RuntimeError
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "failed to allocate",
    "cannot allocate",
    "can't allocate",
    "could not allocate",
    "not enough memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "is smaller than requested bytes",
)


class Engine(ABC):
    """The story: ``load`` is called once with one member's graph, then ``run`` or ``run_many`` any number of times from
    one thread, then ``release``. An engine holds no state between runs. Arrays in and out are float32 NumPy by name,
    out perhaps bfloat16 where ``narrow`` was asked for
    (``"image"`` (B, C, *spatial) in; ``"logits"`` (B, outputs[, *spatial]) out, or ``"features"`` (B, F[, *spatial]),
    what the network's last layer makes logits of).
    Every engine passes ``tests/conformance/test_engines.py``.
    """

    name: str = ""
    suffix: str = ""

    @property
    def at_once(self) -> int:
        """How many samples of a batch run at the same time; who has many to run gives at least so many at once."""
        return 1

    @abstractmethod
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
        """Read and compile ``graph``.

        Args:
            graph: the file in the model folder (``.xml`` OpenVINO, ``.onnx``, ``.safetensors``).
            precision: "float32" is exact; "bf16" asks for it; "int8" is for a quantised graph, the rest of which runs
                as the processor does it best; "auto" leaves everything to the processor.
            threads: 0 lets the engine decide.
            output: the only one that is computed.
            many: expect ``run_many`` with small batches: an engine that knows the difference then answers most batches
                a second rather than one batch soonest. The answers are the same.
            narrow: answers may come as bfloat16 (``ml_dtypes``) where the network is computed in it, rounded as between
                any two of its layers: half the memory. For features, not for logits.

        Raises:
            ModelError: when the graph cannot be loaded or has no such output.
        """

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch; the batch size and the spatial shape may differ from call to call.

        Raises:
            ModelError: when nothing is loaded or the graph cannot take the inputs.
            MemoryError: when there is not enough memory for this batch; a smaller one may be run next.
        """

    def run_many(self, batches: Iterable[Mapping[str, Array]]) -> Iterator[dict[str, Array] | MemoryError]:
        """Run batches, several at once where the engine can; here one after another.

        Args:
            batches: taken as there is room for them, a few ahead of the answers.

        Yields:
            The answer of each batch, in their order; the MemoryError in its place where there was not enough memory.

        Raises:
            ModelError: as ``run``.
        """
        for inputs in batches:
            answer: dict[str, Array] | MemoryError
            try:
                answer = self.run(inputs)
            except MemoryError as error:
                answer = error
            yield answer

    @abstractmethod
    def release(self) -> None:
        """Free what ``load`` took. Loading again afterwards is allowed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an engine's error means that memory ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)
