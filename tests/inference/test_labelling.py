"""Labels made slab by slab and tile by tile against interpolating every class over the whole study."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import GridPlan
from osler.datasets.preparation import restore_labels, trace_of
from osler.datasets.slabs import slab_axis
from osler.inference.bands import Block
from osler.inference.labelled import as_labelled
from osler.inference.labelling import Head, Labeller
from osler.inference.probabilities import softmax
from osler.studies.image import Image
from study_blocks import blocks

OUTPUTS, FEATURES, TEMPERATURE = 6, 7, 1.3
LABELS = LabelSet(kind="mask", labels=tuple(Label(name=f"organ {n}", value=n) for n in range(1, OUTPUTS)))
GRIDS = {
    "finer in-plane": ((50, 60, 41), (0.8, 0.9, 2.0), (1.5, 1.5, 1.5)),
    "mixed": ((30, 33, 29), (2.0, 2.0, 1.0), (1.5, 1.5, 1.5)),
    "not resampled": ((40, 33, 29), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "three planes": ((20, 25, 3), (1.0, 1.0, 5.0), (1.3, 1.3, 1.0)),
    "three times finer": ((64, 64, 60), (0.5, 0.5, 0.5), (1.5, 1.5, 1.5)),
    "coarser than the network": ((30, 30, 20), (3.0, 3.0, 3.0), (1.5, 1.5, 1.0)),
    "one plane": ((20, 25, 1), (1.0, 1.0, 1.0), (1.2, 1.2, 1.0)),
}


@pytest.fixture(params=["RAS", "LPS", "SAR", "AIL"])
def orientation(request):
    return request.param


@pytest.fixture(params=list(GRIDS))
def study(request, orientation):
    """Trace, features on the working grid, and the head."""
    shape, spacing, working = GRIDS[request.param]
    image = Image(array=np.zeros((1, *shape), np.int16), affine=np.diag([*spacing, 1.0]))
    trace = trace_of(image, GridPlan(resize="spacing", spacing=working, orientation=orientation))
    random = np.random.default_rng(0)
    noise = [gaussian_filter(random.normal(size=trace.working_shape), 2) for _ in range(FEATURES)]
    head = Head(
        random.normal(size=(OUTPUTS, FEATURES)).astype(np.float32),
        random.normal(size=OUTPUTS).astype(np.float32),
        TEMPERATURE,
    )
    return trace, 40 * np.stack(noise).astype(np.float32), head


def reference(trace, features, head):
    logits = np.einsum("of,fxyz->oxyz", head.weight, features) + head.bias[:, None, None, None]
    return softmax(logits / np.float32(TEMPERATURE))


def labelled(trace, features, head, step, executor=None):
    axis = slab_axis(trace)
    streamed = np.flip(features, axis + 1) if trace.flips[axis] else features
    labeller = Labeller(trace, head, OUTPUTS, executor)
    mask = np.full(trace.source_shape, 255, np.uint8)
    for block in blocks(streamed, axis, step):
        for first, planes in labeller.add(block):
            mask[..., first : first + planes.shape[2]] = planes
    return mask, labeller


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_labels_are_those_of_the_most_probable_interpolated_class(study, step):
    trace, features, head = study
    mask, _ = labelled(trace, features, head, step)
    expected = restore_labels(reference(trace, features, head), trace, LABELS)
    assert mask.max() < OUTPUTS  # every voxel was labelled
    assert np.mean(mask != expected) < 2e-5  # ties within rounding


@pytest.mark.parametrize("name", list(GRIDS))
@pytest.mark.parametrize("resampling", ["plain", "separate"])
@pytest.mark.parametrize("step", [2, 1000])
def test_labels_are_those_of_the_largest_interpolated_logit(name, resampling, step):
    shape, spacing, working = GRIDS[name]
    image = Image(array=np.zeros((1, *shape), np.int16), affine=np.diag([*spacing, 1.0]))
    grid = GridPlan(resize="spacing", spacing=working, resampling=resampling, back="logits")
    trace = trace_of(image, grid)
    random = np.random.default_rng(1)
    logits = 30 * np.stack([gaussian_filter(random.normal(size=trace.working_shape), 2) for _ in range(OUTPUTS)])
    head = Head(None, None)
    mask, _ = labelled(trace, logits.astype(np.float32), head, step)
    expected = restore_labels(softmax(logits.astype(np.float32)), trace, LABELS)
    assert np.mean(mask != expected) < 5e-5  # ties within rounding


def test_counts_are_those_of_the_mask(study):
    trace, features, head = study
    with ThreadPoolExecutor(2) as executor:
        mask, labeller = labelled(trace, features, head, 7, executor)
    expected = as_labelled(reference(trace, features, head), trace, LABELS)
    for n, count in enumerate(expected.counts, start=1):
        here = mask == n
        for axis, profile in enumerate(labeller.source_profiles(n)):
            others = tuple(other for other in range(3) if other != axis)
            np.testing.assert_array_equal(profile, np.count_nonzero(here, axis=others))
        if labeller.tally.won[n]:
            assert labeller.tally.probability(n) == pytest.approx(count.probability, abs=1e-4)


def test_logits_go_through_a_head_that_is_none(study):
    trace, features, head = study
    logits = np.einsum("of,fxyz->oxyz", head.weight, features) + head.bias[:, None, None, None]
    once, _ = labelled(trace, features, head, 9)
    again, _ = labelled(trace, logits.astype(np.float32), Head(None, None, TEMPERATURE), 9)
    assert np.mean(once != again) < 2e-5


def test_a_class_that_wins_no_working_voxel_can_win_between_them():
    image = Image(array=np.zeros((1, 4, 4, 4), np.int16), affine=np.diag([1.0, 1, 1, 1]))
    trace = trace_of(image, GridPlan(resize="spacing", spacing=(2.0, 2.0, 2.0), orientation="RAS"))
    shares = np.zeros((3, *trace.working_shape), np.float32)
    shares[0, 0], shares[1, 1], shares[2] = 0.55, 0.55, 0.44
    shares[0, 1], shares[1, 0] = 0.01, 0.01
    labels = LabelSet(kind="mask", labels=LABELS.labels[:2])
    labeller = Labeller(trace, Head(None, None), 3)
    ((_, mask),) = labeller.add(Block((0, 0, 0), np.log(shares)))
    expected = restore_labels(shares / shares.sum(axis=0), trace, labels)
    np.testing.assert_array_equal(mask, expected)
    assert 2 in mask
    assert labeller.tally.won[2] == 0
    assert labeller.tally.probability(2) == pytest.approx(0.44, abs=1e-3)


def test_a_class_whose_logit_wins_no_working_voxel_can_win_between_them():
    image = Image(array=np.zeros((1, 4, 4, 4), np.int16), affine=np.diag([1.0, 1, 1, 1]))
    grid = GridPlan(resize="spacing", spacing=(2.0, 2.0, 2.0), resampling="plain", back="logits")
    trace = trace_of(image, grid)
    logits = np.zeros((3, *trace.working_shape), np.float32)
    logits[0, 0], logits[1, 1], logits[2] = 10, 10, 9
    labels = LabelSet(kind="mask", labels=LABELS.labels[:2])
    ((_, mask),) = Labeller(trace, Head(None, None), 3).add(Block((0, 0, 0), logits))
    np.testing.assert_array_equal(mask, restore_labels(softmax(logits), trace, labels))
    assert 2 in mask
