"""Which cases and patches make up a batch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from learning_plans import MemoryCases, small_plan
from osler.datasets.plan import NormalisationPlan
from osler.learning.feed import Feed, cut
from osler.learning.tasks import make_task


def feed_of(task: str = "segment", count: int = 6, **changes: object) -> Feed:
    plan = small_plan(task, **changes)  # type: ignore[arg-type]
    return Feed(MemoryCases(plan, count=count), plan, make_task(plan))


def test_every_case_comes_once_per_epoch() -> None:
    feed = feed_of("classify", count=6)
    names = [name for step in range(3) for name in feed._chosen(step)]
    assert sorted(names) == sorted(feed.names)


def test_a_batch_depends_on_the_step_alone() -> None:
    feed = feed_of()
    ahead = feed.batches(0)
    streamed = [next(ahead) for _ in range(4)]
    ahead.close()  # type: ignore[attr-defined]
    assert torch.equal(feed_of().batch(3).image, streamed[3].image)


def test_two_processes_share_an_epoch_without_overlap() -> None:
    plan = small_plan("classify")
    task, cases = make_task(plan), MemoryCases(plan, count=8)
    parts = [Feed(cases, plan, task, process=n, processes=2) for n in range(2)]
    names = [name for step in range(2) for part in parts for name in part._chosen(step)]
    assert sorted(names) == sorted(cases.names)


def test_a_patch_on_the_foreground_contains_some() -> None:
    feed = feed_of(foreground=1.0)
    assert all(bool((feed.batch(step).answer > 0).flatten(1).any(1).all()) for step in range(10))


def test_some_patches_of_ct_reach_into_air_around_the_study() -> None:
    ct = (NormalisationPlan(kind="dataset", low=-1024, high=500, mean=-200, std=100),)
    settings = {"dimensions": 3, "modality": "CT", "normalisation": ct}
    feed = feed_of(air=0.5, **settings)
    batches = [feed.batch(step) for step in range(60)]
    images, answers = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("image", "answer"))
    air = (images < -6)[:, 0]  # the cases themselves are around 0, and so is what lies beyond them otherwise
    assert not bool(answers[air].any())
    assert float(images.min()) >= -8.24  # nothing below what studies are clipped to
    shares = air.flatten(1).float().mean(1)
    wholly, partly = shares == 1, (shares > 0) & (shares < 1)
    assert 8 <= int(wholly.sum()) <= 32  # a third of half of 120
    assert 20 <= int(partly.sum()) <= 60
    deviations = images[wholly].flatten(1).std(1) * 100
    assert float(deviations.min()) < 10 < 20 < float(deviations.max()) < 41
    assert not bool((feed_of(**settings).batch(0).image < -6).any())


def test_slicing_from_disk_gives_the_same_patches_as_memory() -> None:
    plan = small_plan()
    cases, task = MemoryCases(plan), make_task(plan)
    kept, sliced = Feed(cases, plan, task), Feed(cases, plan, task, keep_bytes=0)
    assert torch.equal(kept.batch(2).image, sliced.batch(2).image)


@given(
    start=st.tuples(st.integers(-9, 9), st.integers(-9, 9)),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_a_cut_equals_cutting_from_a_padded_array(start: tuple[int, int], shape: tuple[int, int]) -> None:
    array = np.arange(2 * 5 * 6).reshape(2, 5, 6)
    padded = np.pad(array, ((0, 0), (20, 20), (20, 20)))
    box = tuple(slice(s + 20, s + 20 + n) for s, n in zip(start, shape, strict=True))
    np.testing.assert_array_equal(cut(array, start, shape, channels=True), padded[(slice(None), *box)])


def test_a_study_smaller_than_the_patch_lies_in_the_middle() -> None:
    plan = small_plan(patch=(32, 32))
    feed = Feed(MemoryCases(plan, size=20), plan, make_task(plan))
    image, answer = feed.whole("case0")
    assert tuple(image.shape[2:]) == tuple(answer.shape[1:]) == (32, 32)
    assert float(image[0, 0, :6].abs().sum()) == 0.0
    assert float(image[0, 0, 6:26, 6:26].abs().sum()) > 0.0


def test_validation_can_be_limited_to_evenly_spread_cases() -> None:
    plan = small_plan()
    feed = Feed(MemoryCases(plan, count=10), plan, make_task(plan), most=4)
    assert feed.names == ["case0", "case3", "case6", "case9"]
