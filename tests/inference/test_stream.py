from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from osler.datasets.plan import GridPlan
from osler.errors import StudyError, Unreadable
from osler.inference.engines import Engine
from osler.inference.engines.openvino import OpenVinoEngine
from osler.inference.predictor import Predictor
from osler.inference.stream import stream
from osler.progress import CancelToken
from osler.studies.image import Image
from tiny_models import make_model, make_plan, thresholds


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    plan = make_plan("classify", names=("low", "high"), dimensions=2, patch=(8, 8))
    return make_model(tmp_path_factory.mktemp("m") / "m", plan, np.array([[-1.0], [1.0]]), np.array([1.5, -1.5]))


def _image(level):
    array = np.full((1, 8, 8), float(level))
    array[0, 0, 0] += 1
    return lambda: [Image(array)]


def _broken():
    raise Unreadable("this.png is empty", remedy="copy it again")


def _no_memory():
    raise MemoryError


def test_what_cannot_be_used_is_told_and_the_others_are_answered_in_order(model):
    sources = [("a", _image(10)), ("b", _broken), ("c", _image(290)), ("d", _no_memory), ("e", _image(20))]
    with Predictor(model) as predictor:
        answers = list(stream(predictor, sources))
    assert [answer.key for answer in answers] == list("abcde")
    assert [bool(answer.problem) for answer in answers] == [False, True, False, True, False]
    assert answers[1].problem == "this.png is empty. copy it again."
    assert "memory" in answers[3].problem
    assert [int(answers[n].usable[2].argmax()) for n in (0, 2, 4)] == [0, 1, 0]
    with pytest.raises(StudyError, match="empty"):
        _ = answers[1].usable


@pytest.mark.parametrize(("shape", "noted"), [((12, 12, 1), True), ((12, 12, 12), False)])
def test_a_single_slice_before_a_model_of_volumes_is_told(tmp_path, shape, noted):
    plan = make_plan(names=("bright",), grid=GridPlan(resize="spacing", spacing=(1.0, 1.0, 1.0)))
    volumes = make_model(tmp_path / "m", plan, *thresholds(1.0))
    image = Image(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32))
    with Predictor(volumes) as predictor:
        (answer,) = stream(predictor, [("a", lambda: [image])])
    assert not answer.problem
    assert any("single slice" in note for note in answer.notes) == noted


def test_more_studies_than_fit_together_are_all_answered(model):
    with Predictor(model) as predictor:
        answers = list(stream(predictor, [(n, _image(n)) for n in range(75)]))
    assert [answer.key for answer in answers] == list(range(75))


def test_one_study_whose_answer_is_not_finite_does_not_spoil_its_neighbours(tmp_path):
    plan = make_plan("classify", names=("low", "high"), dimensions=2, patch=(8, 8))
    model = make_model(tmp_path / "m", plan, np.array([[-1e38], [1e38]]), np.zeros(2))
    with Predictor(model) as predictor:
        answers = list(stream(predictor, [("small", _image(1)), ("huge", _image(9e5)), ("small too", _image(2))]))
    assert [answer.problem == "" for answer in answers] == [True, False, True]
    assert "not finite" in answers[1].problem


def test_after_a_stop_nothing_new_is_begun(model):
    token = CancelToken()

    def sources():
        yield "a", _image(10)
        token.cancel()
        yield "b", _image(20)

    with Predictor(model) as predictor:
        assert [answer.key for answer in stream(predictor, sources(), cancel=token)] == ["a"]


def _answers(model, sources, **settings):
    threads = settings.get("threads", 0)
    with Predictor(model, threads=threads) as predictor:
        return list(stream(predictor, sources, **settings))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bits_in_the_same_order(model, threads):
    random = np.random.default_rng(5)
    images = [Image(random.normal(100, 60, (1, 8, 8))) for _ in range(101)]

    def late(image, seconds):
        def load():
            time.sleep(seconds)
            return [image]

        return load

    sources = [(n, late(image, 0.004 * (n % 7 == 3))) for n, image in enumerate(images)]
    sources.insert(50, ("broken", _broken))
    alone = _answers(model, sources, threads=1)
    found = _answers(model, sources, threads=threads)
    assert [one.key for one in found] == [key for key, _ in sources]
    for one, other in zip(found, alone, strict=True):
        assert one.problem == other.problem
        np.testing.assert_array_equal(one.output, other.output)


def test_small_studies_are_read_ahead_and_large_ones_are_not(model):
    begun, most = [], 0
    lock = threading.Lock()

    def source(n, side):
        def load():
            with lock:
                begun.append(n)
            return [Image(np.full((1, side, side), 50.0) + np.eye(side))]

        return load

    with Predictor(model) as predictor:
        for answer in stream(predictor, ((n, source(n, 8)) for n in range(200)), threads=2):
            most = max(most, len(begun) - answer.key)
    assert 32 < most < 200
    begun.clear()
    most = 0
    with Predictor(model) as predictor:
        for answer in stream(predictor, ((n, source(n, 3000)) for n in range(8)), threads=2):
            most = max(most, len(begun) - answer.key)
    assert most <= 3


def test_a_fault_of_the_program_is_raised_and_no_thread_stays(model):
    def fault():
        raise ZeroDivisionError

    with Predictor(model) as predictor, pytest.raises(ZeroDivisionError):
        list(stream(predictor, [("a", _image(10)), ("b", fault), ("c", _image(10))]))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("osler-read")]


def test_memory_that_runs_out_in_the_network_costs_no_study(model, monkeypatch):
    with Predictor(model) as predictor:
        expected = list(stream(predictor, [(n, _image(n)) for n in range(40)]))
        run = OpenVinoEngine.run

        def scarce(engine, inputs):
            if len(inputs["image"]) > 5:
                raise MemoryError
            return run(engine, inputs)

        monkeypatch.setattr(OpenVinoEngine, "run", scarce)
        monkeypatch.setattr(OpenVinoEngine, "run_many", Engine.run_many)
        found = list(stream(predictor, [(n, _image(n)) for n in range(40)]))
        assert predictor.most_at_once == 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.output, other.output, rtol=1e-6)
