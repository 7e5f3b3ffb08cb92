"""Losses against MONAI, torch and hand-computed cases."""

from __future__ import annotations

import pytest
import torch

from osler.datasets.plan import LossPlan
from osler.errors import Unknown
from osler.learning import losses


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_dice_equals_monais_batch_dice_without_background(random: torch.Generator) -> None:
    from monai.losses.dice import DiceLoss

    logits = torch.randn(2, 4, 6, 7, generator=random)
    answer = torch.randint(0, 4, (2, 6, 7), generator=random)
    theirs = DiceLoss(
        include_background=False, softmax=True, to_onehot_y=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5
    )(logits, answer[:, None])
    assert float(losses.dice(logits, answer)) == pytest.approx(float(theirs), abs=1e-6)


def test_dice_of_each_sample_equals_monais_where_every_class_is_held(random: torch.Generator) -> None:
    from monai.losses.dice import DiceLoss

    logits = torch.randn(2, 4, 6, 7, generator=random)
    answer = torch.randint(0, 4, (2, 6, 7), generator=random)
    theirs = DiceLoss(include_background=False, softmax=True, to_onehot_y=True, smooth_nr=1e-5, smooth_dr=1e-5)
    assert float(losses.dice(logits, answer, each=True)) == pytest.approx(
        float(theirs(logits, answer[:, None])), abs=1e-6
    )


def test_dice_of_each_sample_leaves_out_what_a_sample_does_not_hold(random: torch.Generator) -> None:
    logits = torch.randn(2, 2, 6, 7, generator=random)
    answer = torch.randint(0, 2, (2, 6, 7), generator=random)
    answer[1] = 0
    alone = losses.dice(logits[:1], answer[:1], each=True)
    assert float(losses.dice(logits, answer, each=True)) == pytest.approx(float(alone))
    assert float(losses.dice(logits[1:], answer[1:], each=True)) == 0.0


def test_focal_equals_monais(random: torch.Generator) -> None:
    from monai.losses.focal_loss import FocalLoss

    logits, answer = torch.randn(5, 3, generator=random), torch.randint(0, 3, (5,), generator=random)
    theirs = FocalLoss(use_softmax=True, gamma=2.0, to_onehot_y=True)(logits, answer[:, None])
    ours = losses.focal(logits, answer, LossPlan(name="focal"))
    assert float(ours) == pytest.approx(3 * float(theirs), rel=1e-5)  # MONAI averages over the classes too


def test_focal_of_probabilities_equals_focal_of_indices_when_they_are_certain(random: torch.Generator) -> None:
    logits, answer = torch.randn(5, 3, generator=random), torch.randint(0, 3, (5,), generator=random)
    soft = torch.nn.functional.one_hot(answer, 3).float()
    plan = LossPlan(name="focal", class_weights=(1.0, 2.0, 3.0))
    assert float(losses.focal(logits, soft, plan)) == pytest.approx(float(losses.focal(logits, answer, plan)), rel=1e-5)


def test_an_unknown_label_does_not_count() -> None:
    logits = torch.tensor([[2.0, -1.0]])
    plan = LossPlan(name="binary_cross_entropy")
    ours = losses.binary_cross_entropy(logits, torch.tensor([[1.0, float("nan")]]), plan)
    assert float(ours) == pytest.approx(float(torch.log1p(torch.exp(torch.tensor(-2.0)))))


def test_no_known_label_at_all_gives_zero_and_not_nan() -> None:
    plan = LossPlan(name="binary_cross_entropy")
    assert float(losses.binary_cross_entropy(torch.ones(1, 2), torch.full((1, 2), float("nan")), plan)) == 0.0


def test_a_batch_without_foreground_has_a_finite_loss_and_gradient() -> None:
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    loss = losses.dice_cross_entropy(logits, torch.zeros(1, 4, 4, dtype=torch.long), LossPlan(name="dice"))
    loss.backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())


def test_regression_losses_by_hand() -> None:
    plan = LossPlan(name="x")
    logits, answer = torch.tensor([[0.5], [3.0]]), torch.zeros(2, 1)
    assert float(losses.mean_squared(logits, answer, plan)) == pytest.approx((0.25 + 9) / 2)
    assert float(losses.huber(logits, answer, plan)) == pytest.approx((0.125 + 2.5) / 2)


def test_an_unknown_loss_is_answered_with_the_list() -> None:
    with pytest.raises(Unknown, match="choose one of cross_entropy"):
        losses.make_loss(LossPlan(name="hinge"))
