from __future__ import annotations

import pytest

from osler.errors import UsageError
from osler.inference import precision
from osler.inference.precision import choose_precision, offered_forms
from parity_records import form, record_of, with_record
from tiny_models import make_model, make_plan, thresholds


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model", make_plan(), *thresholds(1.0, 2.0))


@pytest.fixture(autouse=True)
def _a_processor_with_everything(monkeypatch):
    monkeypatch.setattr(precision, "offered_forms", lambda: ("float32", "bf16", "int8"))


def test_openvino_says_what_the_processor_has():
    offered_forms.cache_clear()
    assert offered_forms()[0] == "float32"


@pytest.mark.parametrize("wanted", [None, "auto"])
def test_a_model_that_was_never_compared_runs_in_float32(model, wanted):
    assert choose_precision(model, wanted, "openvino").precision == "float32"


def test_the_fastest_form_that_is_allowed_is_taken(model):
    found = with_record(model, record_of(form("float32", 10), form("bf16", 5)))
    assert choose_precision(found, None, "openvino").precision == "bf16"


def test_a_form_that_lost_too_much_is_not_taken(model):
    found = with_record(model, record_of(form("float32", 10), form("bf16", 5, lost=0.01)))
    assert choose_precision(found, None, "openvino").precision == "float32"
    with pytest.raises(UsageError, match=r"bf16 is not allowed for this model: it loses 0\.0100 Dice"):
        choose_precision(found, "bf16", "openvino")


def test_a_form_that_the_processor_does_not_have_is_not_taken(model, monkeypatch):
    monkeypatch.setattr(precision, "offered_forms", lambda: ("float32",))
    found = with_record(model, record_of(form("float32", 10), form("bf16", 5)))
    assert choose_precision(found, None, "openvino").precision == "float32"
    with pytest.raises(UsageError, match=r"OpenVINO does not offer it on this processor, which has float32"):
        choose_precision(found, "bf16", "openvino")


def test_int8_without_its_graphs_is_refused_with_what_makes_them(model):
    with pytest.raises(UsageError, match=r"no INT8 graphs \(osler compress --int8 makes them\)"):
        choose_precision(model, "int8", "openvino")


def test_a_form_that_was_never_compared_runs_with_a_note(model):
    choice = choose_precision(model, "bf16", "openvino")
    assert choice.precision == "bf16"
    assert "never compared with float32" in choice.note


def test_other_engines_run_in_float32_and_refuse_int8(model):
    found = with_record(model, record_of(form("float32", 10), form("bf16", 5)))
    assert choose_precision(found, None, "onnxruntime").precision == "float32"
    assert "never compared" in choose_precision(found, "bf16", "torch").note
    with pytest.raises(UsageError, match="the engine torch does not run int8"):
        choose_precision(found, "int8", "torch")
