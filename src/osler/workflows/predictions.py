"""``Predictions``: what became of the studies of a run, for a notebook, for a person and for a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from osler.findings.finding import Findings
from osler.inference.decoders import Cell
from osler.report.files import SummaryRow
from osler.studies.image import Image
from osler.studies.notes import grouped_notes

__all__ = ["PredictedStudy", "Predictions"]

_MOST_FAILED = 20  # named in the summary; the table has them all
_MOST_NAMED = 3  # in a note about several studies


@dataclass(frozen=True)
class PredictedStudy:
    """What became of one study.

    Args:
        name: of the study, and of its folder in the output.
        status: ``ok`` or ``failed: <reason>``.
        seconds: wall clock; for small studies predicted together, its share.
        peak_mb: highest resident memory of the process meanwhile, in 10^6 bytes.
        cells: its columns of ``summary.csv``.
        findings: None when it failed.
        mask: on the study's source grid, the data set's values; only when nothing was written to disk.
        files: what was written.
        notes: what the user should check about it.
        source: digest of what it was read from (``finished.SourceDigests``).
        before: whether it was finished by an earlier run that this one continued.
    """

    name: str
    status: str
    seconds: float
    peak_mb: float
    cells: dict[str, Cell]
    findings: Findings | None = None
    mask: Image | None = None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""
    before: bool = False

    @property
    def row(self) -> SummaryRow:
        """Its row of ``summary.csv``."""
        return SummaryRow(self.name, self.status, self.seconds, self.peak_mb, self.cells, "; ".join(self.notes))


class Predictions(Sequence[Findings]):
    """The findings of the studies that could be predicted, in order; ``failed`` holds those that could not, with the
    reason.

    Args:
        studies: every study that was taken up.
        unreached: names of those that were not, because the run was stopped.
        output: where the results lie; None when they were not written.
    """

    def __init__(
        self, studies: Sequence[PredictedStudy], *, unreached: Sequence[str] = (), output: Path | None = None
    ) -> None:
        self.studies = tuple(studies)
        self.unreached = tuple(unreached)
        self.output = output
        self._findings = tuple(study.findings for study in studies if study.findings is not None)

    def __repr__(self) -> str:
        return f"Predictions({len(self)} of {len(self.studies) + len(self.unreached)} studies, output={self.output})"

    def __len__(self) -> int:
        return len(self._findings)

    @overload
    def __getitem__(self, index: int) -> Findings: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Findings, ...]: ...

    def __getitem__(self, index: int | slice) -> Findings | tuple[Findings, ...]:
        return self._findings[index]

    @property
    def failed(self) -> dict[str, str]:
        """Reason by name of each study without findings."""
        return {s.name: s.status.removeprefix("failed: ") for s in self.studies if s.findings is None}

    @property
    def complete(self) -> bool:
        """Whether every study was reached and could be predicted."""
        return not self.failed and not self.unreached

    @property
    def notes(self) -> dict[str, list[str]]:
        """What to check and how they were read, with the names of the studies that it is about."""
        grouped = grouped_notes({study.name: study.notes for study in self.studies})
        return {note: list(names) for note, names in grouped.items()}

    def summary(self) -> list[str]:
        """Lines for a person."""
        total = len(self.studies) + len(self.unreached)
        before = sum(study.before for study in self.studies)
        earlier = f", {before} of them by an earlier run" if before else ""
        lines = [f"{len(self)} of {total} {'study' if total == 1 else 'studies'} predicted{earlier}"]
        if self.output is not None:
            lines.append(f"results in {self.output}, as a table in {self.output / 'summary.csv'}")
        lines += [f"note on {_listed(names)}: {note}" for note, names in self.notes.items()]
        failed = list(self.failed.items())
        lines += [f"failed: {name}: {reason}" for name, reason in failed[:_MOST_FAILED]]
        if len(failed) > _MOST_FAILED:
            lines.append(f"and {len(failed) - _MOST_FAILED} more failed")
        if self.unreached:
            count = f"{len(self.unreached)} {'study was' if len(self.unreached) == 1 else 'studies were'} not reached"
            again = "; the same command with --continue goes on" if self.output is not None else ""
            lines.append(f"stopped: {count}{again}")
        return lines

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "output": None if self.output is None else str(self.output),
            "studies": [
                {
                    "study": s.name,
                    "status": s.status,
                    "seconds": s.seconds,
                    "peak_mb": s.peak_mb,
                    "before": s.before,
                    **s.cells,
                }
                for s in self.studies
            ],
            "failed": self.failed,
            "unreached": list(self.unreached),
            "notes": self.notes,
        }


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
