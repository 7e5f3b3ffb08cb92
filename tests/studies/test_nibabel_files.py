"""Every file that nibabel ships for its own tests is read, at nibabel's place, or refused with a reason."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import nibabel.testing
import numpy as np
import pytest

from osler.errors import OslerError
from osler.studies.formats import read_image

DATA = Path(nibabel.testing.data_path)
PAGE = Path(__file__).parents[2] / "docs/reference/nibabel-files.md"
PASSED_OVER = (".py", ".pyc", ".rst", ".m", ".dcm")  # programs and notes; DICOM has a table of its own
FILES = sorted(one for one in DATA.iterdir() if one.is_file() and one.suffix not in PASSED_OVER and one.name[0] != ".")


def _outcome(path: Path) -> str:
    try:
        image = read_image(path)
    except OslerError as error:
        return f"refused: {error.problem}".replace(f"{path.parent}{os.sep}", "")
    known = "" if image.orientation_known else ", orientation unknown"
    return f"read: {' × '.join(str(side) for side in image.array.shape)} {image.array.dtype}{known}"


def _rows() -> list[str]:
    return [f"| `{path.name}` | {_outcome(path).replace('|', '·')} |" for path in FILES]


def test_the_table_says_what_becomes_of_each_file() -> None:
    written = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert written == _rows()


@pytest.mark.parametrize("path", [one for one in FILES if _outcome(one).startswith("read")], ids=lambda path: path.name)
def test_what_is_read_is_what_nibabel_reads(path: Path) -> None:
    image, reference = read_image(path), nibabel.load(path)
    expected = np.asarray(reference.dataobj, dtype=np.float32)
    channels = expected[None] if expected.ndim == 3 else np.moveaxis(expected, -1, 0)
    np.testing.assert_allclose(image.array, channels, rtol=1e-6)
    np.testing.assert_allclose(image.affine, reference.affine, atol=1e-4)
