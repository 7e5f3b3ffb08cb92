from __future__ import annotations

import numpy as np
import pytest

from osler.inference.batches import Halving, Most, OncePerValue, logits_in_flight
from osler.inference.engines.base import Engine


class _Scarce:
    """Doubles a batch, but has memory for ``room`` items only; it remembers the sizes that it was asked for."""

    def __init__(self, room):
        self.room = room
        self.asked = []

    def __call__(self, batch):
        self.asked.append(len(batch))
        if len(batch) > self.room:
            raise MemoryError
        return batch * 2


@pytest.mark.parametrize("size", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("room", [1, 2, 3, 5, 100])
def test_a_batch_for_which_there_is_no_memory_is_run_in_halves(size, room):
    batch = np.arange(size * 3.0).reshape(size, 3)
    run = _Scarce(room)
    halving = Halving(run, Most())
    np.testing.assert_array_equal(halving(batch), batch * 2)
    done = [asked for asked in run.asked if asked <= room]
    assert sum(done) == size  # nothing is run twice
    run.asked.clear()
    halving(batch)
    assert max(run.asked) <= room  # and later batches are small from the beginning


def test_memory_may_shrink_while_the_pieces_of_a_batch_are_run():
    run = _Scarce(8)

    def shrinking(batch):
        found = run(batch)
        run.room = 3
        return found

    batch = np.arange(16.0)
    np.testing.assert_array_equal(Halving(shrinking, Most())(batch), batch * 2)


def test_no_memory_for_a_single_item_is_said():
    with pytest.raises(MemoryError):
        Halving(_Scarce(0), Most())(np.zeros((4, 1)))


def test_those_who_share_an_engine_share_what_they_learnt():
    most = Most()
    Halving(_Scarce(2), most)(np.zeros((8, 1)))
    second = _Scarce(2)
    Halving(second, most)(np.zeros((8, 1)))
    assert most.items == 2
    assert second.asked == [2, 2, 2, 2]


class _Sums(Engine):
    """The sum over each study, weighted along the last axis, so that mirroring changes it."""

    name, suffix = "sums", ".none"

    def __init__(self, factor, room=100):
        self.factor, self.room = factor, room

    def load(self, graph, *, precision="float32", threads=0, output="logits", many=False, narrow=False):
        raise NotImplementedError

    def run(self, inputs):
        image = inputs["image"]
        if len(image) > self.room:
            raise MemoryError(str(len(image)))
        weights = np.arange(1, image.shape[-1] + 1)
        return {"logits": self.factor * (image * weights).sum(axis=(2, 3)).astype(np.float32)}

    def release(self):
        raise NotImplementedError


STACKS = [np.random.default_rng(n).normal(size=(1 + n % 3, 2, 3, 4)).astype(np.float32) for n in range(7)]


def test_stacks_in_flight_give_the_mean_of_engines_and_mirrored_copies():
    engines, flips = [_Sums(1.0), _Sums(3.0)], [(), (1,)]
    weights = (np.arange(1, 5) + np.arange(4, 0, -1)) / 2
    for stack, found in zip(STACKS, logits_in_flight(engines, flips, iter(STACKS)), strict=True):
        np.testing.assert_allclose(found, 2 * (stack * weights).sum(axis=(2, 3)), rtol=1e-4, atol=1e-5)


def test_a_stack_without_memory_does_not_stop_the_others():
    found = list(logits_in_flight([_Sums(1.0), _Sums(1.0, room=2)], [(), (0,)], iter(STACKS)))
    assert [isinstance(one, MemoryError) for one in found] == [len(stack) > 2 for stack in STACKS]


def test_windows_of_the_last_one_value_are_answered_without_the_network():
    seen = []

    def network(windows):
        seen.append(len(windows))
        return windows * 2

    once, random = OncePerValue(network), np.random.default_rng(0)
    air, padding = np.full((1, 3, 3, 3), -1, np.float32), np.zeros((1, 3, 3, 3), np.float32)
    tissue = [random.normal(size=(1, 3, 3, 3)).astype(np.float32) for _ in range(4)]
    for batch in ([air, tissue[0]], [air, tissue[1]], [air, air], [padding, tissue[2]], [tissue[3], padding], [air]):
        np.testing.assert_array_equal(once(np.stack(batch)), np.stack(batch) * 2)
    assert seen == [2, 1, 2, 1, 1]
