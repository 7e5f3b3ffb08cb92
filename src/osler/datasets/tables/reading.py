"""One table, read once from its file in chunks of rows into a column of numbers and a column of words each.

A cell takes 16 bytes, whatever it says: numbers are float64, words are kept as 64-bit hashes, and of the distinct words
of a column the first thousand in full. Rows are counted from 1 as a spreadsheet does: a header and blank rows count.
"""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TextIO

import numpy as np

from osler.datasets.layouts.tables import MISSING
from osler.errors import Unreadable
from osler.studies.geometry import Array

__all__ = ["MOST_CELLS", "Column", "Odd", "RawTable", "is_number", "read_table", "word_code"]

MOST_CELLS = 12_000_000
"""Of all tables together, 200 MB; what lies beyond is not looked at."""
_LONGEST = 1 << 30  # bytes of a file
_AT_ONCE = 200_000  # cells of a chunk of rows, and of all columns whose meaning is not worked out again
_LONGEST_LINE = 1 << 20
_BEGINNING = 200  # rows whose usual length is that of the table
_MOST_WORDS, _LONGEST_WORD = 1000, 80
_MOST_ODD = 10_000
_DELIMITERS = (",", ";", "\t")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass(frozen=True, eq=False)
class Column:
    """The cells of a column, one per row (N,): its number, NaN where it is none; 0, or the hash of what it says then.

    ``words`` holds what the hashes stand for, as far as they are kept.
    """

    name: str
    numbers: Array
    hashes: Array
    words: dict[int, str]


@dataclass(frozen=True)
class Odd:
    """A row of another length than the others, which is left out of the columns; ``last`` in a file without an end."""

    row: int
    cells: int
    last: bool = False


@dataclass(frozen=True, eq=False)
class RawTable:
    """A table as it is written. ``rows`` (N,) are the numbers of its rows in the file, ``first`` the words of one."""

    name: str
    path: Path
    header: bool
    columns: tuple[Column, ...]
    rows: Array
    first: tuple[str, ...]
    odd: tuple[Odd, ...]
    odd_count: int

    def case(self, place: int) -> str:
        """What the row at ``place`` (from 0) is called."""
        return f"{self.name} row {int(self.rows[place])}"

    def take(self, places: Array, *, name: str) -> RawTable:
        """The table of some of the rows, under another name."""
        columns = [replace(one, numbers=one.numbers[places], hashes=one.hashes[places]) for one in self.columns]
        return replace(self, name=name, columns=tuple(columns), rows=self.rows[places], odd=(), odd_count=0)


def word_code(word: str) -> int:
    """A number that stands for a word, the same in every run; never 0."""
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little", signed=True) or 1


def is_number(cell: str) -> bool:
    """Whether a cell is written as a number."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def read_table(
    path: Path,
    *,
    name: str,
    names: Sequence[str] = (),
    room: int = MOST_CELLS,
    tick: Callable[[int], None] = lambda position: None,
) -> RawTable:
    """Read a table; what stands in a row too many or too few is kept aside.

    Args:
        path: of a ``.csv``, ``.tsv`` or ``.data`` file in UTF-8.
        name: what to call it.
        names: of its columns, where it has no header.
        room: cells that it may have.
        tick: gets the bytes read so far after each chunk, and may raise to stop.

    Raises:
        Unreadable: with the reason, naming the row where there is one.
    """
    try:
        if path.stat().st_size > _LONGEST:
            raise Unreadable(f"{path.name} has more than {_LONGEST >> 30} GiB", remedy="split it")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _read(stream, path, name, names, room, tick)
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path.name} is not UTF-8 text", remedy='save it as "CSV UTF-8"') from error
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror}", remedy="copy it again") from error


def _read(
    stream: TextIO, path: Path, name: str, names: Sequence[str], room: int, tick: Callable[[int], None]
) -> RawTable:
    lines = _lines(stream, path)
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(_DELIMITERS, key=first.count)
    stream.seek(0)
    records = _records(csv.reader(lines, delimiter=delimiter, strict=True), path)
    start = list(islice(records, _BEGINNING))
    if not start:
        raise Unreadable(f"{path.name} is empty", remedy="copy it again")
    width = Counter(len(cells) for _, cells in start).most_common(1)[0][0]
    head = start[0][1] if len(start[0][1]) == width and _is_header(start[0][1]) else []
    table = _Builder(_named(head, names, width), comma=delimiter == ";")
    for rows in _chunks(start[bool(head) :], records, max(16, _AT_ONCE // width)):
        table.add(rows)
        if table.count * width > room:
            raise Unreadable(
                f"{path.name} makes it more than {MOST_CELLS:,} cells", remedy="give it by itself, or split it"
            )
        tick(stream.buffer.tell())
    if not table.count:
        raise Unreadable(f"{path.name} has no rows", remedy="copy it again")
    return table.finish(name, path, header=bool(head), whole=_ends(path))


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    while line := stream.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE or "\0" in line:
            raise Unreadable(f"{path.name} is no table of text", remedy="check what it holds")
        yield line


def _records(reader: Iterator[list[str]], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows with their number, without blank ones."""
    number = 0
    try:
        for number, cells in enumerate(reader, 1):
            if any(cell and not cell.isspace() for cell in cells):
                yield number, cells
    except csv.Error as error:
        raise Unreadable(
            f"{path.name}, row {number + 1}: {error}", remedy="check the quotes there, or copy the file again"
        ) from error


def _chunks(
    start: list[tuple[int, list[str]]], records: Iterator[tuple[int, list[str]]], size: int
) -> Iterator[list[tuple[int, list[str]]]]:
    yield start
    while chunk := list(islice(records, size)):
        yield chunk


def _is_header(cells: Sequence[str]) -> bool:
    """Names: none empty but the first (a row number's), no numbers, no two alike."""
    names = [cell.strip() for cell in cells]
    return all(names[1:]) and len(set(names)) == len(names) and not any(is_number(n) or n == "?" for n in names)


def _named(head: Sequence[str], names: Sequence[str], width: int) -> list[str]:
    if head:
        return [cell.strip() or "row" for cell in head]
    return list(names) if len(names) == width else [f"column {n + 1}" for n in range(width)]


def _ends(path: Path) -> bool:
    """Whether the last line is ended."""
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) in b"\r\n"


class _Builder:
    """Columns in the making."""

    def __init__(self, names: Sequence[str], *, comma: bool) -> None:
        self.names = names
        self.count = 0
        most = max(50, min(_MOST_WORDS, _AT_ONCE // len(names)))
        self._cells = [_Cells(comma=comma, most=most) for _ in names]
        self._rows: list[Array] = []
        self._odd: list[Odd] = []
        self._odd_count = 0
        self._last = 0
        self._first: tuple[str, ...] = ()

    def add(self, rows: Sequence[tuple[int, list[str]]]) -> None:
        """A chunk of rows."""
        fitting = [(number, cells) for number, cells in rows if len(cells) == len(self.names)]
        self._odd_count += len(rows) - len(fitting)
        odd = [Odd(number, len(cells)) for number, cells in rows if len(cells) != len(self.names)]
        self._odd += odd[: max(0, _MOST_ODD - len(self._odd))]
        self._last = rows[-1][0] if rows else self._last
        if fitting:
            self._first = self._first or tuple(cell.strip() for cell in fitting[0][1])
            self._rows.append(np.array([number for number, _ in fitting], np.int64))
            for column, cells in zip(self._cells, zip(*(c for _, c in fitting), strict=True), strict=True):
                column.add(cells)
        self.count += len(fitting)

    def finish(self, name: str, path: Path, *, header: bool, whole: bool) -> RawTable:
        """The table."""
        columns = tuple(cells.column(one) for one, cells in zip(self.names, self._cells, strict=True))
        odd = [replace(one, last=not whole and one.row == self._last) for one in self._odd]
        rows = np.concatenate(self._rows)
        return RawTable(name, path, header, columns, rows, self._first, tuple(odd), self._odd_count)


class _Cells:
    """One column in the making."""

    def __init__(self, *, comma: bool, most: int) -> None:
        self._comma, self._most = comma, most
        self._known: dict[str, tuple[float, int]] = {}
        self._words = {word_code(word): word for word in MISSING}
        self._numbers: list[Array] = []
        self._hashes: list[Array] = []

    def add(self, cells: Sequence[str]) -> None:
        """A chunk of cells."""
        if len(self._known) > 20 * self._most:
            self._known.clear()
        read = [self._known.get(cell) or self._parse(cell) for cell in cells]
        self._numbers.append(np.array([number for number, _ in read], np.float64))
        self._hashes.append(np.array([code for _, code in read], np.int64))

    def _parse(self, cell: str) -> tuple[float, int]:
        word = cell.strip()
        written = word.replace(",", ".") if self._comma and _COMMA.fullmatch(word) else word
        number = float(written) if _NUMBER.fullmatch(written) else math.nan
        found = (number, 0) if math.isfinite(number) else (math.nan, word_code(word))
        if found[1] and len(self._words) < self._most:
            self._words.setdefault(found[1], word[:_LONGEST_WORD])
        self._known[cell] = found
        return found

    def column(self, name: str) -> Column:
        """All of it; the chunks are given back."""
        numbers, hashes = np.concatenate(self._numbers), np.concatenate(self._hashes)
        self._numbers, self._hashes, self._known = [], [], {}
        return Column(name, numbers, hashes, self._words)
