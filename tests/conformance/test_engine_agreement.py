"""In float32 every engine gives the same answer: a network is trained once and runs anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from osler.datasets.plan import GridPlan, NetworkPlan, NormalisationPlan
from osler.datasets.preparation import prepare
from osler.errors import ModelError
from osler.inference.engines import make_engine
from osler.inference.predictor import Predictor
from osler.studies.formats import read_image
from tiny_models import make_plan, untrained_model


@pytest.fixture(scope="module")
def network_model(tmp_path_factory):
    """A U-Net with random weights."""
    plan = make_plan(
        grid=GridPlan(resize="spacing", spacing=(1.0, 1.0, 1.0), orientation="RAS"),
        normalisation=(NormalisationPlan(kind="image", low=0.5, high=99.5),),
        network=NetworkPlan(family="unet", features=(8, 16), strides=((1, 1, 1), (2, 2, 2)), blocks=(1, 1)),
        patch=(24, 32, 24),
    )
    return untrained_model(tmp_path_factory.mktemp("models") / "unet", plan)


@pytest.fixture(scope="module")
def answers(network_model, shared):
    path = shared / "hippocampus" / "imagesTr" / "hippocampus_001.nii.gz"
    prepared = prepare([read_image(path)], network_model.plan)
    found = {}
    for engine in ("openvino", "onnxruntime", "torch"):
        with Predictor(network_model, engine=engine, precision="float32", threads=1) as predictor:
            found[engine] = predictor.predict(prepared)
    return found


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_engines_agree_on_a_real_volume(answers, engine):
    one, other = answers["openvino"], answers[engine]
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert (one.argmax(0) == other.argmax(0)).mean() >= 0.999
    assert len(np.unique(one.argmax(0))) > 1  # a network that says one thing everywhere would agree with anything


def test_the_torch_engine_keeps_the_contract_of_engines(network_model):
    engine = make_engine("torch")
    engine.load(network_model.graph(0, engine.suffix), threads=1)
    batch = np.random.default_rng(0).normal(size=(2, 1, 24, 32, 24)).astype(np.float32)
    first = engine.run({"image": np.flip(batch, 2)})["logits"]
    assert first.shape == (2, 3, 24, 32, 24)
    assert first.dtype == np.float32
    assert engine.run({"image": batch[:1, :, :16, :16, :16]})["logits"].shape == (1, 3, 16, 16, 16)
    engine.release()
    with pytest.raises((ModelError, RuntimeError)):
        engine.run({"image": batch})
