"""Distillation: a student learns from the answers of trained networks and from the labels (Hinton et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional

from osler.datasets.plan import Plan
from osler.learning.methods.supervised import Supervised
from osler.learning.networks import Network
from osler.learning.optimisation import AveragedWeights
from osler.learning.tasks import Task

__all__ = ["Distilled", "soft_loss"]

_TEMPERATURE = 2.0
_SOFT_SHARE = 0.5


class Distilled(Supervised):
    """Supervised learning whose loss is half that of the labels and half the distance to the teachers' answers.

    Not on the list of methods: it needs teachers, which a plan does not name.

    Args:
        plan: of the student.
        task: its loss and score.
        teachers: trained networks of the same inputs and outputs; their logits are averaged, as in prediction.
        weights: of the student, to start from.
    """

    def __init__(self, plan: Plan, task: Task, *, teachers: Sequence[Network], weights: Mapping[str, Tensor]) -> None:
        super().__init__(plan, task)
        self.teachers = [teacher.eval().requires_grad_(requires_grad=False) for teacher in teachers]
        network = self.modules["network"]
        network.load_state_dict(weights)
        if self.average is not None:
            self.average = AveragedWeights(network, plan.optimiser.ema)

    def setup(self, fabric: Fabric) -> None:
        """The teachers move along; they are not trained."""
        super().setup(fabric)
        layout = torch.channels_last if self.plan.dimensions == 2 else torch.channels_last_3d
        for teacher in self.teachers:
            teacher.to(fabric.device)
            if self.plan.channels_last:
                teacher.to(memory_format=layout)  # type: ignore[call-overload]

    def loss(self, image: Tensor, answer: Tensor) -> Tensor:
        """Of one augmented batch."""
        assert self.fabric is not None  # the trainer calls setup first
        outputs = self.modules["network"]({"image": image})
        with torch.no_grad(), self.fabric.autocast():
            answers = [teacher({"image": image})["logits"].float() for teacher in self.teachers]
        taught = torch.stack(answers).mean(dim=0)
        hard = self.task.loss(outputs, answer)
        return (1 - _SOFT_SHARE) * hard + _SOFT_SHARE * soft_loss(outputs["logits"], taught, self.plan)


def soft_loss(logits: Tensor, taught: Tensor, plan: Plan) -> Tensor:
    """How far a student's answers are from the teachers', averaged over cases (and voxels).

    One of several classes: the Kullback–Leibler divergence of the softened probabilities times the temperature squared,
    so that its gradients keep the size of those of the labels. Independent outputs: the same of each. A number: the
    squared error.

    Args:
        logits: (B, outputs[, \\*S]) of the student.
        taught: the same of the teachers.
        plan: its task and regions.
    """
    if plan.task == "regress":
        return functional.mse_loss(logits.float(), taught)
    student, teacher = logits.float() / _TEMPERATURE, taught / _TEMPERATURE
    if plan.task in ("multilabel", "ordinal") or plan.regions:
        wanted = torch.sigmoid(teacher)
        given = functional.binary_cross_entropy_with_logits(student, wanted)
        least = functional.binary_cross_entropy_with_logits(teacher, wanted)
        return (given - least) * _TEMPERATURE**2
    wanted = torch.log_softmax(teacher, dim=1)
    each = functional.kl_div(torch.log_softmax(student, dim=1), wanted, reduction="none", log_target=True)
    return each.sum(dim=1).mean() * _TEMPERATURE**2
