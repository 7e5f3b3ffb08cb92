from __future__ import annotations

import numpy as np
import pytest

from osler.errors import StudyError, Unreadable
from osler.inference.predictor import Predictor
from osler.inference.stream import stream
from osler.progress import CancelToken
from osler.studies.image import Image
from tiny_models import make_model, make_plan


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
