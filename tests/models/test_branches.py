"""Branches start as the network, train, and fuse into one convolution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_networks import small
from torch import nn

from graphopt.models.branches import AsymmetricConv2d, add_branches, fuse_branches

RECIPES = ["mier", "noahtcv", "moma", "dncnn", "nafnet-width32"]


def step(network: nn.Module, loss: Any) -> None:
    """One step of Adam, so that weights are no longer those that it started with."""
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    loss().backward()
    optimiser.step()


@pytest.mark.parametrize("name", RECIPES)
def test_branches_start_as_the_network_train_and_fuse_into_one_convolution(name: str) -> None:
    network = small(name)
    keys, image = network.state_dict().keys(), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        before = network(image)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    added = add_branches(network)
    assert added == sum(isinstance(module, AsymmetricConv2d) for module in network.modules()) > 0
    assert sum(parameter.numel() for parameter in network.parameters()) > parameters
    torch.testing.assert_close(network(image), before, rtol=0, atol=1e-5)
    step(network, lambda: network(image).square().mean())
    with torch.no_grad():
        trained = network(image)
    assert (trained - before).abs().max() > 1e-4
    assert fuse_branches(network) == added
    assert network.state_dict().keys() == keys
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    with torch.no_grad():
        torch.testing.assert_close(network(image), trained, rtol=0, atol=1e-5)


def test_the_branches_are_what_they_say() -> None:
    torch.manual_seed(0)
    module = AsymmetricConv2d(nn.Conv2d(4, 6, 3, 2, padding=1, groups=2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    x = torch.randn(1, 4, 9, 8)
    apart = (
        torch.conv2d(x, module.square, module.bias, 2, (1, 1), groups=2)
        + torch.conv2d(x, module.row, None, 2, (0, 1), groups=2)
        + torch.conv2d(x, module.column, None, 2, (1, 0), groups=2)
    )
    torch.testing.assert_close(module(x), apart, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(module.fused()(x), apart, rtol=1e-5, atol=1e-5)


def test_convolutions_that_have_no_room_for_branches_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 3, 1),
        nn.Conv2d(3, 3, 3),
        nn.Conv2d(3, 3, 3, padding=2, dilation=2),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"),
    )
    assert add_branches(network) == 0
