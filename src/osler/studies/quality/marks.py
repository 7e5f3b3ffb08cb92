"""Coloured marks in grey pictures: callipers, frames, colour Doppler, arrows that a screenshot took along."""

from __future__ import annotations

import numpy as np

from osler.studies.image import Image

__all__ = ["find_marks"]

_CHROMA = 0.2
"""Difference between the colours of a pixel, as a share of the picture's range, from which it is coloured."""
_MOST = 0.1
"""A picture with a larger share of coloured pixels is one in colour."""
_GREY = 0.06
"""Nine tenths of the other pixels are greyer than this; a photograph's or a stained slide's are not (0.15 and more)."""
_FEWEST = 6
_NEAR = 9
"""Coloured pixels this far apart belong to one mark."""


def find_marks(image: Image) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Where a mostly grey picture is coloured: ``start`` and ``stop`` (exclusive) along I and J, largest first.

    Args:
        image: (3, I, J); others have no marks.
    """
    if image.dimensions != 2 or image.array.shape[0] != 3:
        return []
    from scipy.ndimage import find_objects, label

    from osler.studies.quality.planes import moving_extreme

    array = image.array
    span = float(array.max()) - float(array.min())
    chroma = array.max(axis=0).astype(np.float32) - array.min(axis=0)
    coloured = chroma > _CHROMA * span
    if not 0 < coloured.mean() <= _MOST or np.percentile(chroma[~coloured], 90) > _GREY * span:
        return []
    numbers, count = label(moving_extreme(coloured.astype(np.uint8), _NEAR, np.maximum))
    sizes = np.bincount(numbers[coloured], minlength=count + 1)[1:]
    boxes = find_objects(numbers)
    shown = [place for place in np.argsort(-sizes, kind="stable").tolist() if sizes[place] >= _FEWEST]
    reach = _NEAR // 2
    return [
        (
            tuple(part.start + (reach if part.start else 0) for part in boxes[place]),
            tuple(
                part.stop - (reach if part.stop < n else 0)
                for part, n in zip(boxes[place], array.shape[1:], strict=True)
            ),
        )
        for place in shown
    ]
