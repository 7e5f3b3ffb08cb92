"""Model folders made without training: graphs whose answer is known by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import (
    AugmentationPlan,
    GridPlan,
    LossPlan,
    NetworkPlan,
    NormalisationPlan,
    OptimiserPlan,
    Plan,
    TaskName,
)
from osler.models.folder import Calibration, DataSummary, Member, Model, ModelInfo, seal
from osler.studies.geometry import Array

KINDS: dict[TaskName, Literal["classes", "several", "grades", "number", "mask"]] = {
    "classify": "classes",
    "multilabel": "several",
    "ordinal": "grades",
    "regress": "number",
    "segment": "mask",
}


def make_plan(
    task: TaskName = "segment",
    *,
    names: tuple[str, ...] = ("dark", "bright"),
    dimensions: Literal[2, 3] = 3,
    **changes: Any,
) -> Plan:
    """A plan whose normalisation leaves intensities as they are, divided by 100."""
    first = 1 if task == "segment" else 0
    labels = tuple(Label(name=name, value=first + n) for n, name in enumerate(names))
    patch = (16,) * dimensions
    settings: dict[str, Any] = {
        "task": task,
        "dimensions": dimensions,
        "channels": ("image",),
        "labels": LabelSet(kind=KINDS[task], labels=() if task == "regress" else labels),
        "grid": GridPlan(resize="spacing", spacing=(1.0,) * dimensions)
        if task == "segment"
        else GridPlan(resize="stretch", shape=patch),
        "normalisation": (NormalisationPlan(kind="dataset", low=-1e6, high=1e6, mean=0.0, std=100.0),),
        "patch": patch,
        "batch": 2,
        "network": NetworkPlan(family="unet", features=(4,), strides=((1,) * dimensions,), blocks=(1,)),
        "loss": LossPlan(name="dice-ce"),
        "optimiser": OptimiserPlan(),
        "augmentation": AugmentationPlan(flips=(False,) * dimensions),
        "steps": 1,
    }
    return Plan.model_validate({**settings, **changes})


def pointwise_graph(path: Path, plan: Plan, weights: Array, bias: Array) -> None:
    """Logits of each voxel: ``weights`` (O, C) times its channels plus ``bias`` (O,); the patch's shape is fixed."""
    import openvino
    from openvino import opset13 as ops

    dimensions = plan.dimensions
    image = ops.parameter([-1, plan.inputs, *plan.patch], dtype=np.float32, name="image")
    image.output(0).tensor.set_names({"image"})
    kernel = ops.constant(weights.astype(np.float32).reshape(*weights.shape, *(1,) * dimensions))
    ones, zeros = [1] * dimensions, [0] * dimensions
    scores = ops.convolution(image, kernel, ones, zeros, zeros, ones)
    logits = ops.add(scores, ops.constant(bias.astype(np.float32).reshape(1, -1, *(1,) * dimensions)))
    _save(openvino, ops, path, image, logits)


def mean_graph(path: Path, plan: Plan, weights: Array, bias: Array) -> None:
    """Logits of a study: ``weights`` (O, C) times the mean of its channels plus ``bias`` (O,)."""
    import openvino
    from openvino import opset13 as ops

    image = ops.parameter([-1, plan.inputs, *([-1] * plan.dimensions)], dtype=np.float32, name="image")
    image.output(0).tensor.set_names({"image"})
    means = ops.reduce_mean(image, ops.constant(np.arange(2, 2 + plan.dimensions)), False)
    scores = ops.matmul(means, ops.constant(weights.astype(np.float32)), False, True)
    _save(openvino, ops, path, image, ops.add(scores, ops.constant(bias.astype(np.float32)[None])))


def pointwise_onnx(path: Path, plan: Plan, weights: Array, bias: Array) -> None:
    """The same as ``pointwise_graph`` for ONNX Runtime."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = (1,) * plan.dimensions
    kernel = numpy_helper.from_array(weights.astype(np.float32).reshape(*weights.shape, *shape), "kernel")
    offset = numpy_helper.from_array(bias.astype(np.float32), "bias")
    node = helper.make_node("Conv", ["image", "kernel", "bias"], ["logits"])
    free = [f"axis{n}" for n in range(plan.dimensions)]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", plan.inputs, *free])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(bias), *free])
    graph = helper.make_graph([node], "pointwise", [image], [logits], [kernel, offset])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))


def make_model(
    folder: Path,
    plan: Plan,
    weights: Array,
    bias: Array,
    *,
    members: int = 1,
    onnx: bool = False,
    calibration: Calibration | None = None,
    data: DataSummary | None = None,
    lineage: dict[str, Any] | None = None,
    folds: bool = False,
) -> Model:
    """A sealed folder. Member m has ``bias`` shifted by m on its last output, so that members differ; with ``folds`` it
    is that of fold m of a cross-validation."""
    (folder / "graphs").mkdir(parents=True)
    (folder / "weights").mkdir()
    entries = []
    for m in range(members):
        shifted = bias.astype(float).copy()
        shifted[-1] += m
        graphs = {".xml": f"graphs/member{m}.xml"}
        write = pointwise_graph if plan.task == "segment" else mean_graph
        write(folder / graphs[".xml"], plan, weights, shifted)
        if onnx:
            graphs[".onnx"] = f"graphs/member{m}.onnx"
            pointwise_onnx(folder / graphs[".onnx"], plan, weights, shifted)
        _weights(folder / f"weights/member{m}.safetensors", weights)
        fold = m if folds else None
        entries.append(Member(weights=f"weights/member{m}.safetensors", graphs=graphs, fold=fold))
    data = data or DataSummary(name="none")
    return _sealed(folder, plan, entries, calibration=calibration or Calibration(), data=data, lineage=lineage or {})


def untrained_model(folder: Path, plan: Plan) -> Model:
    """A network with random weights, exported as training exports it."""
    import torch

    from osler.learning.export import export_member
    from osler.learning.networks import build_network

    folder.mkdir()
    torch.manual_seed(0)
    member = export_member(build_network(plan), plan, folder, 0, steps=0, fold=None)
    return _sealed(folder, plan, [member])


def thresholds(*levels: float, slope: float = 50.0) -> tuple[Array, Array]:
    """Weights and bias of a one-channel segmenter: label n wins where the intensity lies above ``levels[n]`` (of the
    prepared array) and below the next level."""
    slopes = slope * np.arange(len(levels) + 1)
    offsets = -slope * np.concatenate([[0.0], np.cumsum(levels)])
    return slopes[:, None], offsets


def _weights(path: Path, weights: Array) -> None:
    from safetensors.numpy import save_file

    save_file({"kernel": np.ascontiguousarray(weights, dtype=np.float32)}, str(path))


def _save(openvino: Any, ops: Any, path: Path, image: Any, logits: Any) -> None:
    logits.output(0).tensor.set_names({"logits"})
    openvino.save_model(openvino.Model([ops.result(logits)], [image], "tiny"), str(path), compress_to_fp16=False)


def _sealed(folder: Path, plan: Plan, members: Sequence[Member], **about: Any) -> Model:
    (folder / "plan.json").write_text(plan.model_dump_json())
    given: dict[str, Any] = {"data": DataSummary(name="none"), **about}
    info = ModelInfo(
        osler_version="0",
        name=folder.name,
        created="2025-01-01",
        intended_use="tests",
        members=tuple(members),
        **given,
    )
    return seal(folder, info)
