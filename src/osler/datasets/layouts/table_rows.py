"""``Table`` and ``Row``: a file with a row per case, before its columns mean anything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from osler.errors import DatasetError

__all__ = ["Row", "Table"]


@dataclass(frozen=True)
class Row:
    """One line: its number as the user finds it, and its cells by column key."""

    number: int
    cells: dict[str, str]


@dataclass(frozen=True)
class Table:
    """A file with a row per case; ``columns`` are keys (see ``column_key``)."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def error(self, row: Row, problem: str, remedy: str) -> DatasetError:
        """An error that names the row."""
        return DatasetError(f"{self.path.name}, row {row.number}: {problem}", remedy=remedy)

    def columns_of(self, prefix: str) -> list[str]:
        """The columns that begin so and go on."""
        return [c for c in self.columns if c.startswith(prefix) and len(c) > len(prefix)]
