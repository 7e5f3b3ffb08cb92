from __future__ import annotations

import json

import pytest

from osler.errors import ModelError, PathNotFound
from osler.models.folder import MODEL_VERSION, Model, _digest_of, seal, sha256_of
from tiny_models import make_model, make_plan, thresholds


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model", make_plan(), *thresholds(1.0, 2.0), members=2)


def _edit(path, **changes):
    raw = json.loads(path.read_text())
    record = {**raw, **changes}
    path.write_text(json.dumps({**record, "digest": _digest_of(record)} if "digest" in raw else record))


def test_a_sealed_folder_opens_and_is_whole(model):
    opened = Model.open(model.path)
    assert opened.plan == model.plan
    assert opened.info == model.info
    assert opened.verify().faults == ()
    assert opened.verify().files == 1 + 2 * 3


def test_hashes_are_those_of_sha256sum(model):
    import hashlib

    path = model.path / "plan.json"
    assert sha256_of(path) == hashlib.sha256(path.read_bytes()).hexdigest() == model.info.files["plan.json"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(PathNotFound, match=r"no model folder at .*nowhere"):
        Model.open(tmp_path / "nowhere")


def test_an_unfinished_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no model\.json.*finish it"):
        Model.open(tmp_path)


def test_a_newer_schema_is_refused_with_the_upgrade(model):
    _edit(model.path / "model.json", schema_version=MODEL_VERSION + 1)
    with pytest.raises(ModelError, match=r"newer than this Osler.*pip install --upgrade"):
        Model.open(model.path)


@pytest.mark.parametrize("content", ["{", "[]", '{"schema_version": 1}', '"text"'])
def test_a_damaged_model_json_is_refused(model, content):
    (model.path / "model.json").write_text(content)
    with pytest.raises(ModelError, match=r"model.json"):
        Model.open(model.path)


def test_a_changed_plan_is_refused(model):
    _edit(model.path / "plan.json", overlap=0.1)
    with pytest.raises(ModelError, match=r"plan.json .* was changed"):
        Model.open(model.path)


def test_verify_finds_what_was_changed_removed_and_added(model):
    (model.path / "graphs" / "member0.bin").write_bytes(b"0")
    (model.path / "graphs" / "member1.xml").unlink()
    (model.path / "notes.txt").write_text("hello")
    assert set(model.verify().faults) == {
        "graphs/member0.bin was changed",
        "graphs/member1.xml is missing",
        "notes.txt is not listed",
    }


def test_a_pickle_cannot_be_sealed_in(model):
    (model.path / "weights" / "extra.pkl").write_bytes(b"")
    with pytest.raises(ModelError, match=r"may not hold extra\.pkl"):
        seal(model.path, model.info)


def test_a_pickle_that_was_listed_by_hand_is_a_fault(model):
    pickle = model.path / "weights" / "extra.pkl"
    pickle.write_bytes(b"x")
    files = {**model.info.files, "weights/extra.pkl": sha256_of(pickle)}
    _edit(model.path / "model.json", files=files)
    assert Model.open(model.path).verify().faults == (
        "weights/extra.pkl is of a kind that a model folder may not hold",
    )


def test_a_list_that_leads_out_of_the_folder_is_refused(model):
    outside = model.path.parent / "secret.json"
    outside.write_text("{}")
    _edit(model.path / "model.json", files={**model.info.files, "../secret.json": sha256_of(outside)})
    with pytest.raises(ModelError, match=r"missing or was changed"):
        Model.open(model.path).file("../secret.json")


def test_a_graph_is_checked_with_its_weights(model):
    assert model.graph(0, ".xml").name == "member0.xml"
    assert model.graph(1, ".safetensors").name == "member1.safetensors"
    (model.path / "graphs" / "member0.bin").write_bytes(b"0")
    with pytest.raises(ModelError, match=r"member0\.bin"):
        model.graph(0, ".xml")


def test_a_model_that_was_never_measured_has_no_performance(model):
    assert model.performance() == {}


def test_a_changed_model_json_is_refused(model):
    path = model.path / "model.json"
    path.write_text(path.read_text().replace('"temperature": 1.0', '"temperature": 25.0'))
    with pytest.raises(ModelError, match="was changed"):
        Model.open(model.path)
