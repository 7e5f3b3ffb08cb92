"""The last layers of a model's members, which ``labelling.Head`` applies after windows were blended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from osler.models.folder import Model
from osler.studies.geometry import Array

__all__ = ["narrow_heads"]


def narrow_heads(model: Model, members: Sequence[int]) -> list[tuple[Array, Array]]:
    """Weight (O, F) and bias (O,) of each member's last layer; none where its inputs are not fewer than its outputs.

    Raises:
        ModelError: when the weights are missing or were changed.
    """
    plan = model.plan
    entries = [model.info.members[member] for member in members]
    if plan.task != "segment" or plan.dimensions != 3 or not all(entry.head for entry in entries):
        return []
    from safetensors import SafetensorError, safe_open

    widths = []
    for entry in entries:  # a look at the header first: weights that are not needed are not read and checked
        with suppress(OSError, SafetensorError), safe_open(model.path / entry.weights, framework="numpy") as file:
            widths.append(file.get_slice(f"{entry.head}.weight").get_shape()[1])
    if len(widths) == len(entries) and sum(widths) >= plan.outputs:
        return []
    heads = []
    for member, entry in zip(members, entries, strict=True):
        with safe_open(model.graph(member, ".safetensors"), framework="numpy") as file:
            weight, bias = file.get_tensor(f"{entry.head}.weight"), file.get_tensor(f"{entry.head}.bias")
        heads.append((weight.reshape(weight.shape[:2]).astype(np.float32), bias.astype(np.float32)))
    return heads if sum(weight.shape[1] for weight, _ in heads) < plan.outputs else []
