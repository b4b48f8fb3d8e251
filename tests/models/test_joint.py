"""Joint training: the super-network behind the trunk trains it, and leaves no trace."""

from __future__ import annotations

import pytest
import torch
from small_networks import small

from graphopt.errors import GraphoptError
from graphopt.models.joint import JointNetwork

RECIPES = ["mier", "noahtcv", "moma", "dncnn", "nafnet-width32"]


@pytest.mark.parametrize("name", RECIPES)
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
