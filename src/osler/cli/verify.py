"""``osler verify``: whether a model folder is whole, what it is for, and what it scored."""

from __future__ import annotations

from osler.cli.options import Json, ModelFolder
from osler.cli.outcome import Outcome, carry_out
from osler.progress import CancelToken, Progress

__all__ = ["verify"]


def verify(model: ModelFolder, as_json: Json = False) -> None:
    """Check every file's hash, and say what MODEL is for, on what data it was measured, and what it scored."""

    def work(progress: Progress, cancel: CancelToken) -> Outcome:
        from osler.workflows.verify import verify as run

        result = run(model)
        return Outcome(result.summary(), result.record(), complete=not result.faults)

    carry_out(work, as_json=as_json)
