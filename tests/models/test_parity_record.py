from __future__ import annotations

import json

import pytest

from osler.errors import ModelError
from osler.models.folder import Model, seal
from osler.models.parity import LIMITS, ParityRecord, Scores, judge, losses
from parity_records import form, record_of, with_record
from tiny_models import make_model, make_plan, thresholds


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model", make_plan(), *thresholds(1.0, 2.0))


def test_a_record_is_read_back_as_it_was_written(model):
    record = record_of(form("float32", 10), form("bf16", 5), form("int8", 3, lost=0.004))
    found = with_record(model, record)
    assert found.parity() == record
    assert found.verify().faults == ()


def test_a_model_that_was_never_compared_has_no_record(model):
    assert model.parity() is None


def test_a_changed_record_is_refused(model):
    found = with_record(model, record_of(form("float32", 10), form("int8", 3, lost=0.004)))
    path = model.path / "parity.json"
    path.write_text(path.read_text().replace("it loses", "it wins"))
    with pytest.raises(ModelError, match=r"parity\.json .* was changed"):
        found.parity()


def test_a_newer_record_is_refused_with_the_upgrade(model):
    raw = {**json.loads(record_of(form("float32", 10)).model_dump_json()), "schema_version": 99}
    (model.path / "parity.json").write_text(json.dumps(raw))
    with pytest.raises(ModelError, match=r"newer than this Osler.*pip install --upgrade"):
        seal(model.path, model.info).parity()


def test_a_damaged_record_is_refused(model):
    (model.path / "parity.json").write_text('{"cases": 3}')
    with pytest.raises(ModelError, match=r"parity\.json is damaged"):
        seal(model.path, model.info).parity()


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        (Scores(dice=0.9, ece=0.02), Scores(dice=0.898, ece=0.025), None),
        (Scores(dice=0.9, ece=0.02), Scores(dice=0.8979, ece=0.01), "0.0021 Dice, more than 0.002"),
        (Scores(auc=0.9, ece=0.02), Scores(auc=0.9, ece=0.0251), "0.0051 ECE, more than 0.005"),
        (Scores(auc=0.9, ece=0.02), Scores(auc=0.89, ece=0.02), "0.0100 AUC, more than 0.002"),
        (Scores(error=0.3), Scores(error=0.31), "0.0100 mean error, more than 0.002"),
        (Scores(dice=0.9), Scores(dice=0.95), None),
        (Scores(dice=0.9), Scores(), "none of its scores could be compared"),
    ],
)
def test_a_form_may_be_run_up_to_the_limits_and_not_beyond(before, after, fault):
    faults = judge(losses(before, after))
    assert faults == () if fault is None else fault in faults[0]


def test_the_limits_are_those_of_the_issue():
    assert (LIMITS.dice, LIMITS.auc, LIMITS.ece) == (0.002, 0.002, 0.005)


def test_allowed_forms_come_fastest_first():
    record = record_of(form("float32", 10), form("bf16", 5), form("int8", 7))
    assert record.allowed() == ("bf16", "int8", "float32")
    assert record_of(form("float32", 10), form("bf16", 5, lost=0.01)).allowed() == ("float32",)


def test_sentences_hold_the_figures():
    lines = record_of(form("float32", 10), form("int8", 3, lost=0.0041)).sentences()
    assert lines[0] == "parity: on 10 cases, against its own float32 graphs, Dice 0.9000, 10 ms a patch"
    assert "int8 NOT allowed: it loses 0.0041 Dice, more than 0.002" in lines[2]
    assert "Dice 0.8959 (-0.0041)" in lines[2]


def test_version_1_of_a_model_is_read(model):
    from osler.models.folder import _digest_of

    path = model.path / "model.json"
    raw = json.loads(path.read_text())
    del raw["data"]["calibrated"]
    raw["schema_version"] = 1
    path.write_text(json.dumps({**raw, "digest": _digest_of(raw)}))
    assert Model.open(model.path).info.data.calibrated == ()


def test_a_record_keeps_its_own_version(model):
    assert ParityRecord.model_fields["schema_version"].default == 1
