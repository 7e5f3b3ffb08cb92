"""Weights that another program trained, in a network of Osler's, and whether the exported graph agrees with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from osler.datasets.plan import Plan
from osler.errors import ModelError
from osler.inference.engines import make_engine
from osler.learning.networks import Network, build_network
from osler.models.folder import Member
from osler.studies.geometry import Array

__all__ = ["Parity", "check_parity", "network_with"]

_TOLERANCE = 1e-3
"""Largest difference of a logit, relative to the largest logit (at least 1), between torch and a graph in float32."""


class Parity(BaseModel):
    """How a graph's logits compare with torch's on one patch of noise: the largest difference, the largest logit, and
    the share of voxels with the same answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    engine: str
    difference: float
    largest: float
    same_answer: float


def network_with(plan: Plan, weights: Mapping[str, Array]) -> Network:
    """The plan's network with these weights, in evaluation mode.

    Raises:
        ModelError: when they do not fit.
    """
    network = build_network(plan)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        reasons = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise ModelError(
            f"the weights do not fit the plan: {reasons[0]}", remedy="give the checkpoint and plan of one model"
        ) from error
    return network.eval()


def check_parity(network: Network, plan: Plan, folder: Path, member: Member, *, seed: int = 0) -> Parity:
    """Run torch and the exported OpenVINO graph on the same noise.

    Args:
        network: that was exported.
        plan: its inputs and patch.
        folder: of the model.
        member: its graphs.
        seed: of the noise.

    Raises:
        ModelError: when they differ by more than float32 explains.
    """
    noise = np.random.default_rng(seed).standard_normal((1, plan.inputs, *plan.patch), np.float32)
    with torch.inference_mode():
        expected = network.eval()({"image": torch.from_numpy(noise)})["logits"].numpy()
    engine = make_engine("openvino")
    engine.load(folder / member.graphs[".xml"], precision="float32")
    found = engine.run({"image": noise})["logits"]
    engine.release()
    largest = float(np.abs(expected).max())
    difference = float(np.abs(found - expected).max())
    if not difference <= _TOLERANCE * max(1.0, largest):  # NaN fails too
        raise ModelError(
            f"the exported graph differs from the network by {difference:.3g} on logits up to {largest:.3g}",
            remedy="report it with the model's plans.json: the conversion cannot be trusted",
        )
    same = (expected > 0) == (found > 0) if plan.regions else expected.argmax(axis=1) == found.argmax(axis=1)
    return Parity(engine="openvino", difference=difference, largest=largest, same_answer=float(same.mean()))
