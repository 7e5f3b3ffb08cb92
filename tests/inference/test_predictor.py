from __future__ import annotations

import numpy as np
import pytest

from osler.datasets.preparation import Prepared, prepare
from osler.errors import ModelError, Unknown, Unsuitable, UsageError
from osler.inference.engines.openvino import OpenVinoEngine
from osler.inference.labelled import as_labelled
from osler.inference.predictor import Predictor
from osler.inference.probabilities import probabilities, softmax
from osler.inference.windows import sliding, window_starts
from osler.models.folder import Calibration
from osler.studies.image import Image
from tiny_models import make_model, make_plan, thresholds

AFFINE = np.eye(4)


def _volume(shape=(20, 14, 33), seed=0):
    array = np.random.default_rng(seed).uniform(0, 300, (1, *shape)).astype(np.float32)
    return Image(array, AFFINE)


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    plan = make_plan(mirror_axes=(0, 2))
    return make_model(
        tmp_path_factory.mktemp("m") / "seg", plan, *thresholds(1.0, 2.0, slope=3.0), members=2, onnx=True
    )


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    plan = make_plan("classify", names=("low", "high"), dimensions=2, patch=(8, 8))
    weights, bias = np.array([[-1.0], [1.0]]), np.array([1.5, -1.5])
    return make_model(
        tmp_path_factory.mktemp("m") / "cls", plan, weights, bias, calibration=Calibration(temperature=2.0)
    )


def _expected_member(prepared, member):
    weights, bias = thresholds(1.0, 2.0, slope=3.0)
    bias = bias.copy()
    bias[-1] += member
    return weights[:, 0].reshape(3, 1, 1, 1) * prepared.array + bias.reshape(3, 1, 1, 1)


def test_an_ensemble_averages_the_members_logits(segmenter):
    prepared = prepare([_volume()], segmenter.plan)
    with Predictor(segmenter) as predictor:
        answer = predictor.predict(prepared)
    expected = softmax(np.mean([_expected_member(prepared, m) for m in (0, 1)], axis=0))
    assert answer.shape == (3, 20, 14, 33)
    np.testing.assert_allclose(answer, expected, atol=2e-5)


def test_one_member_can_be_asked_alone(segmenter):
    prepared = prepare([_volume()], segmenter.plan)
    with Predictor(segmenter, members=[1]) as predictor:
        logits = predictor.logits(prepared)
        np.testing.assert_allclose(logits, _expected_member(prepared, 1), atol=1e-4)
        np.testing.assert_array_equal(probabilities(logits, segmenter.plan), predictor.predict(prepared))


def test_mirroring_changes_nothing_for_a_network_without_a_side(segmenter):
    prepared = prepare([_volume((16, 16, 16))], segmenter.plan)
    with Predictor(segmenter) as plain, Predictor(segmenter, mirror=True) as mirrored:
        np.testing.assert_allclose(plain.predict(prepared), mirrored.predict(prepared), atol=1e-6)


def test_each_window_is_mirrored_by_itself(segmenter, monkeypatch):
    prepared = prepare([_volume((21, 16, 19))], segmenter.plan)
    seen = []

    def run(_, inputs):
        seen.append(inputs["image"])
        return {"logits": np.cumsum(inputs["image"], axis=2) @ np.diag(np.arange(16.0, dtype=np.float32))}

    with Predictor(segmenter, mirror=True, members=[0]) as predictor:
        monkeypatch.setattr(OpenVinoEngine, "run", run)
        got = predictor.logits(prepared)

        def mean(batch):
            copies = [
                np.flip(run(None, {"image": np.flip(batch, axes)})["logits"], axes) for axes in ((), 2, 4, (2, 4))
            ]
            return np.mean(copies, axis=0)

        expected = sliding(prepared.array, (16, 16, 16), mean)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-4)


def test_mirroring_is_refused_where_the_plan_forbids_it(classifier):
    with pytest.raises(UsageError, match="not trained on mirrored studies"):
        Predictor(classifier, mirror=True)


def test_both_engines_agree(segmenter):
    prepared = prepare([_volume()], segmenter.plan)
    with Predictor(segmenter) as one, Predictor(segmenter, engine="onnxruntime") as other:
        first, second = one.predict(prepared), other.predict(prepared)
    np.testing.assert_allclose(first, second, atol=1e-3)
    assert (first.argmax(0) == second.argmax(0)).mean() >= 0.999


def test_studies_together_get_the_same_answers_as_alone(classifier):
    images = [Image(np.random.default_rng(n).uniform(0, 300, (1, 8 + n % 2, 8))) for n in range(40)]
    studies = [prepare([image], classifier.plan) for image in images]
    with Predictor(classifier) as predictor:
        together = predictor.predict_many(studies)
        alone = [predictor.predict(study) for study in studies]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_the_calibration_divides_the_logits(classifier):
    prepared = prepare([_volume((8, 8), seed=3)], classifier.plan)
    with Predictor(classifier) as predictor:
        np.testing.assert_allclose(predictor.predict(prepared), softmax(predictor.logits(prepared) / 2), rtol=1e-5)
    with Predictor(classifier, calibration=Calibration(temperature=5.0)) as predictor:
        np.testing.assert_allclose(predictor.predict(prepared), softmax(predictor.logits(prepared) / 5), rtol=1e-5)


def test_an_answer_that_is_not_finite_is_refused(segmenter):
    prepared = prepare([_volume()], segmenter.plan)
    spoilt = Prepared(np.full_like(prepared.array, np.nan), prepared.trace)
    with Predictor(segmenter) as predictor, pytest.raises(Unsuitable, match="not finite"):
        predictor.predict(spoilt)


def test_a_changed_graph_is_refused(tmp_path):
    model = make_model(tmp_path / "m", make_plan(), *thresholds(1.0, 2.0))
    (tmp_path / "m" / "graphs" / "member0.bin").write_bytes(b"0")
    with pytest.raises(ModelError, match=r"member0\.bin .* was changed"), Predictor(model):
        pass


def test_an_engine_without_its_graph_says_which_there_are(classifier):
    with pytest.raises(ModelError, match=r"no \.onnx graph.*\.xml"), Predictor(classifier, engine="onnxruntime"):
        pass


def test_mistakes_are_answered(segmenter):
    with pytest.raises(UsageError, match="members"):
        Predictor(segmenter, members=[2])
    with pytest.raises(Unknown, match="no engine"), Predictor(segmenter, engine="magic"):
        pass
    with pytest.raises(ModelError, match="not loaded"):
        Predictor(segmenter).predict(prepare([_volume()], segmenter.plan))


def _labelled(model, image, **options):
    with Predictor(model, **options) as predictor:
        assert predictor.takes_slabs([image])
        return predictor.label([image])


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("members", [[0], [0, 1]])
def test_labels_slab_by_slab_are_those_of_the_probabilities(segmenter, mirror, members):
    image = _volume((30, 22, 41))
    _, labelled = _labelled(segmenter, image, mirror=mirror, members=members)
    with Predictor(segmenter, mirror=mirror, members=members) as predictor:
        prepared = prepare([image], segmenter.plan)
        plain = as_labelled(predictor.predict(prepared), prepared.trace, segmenter.plan.labels)
    assert (labelled.mask == plain.mask).mean() > 0.9999
    for count, expected in zip(labelled.counts, plain.counts, strict=True):
        assert count.probability == pytest.approx(expected.probability, abs=1e-3)


def test_a_window_of_one_value_is_run_once(segmenter, monkeypatch):
    array = np.zeros((1, 64, 48, 48), np.float32)
    array[:, 40:52, 20:30, 20:30] = 250.0
    image, runs = Image(array, AFFINE), []
    plain_run = OpenVinoEngine.run

    def counted(self, inputs):
        runs.append(len(inputs["image"]))
        return plain_run(self, inputs)

    monkeypatch.setattr(OpenVinoEngine, "run", counted)
    _, every = _labelled(segmenter, image, every_window=True)
    windows = sum(runs)
    runs.clear()
    _, once = _labelled(segmenter, image)
    assert 0 < sum(runs) < windows / 2
    np.testing.assert_array_equal(once.mask, every.mask)


def test_a_study_whose_answer_is_not_finite_is_refused_slab_by_slab(tmp_path):
    weights, bias = thresholds(1.0, 2.0)
    model = make_model(tmp_path / "m", make_plan(), weights, np.full_like(bias, np.inf))
    with pytest.raises(Unsuitable, match="not finite"):
        _labelled(model, _volume())


@pytest.mark.parametrize("room", [1, 3])
def test_memory_that_runs_out_in_the_middle_of_a_volume_repeats_no_window(segmenter, monkeypatch, room):
    image, runs = _volume((40, 40, 45)), []
    _, expected = _labelled(segmenter, image, every_window=True, members=[0])
    plain_run = OpenVinoEngine.run

    def scarce(self, inputs):
        windows = len(inputs["image"])
        if windows > room and len(runs) > 1:
            raise MemoryError
        runs.append(windows)
        return plain_run(self, inputs)

    monkeypatch.setattr(OpenVinoEngine, "run", scarce)
    with Predictor(segmenter, every_window=True, members=[0]) as predictor:
        _, found = predictor.label([image])
        assert predictor.most_at_once is not None
        assert predictor.most_at_once <= room
    np.testing.assert_array_equal(found.mask, expected.mask)
    windows = np.prod([len(starts) for starts in window_starts((40, 40, 45), segmenter.plan.patch)])
    assert sum(runs) == windows


def test_a_volume_for_which_a_single_window_is_too_much_is_not_answered(segmenter, monkeypatch):
    def none_left(self, inputs):
        raise MemoryError

    monkeypatch.setattr(OpenVinoEngine, "run", none_left)
    with pytest.raises(MemoryError):
        _labelled(segmenter, _volume())


def test_logits_are_never_rounded_to_bfloat16(segmenter, monkeypatch):
    asked, load = [], OpenVinoEngine.load

    def recorded(self, graph, **settings):
        asked.append((settings["output"], settings["narrow"]))
        load(self, graph, **settings)

    monkeypatch.setattr(OpenVinoEngine, "load", recorded)
    with Predictor(segmenter):
        assert asked == [("logits", False)] * 2
    heads = [(np.ones((3, 2), np.float32), np.zeros(3, np.float32))] * 2
    monkeypatch.setattr("osler.inference.members.narrow_heads", lambda model, members: heads)
    with pytest.raises(ModelError, match="features"):  # these graphs have none
        Predictor(segmenter).__enter__()
    assert asked[2] == ("features", True)
