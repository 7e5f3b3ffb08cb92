"""What every engine must do. The torch engine runs through the same in ``tests/learning``."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from osler.errors import MissingExtra, ModelError, Unknown, UsageError
from osler.inference.engines import engine_names, make_engine
from osler.inference.engines.base import Engine, is_out_of_memory
from tiny_models import make_plan, pointwise_graph, pointwise_onnx

WEIGHTS, BIAS = np.array([[1.0], [-2.0], [0.5]]), np.array([0.0, 1.0, -1.0])
WRITERS = {"openvino": pointwise_graph, "onnxruntime": pointwise_onnx}


def _expected(batch):
    return (batch * WEIGHTS[:, :1].reshape(1, 3, 1, 1) + BIAS.reshape(1, 3, 1, 1)).astype(np.float32)


@pytest.fixture(params=list(WRITERS))
def loaded(request, tmp_path):
    engine = make_engine(request.param)
    path = tmp_path / f"graph{engine.suffix}"
    WRITERS[request.param](path, make_plan(dimensions=2), WEIGHTS, BIAS)
    engine.load(path, threads=1)
    yield engine, path
    engine.release()


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (5, 1, 16, 16), (2, 1, 24, 10)])
def test_any_batch_and_shape_runs_in_float32(loaded, shape):
    batch = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    answer = loaded[0].run({"image": batch})
    assert list(answer) == ["logits"]
    assert answer["logits"].dtype == np.float32
    np.testing.assert_allclose(answer["logits"], _expected(batch), rtol=1e-6, atol=1e-6)


def test_an_answer_is_not_overwritten_by_the_next_run(loaded):
    first = loaded[0].run({"image": np.zeros((1, 1, 16, 16), np.float32)})["logits"]
    kept = first.copy()
    loaded[0].run({"image": np.ones((1, 1, 16, 16), np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_the_input_is_not_changed_and_need_not_be_contiguous(loaded):
    batch = np.random.default_rng(1).normal(size=(1, 1, 16, 16)).astype(np.float32)
    view = np.flip(batch, 2)
    np.testing.assert_allclose(loaded[0].run({"image": view})["logits"], _expected(view), rtol=1e-6, atol=1e-6)


@pytest.fixture(params=[(name, many, threads) for name in WRITERS for many in (False, True) for threads in (1, 2)])
def several(request, tmp_path):
    name, many, threads = request.param
    engine = make_engine(name)
    path = tmp_path / f"graph{engine.suffix}"
    WRITERS[name](path, make_plan(dimensions=2), WEIGHTS, BIAS)
    engine.load(path, threads=threads, many=many)
    yield engine
    engine.release()


def _batches(shapes):
    random = np.random.default_rng(4)
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def test_batches_under_way_at_once_are_answered_in_order(several):
    batches = _batches([(1 + n % 3, 1, 16, 16) for n in range(20)])
    answers = list(several.run_many({"image": batch} for batch in batches))
    assert len(answers) == 20
    for batch, answer in zip(batches, answers, strict=True):
        np.testing.assert_array_equal(answer["logits"], several.run({"image": batch})["logits"])


def test_a_shape_may_change_among_batches_under_way(several):
    batches = _batches([(2, 1, 16, 16)] * 5 + [(1, 1, 24, 10)] * 3 + [(3, 1, 16, 16)])
    for batch, answer in zip(batches, several.run_many({"image": batch} for batch in batches), strict=True):
        np.testing.assert_allclose(answer["logits"], _expected(batch), rtol=1e-6, atol=1e-6)


def test_whoever_stops_listening_to_batches_leaves_the_engine_usable(several):
    (batch,) = _batches([(2, 1, 16, 16)])
    running = several.run_many({"image": batch} for _ in range(10))
    next(running)
    np.testing.assert_allclose(several.run({"image": batch})["logits"], _expected(batch), rtol=1e-6, atol=1e-6)
    running.close()
    assert len(list(several.run_many({"image": batch} for _ in range(10)))) == 10


def test_a_wrong_batch_among_others_is_a_model_error(several):
    (good,) = _batches([(2, 1, 16, 16)])
    with pytest.raises(ModelError, match="cannot take inputs"):
        list(several.run_many([{"image": good}, {"picture": good}, {"image": good}]))


@pytest.mark.parametrize(
    "said",
    [
        "Check 'false' failed at src/inference/src/cpp/infer_request.cpp:224:\nstd::bad_alloc",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 107",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
        "[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: tried to allocate 8 bytes",
        "Available memory of 12 is smaller than requested bytes of 4096",
    ],
)
def test_what_libraries_say_when_memory_runs_out_is_known(said):
    assert is_out_of_memory(RuntimeError(said))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("The input tensor size is not equal to the model input type"))


def test_releasing_and_loading_again_works(loaded):
    engine, path = loaded
    engine.release()
    with pytest.raises(ModelError, match="no graph"):
        engine.run({"image": np.zeros((1, 1, 16, 16), np.float32)})
    engine.load(path)
    assert engine.run({"image": np.zeros((1, 1, 16, 16), np.float32)})["logits"].shape == (1, 3, 16, 16)


def test_a_wrong_number_of_channels_is_a_model_error(loaded):
    with pytest.raises(ModelError, match="cannot take inputs"):
        loaded[0].run({"image": np.zeros((1, 2, 16, 16), np.float32)})


def test_a_wrong_input_name_is_a_model_error(loaded):
    with pytest.raises(ModelError, match="cannot take inputs"):
        loaded[0].run({"picture": np.zeros((1, 1, 16, 16), np.float32)})


@pytest.mark.parametrize("name", list(WRITERS))
def test_a_damaged_graph_is_a_model_error(name, tmp_path):
    engine = make_engine(name)
    path = tmp_path / f"graph{engine.suffix}"
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot load"):
        engine.load(path)


def test_openvino_takes_bf16_and_stays_near_float32(tmp_path):
    pointwise_graph(tmp_path / "g.xml", make_plan(dimensions=2), WEIGHTS, BIAS)
    engine = make_engine("openvino")
    engine.load(tmp_path / "g.xml", precision="bf16", threads=1)
    batch = np.random.default_rng(2).normal(size=(1, 1, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(engine.run({"image": batch})["logits"], _expected(batch), atol=0.05)


def test_onnxruntime_says_that_it_has_no_bf16(tmp_path):
    with pytest.raises(UsageError, match="float32 only"):
        make_engine("onnxruntime").load(tmp_path / "g.onnx", precision="bf16")


def test_a_missing_library_answers_with_the_install_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'osler\[service\]'"):
        make_engine("onnxruntime").load(tmp_path / "g.onnx")


def test_an_unknown_engine_is_refused_with_the_list():
    with pytest.raises(Unknown, match="onnxruntime, openvino, torch"):
        make_engine("tensorrt")
    assert {"openvino", "onnxruntime", "torch"} <= set(engine_names())


def test_every_built_in_engine_says_its_name_and_suffix():
    for name in WRITERS:
        engine = make_engine(name)
        assert isinstance(engine, Engine)
        assert engine.name == name
        assert engine.suffix.startswith(".")
