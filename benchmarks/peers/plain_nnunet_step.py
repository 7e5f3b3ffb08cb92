"""MODEL BATCH: seconds of one step of nnU-Net's architecture, loss and optimiser in plain torch, eager float32.

MODEL is the converted nnU-Net, of which the architecture is taken. Deep supervision at three scales, Dice of the batch
plus cross-entropy, SGD with Nesterov momentum 0.99, gradients clipped at 12, as nnU-Net v2 trains on a processor.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional

from osler.learning.networks import build_network
from osler.learning.networks.base import InstanceNorm
from osler.models.folder import Model

STEPS = 2 if "--quick" in sys.argv else 5
SCALES = ("logits", "deep_1", "deep_2")
WEIGHTS = (4 / 7, 2 / 7, 1 / 7)


def with_torchs_norms(network: nn.Module) -> nn.Module:
    """Osler trains with an instance normalisation of its own; nnU-Net with torch's."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, InstanceNorm):
                setattr(module, name, nn.InstanceNorm3d(len(child.weight), eps=1e-5, affine=True))
    return network


def loss_of(logits: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and the soft Dice of the foreground over the batch."""
    p = torch.softmax(logits, 1)
    truth = torch.zeros_like(p).scatter_(1, answer[:, None], 1.0)
    axes = (0, 2, 3, 4)
    overlap, total = (p * truth).sum(axes)[1:], (p + truth).sum(axes)[1:]
    return functional.cross_entropy(logits, answer) - ((2 * overlap + 1e-5) / (total + 1e-5)).mean()


if __name__ == "__main__":
    torch.set_num_threads(2)
    torch.manual_seed(0)
    plan = Model.open(sys.argv[1]).plan
    deep = plan.network.model_copy(update={"deep_supervision": True})
    network = with_torchs_norms(build_network(plan.model_copy(update={"network": deep}))).train()
    optimiser = torch.optim.SGD(network.parameters(), 1e-2, momentum=0.99, weight_decay=3e-5, nesterov=True)
    image = torch.randn(int(sys.argv[2]), plan.inputs, *plan.patch)
    answer = torch.randint(0, plan.outputs, (len(image), *plan.patch))
    answers = [answer[:, :: 2**n, :: 2**n, :: 2**n] for n in range(len(SCALES))]

    def step() -> float:
        """Seconds of it."""
        begun = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        outputs = network({"image": image})
        losses = [w * loss_of(outputs[name], a) for name, w, a in zip(SCALES, WEIGHTS, answers, strict=True)]
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 12)
        optimiser.step()
        return time.perf_counter() - begun

    step()
    print(json.dumps({"seconds": statistics.median(step() for _ in range(STEPS))}))
