"""How the torch engine runs a network on which machine; what it does on a GPU was written without one."""

from __future__ import annotations

import pytest
import torch

from osler.inference.engines.onnxruntime import providers_of
from osler.learning.torch_engine import TorchEngine, Way, way_of

GPU = {"gpu": True, "gpu_bf16": True, "compiler": True}


def test_a_processor_stays_plain():
    assert way_of("float32", gpu=False) == Way("cpu", False, False, False, False)
    assert way_of("auto", gpu=False).bf16 is False
    assert way_of("bf16", gpu=False).bf16 is True


@pytest.mark.parametrize(("precision", "bf16"), [("float32", False), ("bf16", True), ("auto", True)])
def test_a_gpu_gets_channels_last_pinned_memory_and_the_compiler(precision, bf16):
    assert way_of(precision, **GPU) == Way("cuda", bf16, True, True, True)


def test_an_old_gpu_computes_in_float32_unless_told():
    assert way_of("auto", gpu=True, gpu_bf16=False).bf16 is False
    assert way_of("bf16", gpu=True, gpu_bf16=False).bf16 is True


def test_without_a_compiler_nothing_is_compiled():
    assert way_of("bf16", gpu=True, gpu_bf16=True, compiler=False).compiled is False


def test_only_long_runs_are_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    engine = TorchEngine()
    engine._network, engine._way = object(), way_of("bf16", **GPU)
    for _ in range(3):
        engine._compile_when_worth_it(200)
    assert len(compiled) == 1
    engine._compile_when_worth_it(1000)
    assert len(compiled) == 1


def test_onnxruntime_takes_cuda_first_and_without_tensorfloat():
    providers = providers_of(["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"])
    assert [name for name, _ in providers] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert providers[0][1]["use_tf32"] == "0"
    assert [name for name, _ in providers_of(["CPUExecutionProvider"])] == ["CPUExecutionProvider"]
