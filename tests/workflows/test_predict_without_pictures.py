"""Pictures can be left out; everything else is the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as Picture

from osler.cli import main
from osler.workflows.predict import predict
from tiny_models import make_model, make_plan


@pytest.fixture
def classifier(tmp_path):
    (tmp_path / "model").mkdir()
    plan = make_plan("classify", dimensions=2)
    return make_model(tmp_path / "model", plan, np.array([[-1.0], [1.0]]), np.array([1.0, -1.0]))


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "p.png"
    Picture.fromarray(np.full((16, 16), 150, np.uint8) + np.eye(16, dtype=np.uint8)).save(path)
    return path


def test_without_pictures_only_the_overlay_is_missing(classifier, picture, tmp_path):
    drawn = predict(classifier, picture, output=tmp_path / "drawn")
    plain = predict(classifier, picture, output=tmp_path / "plain", pictures=False)
    assert (tmp_path / "drawn" / "p" / "overlay.png").is_file()
    assert sorted(file.name for file in (tmp_path / "plain" / "p").iterdir()) == ["findings.json"]
    assert drawn[0] == plain[0]


def test_the_command_leaves_them_out_too(classifier, picture, tmp_path):
    out = tmp_path / "out"
    arguments = ["predict", str(classifier.path), str(picture), "-o", str(out), "--no-pictures"]
    assert main(arguments) == 0
    assert not (out / "p" / "overlay.png").exists()
    assert json.loads((out / "p" / "findings.json").read_text())["study"] == "p"
