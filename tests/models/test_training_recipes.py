"""Training forms of any network: branches that fuse, a super-network that is detached, and a choice by noise range."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphopt.errors import GraphoptError
from graphopt.models.branches import AsymmetricConv2d, add_branches, fuse_branches
from graphopt.models.joint import JointNetwork
from graphopt.models.specialised import NoiseSelector, Specialised, range_of
from graphopt.models.zoo import NETWORKS, build

SMALL: dict[str, dict[str, Any]] = {
    "mier": {"width": 8, "blocks": 1},
    "noahtcv": {"width": 4, "bottom_width": 6},
    "moma": {"widths": (4, 8)},
    "dncnn": {"width": 8, "depth": 3},
    "nafnet-width32": {"width": 4, "encoder_blocks": (1,), "middle_blocks": 0, "decoder_blocks": (1,)},
}


def small(name: str) -> nn.Module:
    torch.manual_seed(2)
    network = build(name, SMALL[name])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def step(network: nn.Module, loss: Any) -> None:
    """One step of Adam, so that weights are no longer those that it started with."""
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    loss().backward()
    optimiser.step()


@pytest.mark.parametrize("name", SMALL)
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


@pytest.mark.parametrize("name", SMALL)
def test_joint_training_reaches_the_trunk_and_leaves_the_network_as_it_was(name: str) -> None:
    network = small(name)
    if name == "mier":  # its last layer is transposed: no convolution of it reads features at full size
        with pytest.raises(GraphoptError, match="expected the size of the image"):
            JointNetwork(network)(torch.rand(1, 3, 16, 16))
        return
    joint = JointNetwork(network, blocks=1, layers=2, growth=4)
    image = torch.rand(2, 3, 15, 13)
    restored, better = joint(image)
    assert restored.shape == better.shape == image.shape
    torch.testing.assert_close(restored, network(image), rtol=0, atol=0)
    better.square().mean().backward()  # the super-network's loss alone trains the trunk
    first = next(iter(network.parameters()))
    assert first.grad is not None
    assert first.grad.abs().max() > 0
    assert all(not module._forward_pre_hooks for module in network.modules())
    assert joint.network is network


def test_joint_training_needs_a_convolution_that_is_there() -> None:
    with pytest.raises(GraphoptError, match="the network has no convolution 'end'"):
        JointNetwork(small("dncnn"), head="end")


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, image: Tensor) -> Tensor:
        return self.factor * image


def test_a_selector_learns_the_noise_and_each_image_takes_its_own_network() -> None:
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(1)
    selector = NoiseSelector(2)
    specialised = Specialised([Times(2.0), Times(3.0)], [20], selector)

    def batch(count: int) -> tuple[Tensor, Tensor]:
        sigma = torch.rand(count, generator=random) * 40
        plain = torch.rand(count, 3, 1, 1, generator=random).expand(-1, -1, 32, 32)
        return plain + torch.randn(plain.shape, generator=random) * sigma[:, None, None, None] / 255, sigma

    optimiser = torch.optim.Adam(selector.parameters(), 1e-2)
    for _ in range(150):
        images, sigma = batch(32)
        loss = nn.functional.cross_entropy(selector(images), range_of(sigma, specialised.bounds))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    images, sigma = batch(64)
    with torch.no_grad():
        chosen = selector(images).argmax(dim=1)
        restored = specialised(images)
    assert (chosen == range_of(sigma, specialised.bounds)).float().mean() > 0.8
    factors = torch.where(chosen == 0, 2.0, 3.0)[:, None, None, None]
    torch.testing.assert_close(restored, images * factors, rtol=0, atol=0)


def test_the_selector_is_tiny() -> None:
    parameters = sum(parameter.numel() for parameter in NoiseSelector(4).parameters())
    with torch.device("meta"):
        smallest = min(sum(p.numel() for p in build(name).parameters()) for name in NETWORKS)
    assert parameters < smallest / 3


@pytest.mark.parametrize("bounds", [[], [10, 20], [float("inf"), 1, 2]])
def test_bounds_that_do_not_fit(bounds: list[float]) -> None:
    with pytest.raises(GraphoptError, match="2 specialised networks need 1 ascending bounds"):
        Specialised([Times(1), Times(2)], bounds, NoiseSelector(2))


def test_a_sigma_on_the_bound_belongs_below() -> None:
    specialised = Specialised([Times(1), Times(2), Times(3)], [10, 30], NoiseSelector(3))
    assert range_of(torch.tensor([0.0, 10.0, 10.1, 30.0, 75.0]), specialised.bounds).tolist() == [0, 0, 1, 1, 2]
