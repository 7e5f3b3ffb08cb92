"""A DICOM file as a stream that gives a parser no more than there is, and says what it asked for in vain.

pydicom takes memory for what a length says, whatever the file holds, hands out values that are cut off as if they were
whole, and takes zeros behind the end of a data set for elements, as many as there are.
"""

from __future__ import annotations

import io

__all__ = ["BoundedReader"]

_HEAD = 8  # of an element; pydicom reads it without knowing whether there is one
_PREAMBLE = 132  # it looks for one in files that are shorter
_SMALL = 4096
_MOST_BLANK = 4096  # heads in a row: archives pad files to whole blocks


class BoundedReader(io.BufferedReader):
    """A buffered file for ``pydicom.dcmread``.

    Args:
        raw: the file.
        size: its bytes.
    """

    def __init__(self, raw: io.RawIOBase, size: int) -> None:
        super().__init__(raw)
        self.missing = 0
        """Bytes that the last value which is cut off lacks."""
        self._size, self._blank = size, 0

    @property
    def name(self) -> str:
        """Of the file; "" for one in memory."""
        return str(getattr(self.raw, "name", ""))

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file's.

        Raises:
            ValueError: when zeros stand where elements belong.
        """
        wanted = -1 if size is None else size
        there = wanted if wanted <= _SMALL else min(wanted, max(0, self._size - self.tell()))
        data = super().read(there)
        if wanted == _HEAD:
            self._blank = 0 if any(data) else self._blank + 1
            if self._blank > _MOST_BLANK:
                raise ValueError("it goes on with zeros where elements belong")
        elif len(data) < wanted and self._size > _PREAMBLE:
            self.missing = wanted - len(data)
        return data
