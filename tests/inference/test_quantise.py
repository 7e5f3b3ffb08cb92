"""Windows that ranges are measured on."""

from __future__ import annotations

import numpy as np

from learning_plans import small_plan
from osler.inference.quantise import _patches


def test_a_study_smaller_than_the_patch_gives_whole_patches() -> None:
    plan = small_plan("segment", 2)
    shape = (plan.patch[0] - 5, plan.patch[1] + 3)
    classes = np.zeros(shape, np.int64)
    classes[2:5, 2:5] = 1
    windows = _patches(np.ones((1, *shape), np.float32), classes, plan, 4, np.random.default_rng(0))
    assert [window.image.shape for window in windows] == [(1, 1, *plan.patch)] * 4
    assert [window.answer.shape for window in windows] == [plan.patch] * 4
    assert windows[0].answer.sum() == 9
    assert windows[0].image.sum() == shape[0] * plan.patch[1]
