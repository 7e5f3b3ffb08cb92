"""Samples that run at the same time answer as they do one by one."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from osler.errors import ModelError
from osler.inference.engines import make_engine
from tiny_models import make_plan, mean_graph, pointwise_graph

WEIGHTS, BIAS = np.array([[1.0], [-2.0], [0.5]]), np.array([0.0, 1.0, -1.0])


def _engine(path, threads, **settings):
    engine = make_engine("openvino")
    engine.load(path, threads=threads, **settings)
    return engine


@pytest.fixture
def graph(tmp_path):
    pointwise_graph(tmp_path / "g.xml", make_plan(dimensions=3), WEIGHTS, BIAS)
    return tmp_path / "g.xml"


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_a_batch_answers_as_its_samples_do(graph, threads, count):
    image = np.random.default_rng(count).normal(size=(count, 1, 16, 16, 16)).astype(np.float32)
    together, alone = _engine(graph, threads), _engine(graph, 1)
    answer = together.run({"image": image})["logits"]
    expected = np.concatenate([alone.run({"image": image[n : n + 1]})["logits"] for n in range(count)])
    np.testing.assert_array_equal(answer, expected)


def test_an_engine_says_how_many_it_takes_at_once(graph):
    assert [_engine(graph, threads).at_once for threads in (1, 2, 4, 16)] == [1, 2, 4, 4]


def test_batches_and_lone_samples_in_any_order_keep_apart(graph):
    engine = _engine(graph, 2)
    random = np.random.default_rng(3)
    images = [random.normal(size=(n, 1, 16, 16, 16)).astype(np.float32) for n in (1, 4, 1, 1, 1, 2, 1)]
    answers = [engine.run({"image": image})["logits"] for image in images]
    for image, answer in zip(images, answers, strict=True):
        np.testing.assert_allclose(answer[:, 1], 1 - 2 * image[:, 0], rtol=1e-5, atol=1e-5)


def test_a_graph_without_places_runs_several_too(tmp_path):
    mean_graph(tmp_path / "m.xml", make_plan("classify", dimensions=2), np.array([[1.0], [2.0]]), np.zeros(2))
    image = np.random.default_rng(0).normal(size=(7, 1, 20, 12)).astype(np.float32)
    answer = _engine(tmp_path / "m.xml", 2).run({"image": image})["logits"]
    np.testing.assert_allclose(answer[:, 0], image.mean(axis=(1, 2, 3)), atol=1e-5)


def test_a_new_shape_for_several_is_taken(graph):
    engine = _engine(graph, 2)
    for side in (16, 8, 24):
        image = np.ones((3, 1, side, 16, 16), np.float32)
        assert engine.run({"image": image})["logits"].shape == (3, 3, side, 16, 16)


def test_several_with_wrong_channels_are_refused_and_the_engine_goes_on(graph):
    engine = _engine(graph, 2)
    with pytest.raises(ModelError, match="cannot take inputs"):
        engine.run({"image": np.zeros((4, 2, 16, 16, 16), np.float32)})
    assert engine.run({"image": np.zeros((4, 1, 16, 16, 16), np.float32)})["logits"].shape == (4, 3, 16, 16, 16)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_narrow_answers_are_the_wide_ones_rounded_once_more(graph, count):
    image = np.random.default_rng(count).normal(size=(count, 1, 16, 16, 16)).astype(np.float32)
    wide = _engine(graph, 2, precision="bf16").run({"image": image})["logits"]
    narrow = _engine(graph, 2, precision="bf16", narrow=True).run({"image": image})["logits"]
    assert wide.dtype == np.float32
    assert narrow.dtype in (np.float32, ml_dtypes.bfloat16)  # float32 where the processor has no bfloat16
    np.testing.assert_allclose(narrow.astype(np.float32), wide, rtol=2**-8, atol=1e-6)
    exact = _engine(graph, 2, narrow=True).run({"image": image})["logits"]
    assert exact.dtype == np.float32  # nothing is rounded that was computed in float32
