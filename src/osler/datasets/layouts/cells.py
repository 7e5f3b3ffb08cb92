"""References to images as cells of a table: ``p/1.png``, ``set.npz#key=train_images&index=5``, ``t.nii.gz#channel=1``.

Paths are relative to the table. What follows the ``#`` names the array and row of an ``.npz``, the image's id in a COCO
file, or the channel of a file with several. Several files of one mask are separated by ``|``; ``seg.dcm#structure=2``
is one structure of a DICOM SEG or RTSTRUCT, by its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import exists, join, relpath
from pathlib import Path
from urllib.parse import parse_qsl, quote

from osler.datasets.layouts.files import reference
from osler.datasets.manifest import ImageRef, Layer

__all__ = ["cell_of", "layer_cell", "layers_in", "missing_of", "paths_in", "reference_in", "relative"]

_BETWEEN = "|"
_STRUCTURE = "#structure="


def cell_of(root: Path, ref: ImageRef, folder: Path) -> str:
    """How ``ref``, whose paths are relative to ``root``, is written in a table that lies in ``folder``."""
    parts = {"key": ref.key, "index": ref.index, "channel": ref.channel}
    fragment = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in parts.items() if value is not None)
    path = relative(root, ref.path, folder)
    return f"{path}#{fragment}" if fragment else path


def relative(root: Path, path: str, folder: Path) -> str:
    """A path as it is written in a table."""
    return Path(relpath(root / path, folder)).as_posix()


def reference_in(cell: str, folder: Path) -> ImageRef | None:
    """What a cell of a table in ``folder`` refers to; None when it is no file or the part after ``#`` is not known."""
    path = _existing(cell, folder)
    if path is not None:
        return reference(path, folder)
    name, mark, fragment = cell.rpartition("#")
    path = _existing(name, folder) if mark else None
    parts = dict(parse_qsl(fragment))
    numbers = [value for key, value in parts.items() if key in ("index", "channel")]
    if path is None or not parts or parts.keys() - {"key", "index", "channel"} or not all(map(str.isdecimal, numbers)):
        return None
    ref = reference(path, folder)
    return ref.model_copy(update={k: int(v) if k != "key" else v for k, v in parts.items()})


def paths_in(cell: str) -> Sequence[str]:
    """The files of a cell that may name several."""
    return [part.strip() for part in cell.split(_BETWEEN) if part.strip()]


def layer_cell(root: Path, layer: Layer, folder: Path) -> str:
    """How one file of a mask is written in a table that lies in ``folder``."""
    path = relative(root, layer.path, folder)
    return path if layer.structure is None else f"{path}{_STRUCTURE}{layer.structure}"


def layers_in(cell: str, value: int, folder: Path) -> list[Layer]:
    """The files of a cell, all of which exist (see ``missing_of``), as layers of the label ``value``."""
    found = []
    for part in paths_in(cell):
        name, structure = _split(part, folder)
        found.append(Layer(path=reference(folder / name, folder).path, value=value, structure=structure))
    return found


def _split(part: str, folder: Path) -> tuple[str, int | None]:
    """A file, and the number of the structure in it."""
    name, mark, number = part.rpartition(_STRUCTURE)
    if not mark or not number.isdecimal() or _existing(part, folder) is not None:
        return part, None
    return name, int(number)


def missing_of(cell: str, folder: Path) -> str:
    """The first file of a cell that does not exist; "" when all do."""
    return next((part for part in paths_in(cell) if _existing(_split(part, folder)[0], folder) is None), "")


def _existing(written: str, folder: Path) -> Path | None:
    """The file of that name; None also where no system could have it. Tables have hundreds of thousands of rows."""
    for name in dict.fromkeys((written, written.replace("\\", "/"))):
        path = join(folder, name)
        if name and exists(path):
            return Path(path)
    return None
