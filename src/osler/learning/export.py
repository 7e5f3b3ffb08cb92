"""Export: from a trained network to the files of a model folder's member: safetensors, ONNX and OpenVINO IR."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from osler.datasets.plan import Plan
from osler.errors import ModelError
from osler.learning.networks import Network, build_network
from osler.models.folder import Member, Model

__all__ = ["export_member", "load_network", "start_from"]


class _Positional(nn.Module):
    """Graph exporters want tensors by position."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits of an image, and where there are any the features that they are made of."""
        outputs = self.network({"image": image})
        return tuple(outputs[name] for name in _outputs_of(self.network))


def _outputs_of(network: Network) -> list[str]:
    return ["logits", "features"] if network.head_name else ["logits"]


def export_member(network: Network, plan: Plan, folder: Path, number: int, *, steps: int, fold: int | None) -> Member:
    """Write ``weights/memberN.safetensors``, ``graphs/memberN.onnx`` and ``graphs/memberN.xml`` + ``.bin``.

    Graphs take ``image`` (B, C, *patch) float32 with any B and give ``logits`` and, where the network has a
    ``head_name``, ``features``. All in float32.
    """
    from safetensors.torch import save

    (folder / "weights").mkdir(parents=True, exist_ok=True)
    (folder / "graphs").mkdir(exist_ok=True)
    network = network.cpu().float().eval()
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    # not save_file: what it writes only its owner may read, and a model is for colleagues and services too
    (folder / "weights" / f"member{number}.safetensors").write_bytes(save(weights))
    onnx = folder / "graphs" / f"member{number}.onnx"
    _to_onnx(network, plan, onnx)
    _to_openvino(onnx, folder / "graphs" / f"member{number}.xml")
    return Member(
        weights=f"weights/member{number}.safetensors",
        graphs={".onnx": f"graphs/member{number}.onnx", ".xml": f"graphs/member{number}.xml"},
        fold=fold,
        head=network.head_name,
        steps=steps,
    )


def _to_onnx(network: Network, plan: Plan, target: Path) -> None:
    example = torch.zeros(2, plan.inputs, *plan.patch)
    names = _outputs_of(network)
    with warnings.catch_warnings():
        # the tracer warns of shape comparisons; the patch is fixed, so they are constants by intention
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Positional(network).eval(),  # the exporter puts back the mode of what it was given
            (example,),
            target,
            input_names=["image"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ("image", *names)},
            opset_version=17,
            dynamo=False,
        )


def _to_openvino(onnx: Path, target: Path) -> None:
    import openvino

    openvino.save_model(openvino.convert_model(str(onnx)), str(target), compress_to_fp16=False)


def load_network(model: Model, member: int = 0) -> Network:
    """The torch network of a member, with its weights, in evaluation mode.

    Raises:
        ModelError: when the weights do not fit the plan.
    """
    from safetensors.torch import load_file

    network = build_network(model.plan)
    try:
        network.load_state_dict(load_file(model.graph(member, ".safetensors")))
    except RuntimeError as error:
        raise ModelError(
            f"the weights of {model.path} do not fit its plan", remedy="restore the model folder"
        ) from error
    return network.eval()


def start_from(network: nn.Module, model: Model) -> int:
    """Copy from a model every weight of equal name and shape (``--from``).

    Returns:
        How many of the network's tensors were taken.

    Raises:
        ModelError: when fewer than half could be.
    """
    from safetensors.torch import load_file

    stored = load_file(model.graph(0, ".safetensors"))
    own = network.state_dict()
    fitting = {name: value for name, value in stored.items() if name in own and own[name].shape == value.shape}
    if 2 * len(fitting) < len(own):
        raise ModelError(
            f"only {len(fitting)} of {len(own)} weights of {model.path} fit the planned network",
            remedy="give its network with --plan MODEL/plan.json, or start from another model",
        )
    network.load_state_dict({**own, **fitting})
    return len(fitting)
