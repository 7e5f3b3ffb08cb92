"""Coloured marks and writing are found in grey pictures, and stained tissue is taken for neither."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import pytest

from osler.studies.image import Image
from osler.studies.quality.marks import find_marks
from osler.studies.quality.planes import grey_of
from osler.studies.quality.text import TextLine, find_text, is_inked


def grey(seed: int = 0) -> np.ndarray:
    """(3, 200, 260) of a soft grey picture, columns first."""
    soft = np.random.default_rng(seed).integers(30, 120, (7, 9)).astype(np.uint8)
    picture = np.asarray(PIL.Image.fromarray(soft).resize((260, 200), PIL.Image.Resampling.BICUBIC))
    return np.repeat(picture.T[None], 3, axis=0)


def stained(seed: int = 0) -> np.ndarray:
    """The same in pink, with purple nuclei."""
    random = np.random.default_rng(seed)
    picture = grey(seed).astype(float)
    picture[0] += 110
    picture[2] += 90
    i, j = np.indices(picture.shape[1:])
    for x, y in random.uniform(10, 190, (40, 2)):
        picture[:, np.hypot(i - x, j - y) < 5] = np.array([[90.0], [20.0], [130.0]])
    return picture.clip(0, 255).astype(np.uint8)


def test_yellow_callipers_in_a_grey_picture_are_marks_and_nuclei_are_none() -> None:
    marked = grey()
    marked[:, 100:113, 60] = marked[:, 106, 54:67] = np.array([[255], [230], [0]])
    ((start, stop),) = find_marks(Image(marked))
    assert start[0] <= 100 <= 113 <= stop[0]
    assert start[1] <= 54 <= 67 <= stop[1]
    assert find_marks(Image(grey())) == []
    assert find_marks(Image(stained())) == []


def written(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    canvas = PIL.Image.fromarray(picture.transpose(2, 1, 0).copy())
    PIL.ImageDraw.Draw(canvas).text((40, 90), "SMITH JOHN 1961", colour, font=PIL.ImageFont.load_default(16))
    return np.asarray(canvas).transpose(2, 0, 1)  # (3, rows, columns)


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0)])
def test_words_on_tissue_are_ink(colour: tuple[int, int, int]) -> None:
    picture = written(stained(), colour)
    lines = [line for line in find_text(grey_of(picture)) if is_inked(picture, line)]
    assert any(line.rows[0] < 100 < line.rows[1] and line.columns[0] < 100 < line.columns[1] for line in lines)


def test_nuclei_and_specks_are_no_ink_and_a_grey_picture_decides_nothing() -> None:
    tissue = stained().transpose(0, 2, 1)
    assert not is_inked(tissue, TextLine((40, 52), (60, 100), 0.95))
    speck = TextLine((40, 46), (60, 74), 0.99)
    assert not is_inked(written(stained(), (255, 255, 255)), speck)
    assert is_inked(grey().transpose(0, 2, 1), speck)


def test_lines_of_two_slices_lie_on_one_another_where_they_share_half() -> None:
    line = TextLine((10, 20), (30, 70), 1.0)
    assert line.lies_on(TextLine((12, 22), (35, 75), 1.0))
    assert not line.lies_on(TextLine((16, 26), (30, 70), 1.0))
    assert not line.lies_on(TextLine((10, 20), (30, 200), 1.0))
    assert line.overlaps(TextLine((16, 26), (60, 90), 1.0))
