"""``look_at_all``: the facts of many cases, read side by side; what planning and inspection begin with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from osler.datasets.dataset import Dataset
from osler.datasets.effort import seconds_for
from osler.datasets.facts import CaseFacts, look
from osler.datasets.manifest import Record
from osler.datasets.parallel import over_studies
from osler.errors import OslerError
from osler.progress import CancelToken, Progress

__all__ = ["look_at_all"]


@dataclass(frozen=True)
class _Look:
    """Reads one case, in this process or another. ``dataset`` is without its records."""

    dataset: Dataset
    inspecting: bool

    def __call__(self, job: tuple[Record, int]) -> CaseFacts:
        record, intensities = job
        return look(self.dataset, record, intensities=intensities, digest=self.inspecting, inspecting=self.inspecting)


def look_at_all(
    dataset: Dataset,
    records: Sequence[Record],
    stage: str,
    *,
    sampled: Collection[str],
    progress: Progress,
    inspecting: bool = False,
    workers: int = 0,
    processes: int | None = None,
    cancel: CancelToken | None = None,
) -> tuple[list[CaseFacts], dict[str, OslerError]]:
    """Read each case once.

    Args:
        dataset: loads the cases.
        records: which of them.
        stage: the name that ``progress`` gets, in cases.
        sampled: names of the cases whose intensities are kept.
        progress: told of each case.
        inspecting: also digest and observe, see ``look``.
        workers: threads or processes; 0 takes one per processor, at most 4.
        processes: see ``over_studies``.
        cancel: looked at between cases.

    Returns:
        The facts of the cases that can be read, in order, and of the others the error, by name.

    Raises:
        Cancelled: when asked to stop.
    """
    facts: list[CaseFacts] = []
    errors: dict[str, OslerError] = {}
    jobs = [(record, len(sampled) if record.name in sampled else 0) for record in records]
    with over_studies(
        _Look(dataset.with_records(()), inspecting),
        seconds=seconds_for(dataset.manifest.root, records, inspecting=inspecting),
        workers=workers,
        processes=processes,
        name=lambda job: job[0].name,
        cancel=cancel,
        say=progress.say,
    ) as each:
        progress.start(stage, len(records), "cases")
        for record, result in zip(records, each(jobs), strict=True):
            progress.advance(stage, 1, record.name)
            if isinstance(result, OslerError):
                errors[record.name] = result
            else:
                facts.append(result)
        progress.finish(stage)
    return facts, errors
