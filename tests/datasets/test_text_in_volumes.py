"""Writing in a volume is what two slices show at one place; what one slice looks like is anatomy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from scipy.ndimage import gaussian_filter

from osler.datasets.dataset import Case
from osler.datasets.manifest import ImageRef, Record
from osler.datasets.observations import observe
from osler.studies.image import Image
from osler.studies.study import Study


def volume(slices: tuple[int, ...]) -> Case:
    """Twelve soft slices of 200 pixels, some of them with a name."""
    soft = gaussian_filter(np.random.default_rng(0).normal(0, 1, (12, 200, 200)), (0, 8, 8))
    stack = []
    for place, plane in enumerate(60 + 30 * soft / soft.std()):
        canvas = PIL.Image.fromarray(plane.clip(0, 150).astype(np.uint8))
        if place in slices:
            PIL.ImageDraw.Draw(canvas).text((30, 90), "SMITH JOHN", 255, font=PIL.ImageFont.load_default(16))
        stack.append(np.asarray(canvas).T)
    image = Image(np.stack(stack, axis=-1)[None].astype(np.float32), np.diag([1.0, 1.0, 5.0, 1.0]))
    record = Record(name="v", images={"image": ImageRef(path=str(Path("v.nii")))})
    return Case(record=record, study=Study("v", {"image": image}))


def test_a_name_on_every_slice_is_boxed_there() -> None:
    boxes = observe(volume(tuple(range(12)))).text
    assert len(boxes) >= 2
    assert all(box.start[0] < 60 < box.stop[0] and box.start[1] < 102 < box.stop[1] for box in boxes)


def test_what_one_slice_shows_is_no_text() -> None:
    assert observe(volume((5,))).text == ()
    assert observe(volume(())).text == ()
