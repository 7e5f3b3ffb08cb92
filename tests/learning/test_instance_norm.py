"""Osler's instance normalisation is torch's: values and gradients, whichever way it is computed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from osler.learning.networks.base import InstanceNorm


def _both(x, training):
    norm = InstanceNorm(x.shape[1]).train(training)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    results = []
    for compute in (norm, lambda x: functional.instance_norm(x, weight=norm.weight, bias=norm.bias, eps=norm.eps)):
        given = x.clone().requires_grad_()
        norm.zero_grad()
        answer = compute(given)
        answer.backward(torch.linspace(-1, 1, answer.numel()).reshape(answer.shape))
        results.append((answer.detach(), given.grad, norm.weight.grad.clone(), norm.bias.grad.clone()))
    return results


@pytest.mark.parametrize("features", [1, 8, 15, 16, 33])
@pytest.mark.parametrize("shape", [(3, 9, 7), (2, 6, 5, 7), (1, 4, 4, 4)])
@pytest.mark.parametrize("last", [False, True])
def test_values_and_gradients_are_torchs(features, shape, last):
    torch.manual_seed(0)
    x = torch.randn(shape[0], features, *shape[1:]) * 3 + 5
    if last:
        x = x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
    for ours, theirs in zip(*_both(x, training=True), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("features", [8, 32])
def test_a_sample_does_not_depend_on_its_neighbours(features):
    torch.manual_seed(0)
    x = torch.randn(4, features, 6, 5, 7)
    norm = InstanceNorm(features).train()
    torch.testing.assert_close(norm(x)[2:3], norm(x[2:3]), rtol=0, atol=0)


def test_the_layout_stays_channels_last():
    x = torch.randn(2, 32, 6, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    assert InstanceNorm(32).train()(x).is_contiguous(memory_format=torch.channels_last_3d)
