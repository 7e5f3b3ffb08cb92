"""``peak``, or MODEL: billions of operations per second of bf16 matrix products, or of a network's windows."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import numpy as np

SECONDS = 4.0
SIZES = (1024, 2048, 3072)


def _rate(work: Callable[[], object], operations: float) -> float:
    work()
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < SECONDS:
        work()
        done += 1
    return done * operations / (time.perf_counter() - begun) / 1e9


def _torch_product(size: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(2)
    one, other = torch.randn(2, size, size).bfloat16()
    result = torch.empty_like(one)
    return lambda: torch.mm(one, other, out=result)


def _openvino_product(size: int) -> Callable[[], object]:
    import openvino
    from openvino import opset13 as ops

    given = ops.parameter([size, size], np.float32)
    weights = ops.constant(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32))
    graph = openvino.Model([ops.matmul(given, weights, False, False)], [given])
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 2}
    request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    array = np.ones((size, size), np.float32)
    return lambda: request.infer({0: array}, share_inputs=True, share_outputs=True)


def peak() -> float:
    """Of both libraries and all sizes."""
    makers = (_torch_product, _openvino_product)
    return max(_rate(make(size), 2.0 * size**3) for make in makers for size in SIZES)


def network(folder: str) -> float:
    """Windows as a study gives them, through the engine."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from osler.inference.engines import make_engine
    from osler.learning.export import load_network
    from osler.models.folder import Model

    model = Model.open(folder)
    shape = (1, model.plan.inputs, *model.plan.patch)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        load_network(model)({"image": torch.zeros(shape)})
    engine = make_engine()
    engine.load(model.graph(0, engine.suffix), precision="bf16", threads=2)
    windows = np.random.default_rng(0).normal(size=(engine.at_once, *shape[1:])).astype(np.float32)
    return _rate(lambda: engine.run({"image": windows}), engine.at_once * counter.get_total_flops())


if __name__ == "__main__":
    what = sys.argv[1]
    print(json.dumps({"gflops": peak() if what == "peak" else network(what)}))
