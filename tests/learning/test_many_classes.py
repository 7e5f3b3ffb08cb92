"""More classes than features: what is blended are features, and the answer is that of blended logits."""

from __future__ import annotations

import numpy as np
import pytest

from learning_plans import small_plan
from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import GridPlan
from osler.errors import UsageError
from osler.inference.predictor import Predictor
from osler.studies.image import Image
from tiny_models import untrained_model

CLASSES = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    labels = LabelSet(kind="mask", labels=tuple(Label(name=f"l{n}", value=n) for n in range(1, CLASSES)))
    plan = small_plan(dimensions=3, labels=labels, grid=GridPlan(resize="spacing", spacing=(1.0, 1.0, 1.3)))
    return untrained_model(tmp_path_factory.mktemp("many") / "model", plan)


def _mask(model, precision, monkeypatch, *, heads):
    with monkeypatch.context() as patched:
        if not heads:
            patched.setattr("osler.inference.members.narrow_heads", lambda model, members: [])
        image = Image(np.random.default_rng(0).uniform(0, 300, (1, 45, 37, 30)).astype(np.float32), np.eye(4))
        with Predictor(model, precision=precision, every_window=True) as predictor:
            assert predictor.blended == (4 if heads else CLASSES)
            return predictor.label([image])[1].mask


def test_blended_features_give_the_labels_of_blended_logits(model, monkeypatch):
    features, logits = (_mask(model, "float32", monkeypatch, heads=heads) for heads in (True, False))
    assert len(np.unique(logits)) > 3
    assert np.mean(features != logits) < 1e-4  # ties within rounding


def test_features_in_bfloat16_give_nearly_the_same_labels(model, monkeypatch):
    exact = _mask(model, "float32", monkeypatch, heads=True)
    try:
        features = _mask(model, "bf16", monkeypatch, heads=True)
    except UsageError as error:
        pytest.skip(f"this processor has no bfloat16 ({error})")
    logits = _mask(model, "bf16", monkeypatch, heads=False)
    assert np.mean(features != exact) < 1.5 * np.mean(logits != exact) + 1e-3  # rounding features costs next to nothing
