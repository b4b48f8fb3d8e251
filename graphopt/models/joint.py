"""Joint training with a super-network that is detached later (ENERZAi, Mobile AI 2021, arXiv 2105.08629).

Published: residual dense blocks on top of the shared trunk, trained together with the small network. Our reading: the
trunk is all that comes before a network's last convolution, at full size; the blocks are those of RDN (Zhang et al.,
arXiv 1802.08797); the super-network's result is a correction of the small network's.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from graphopt.errors import GraphoptError
from graphopt.models.enerzai import DenseBlock
from graphopt.models.restoration import conv3


class JointNetwork(nn.Module):
    """(N, C, H, W) -> (small network's result, super-network's result). `network` is the small one: it is detached
    by being taken out, and nothing in it was changed.

    `head` names its last convolution, which must read features at the size of the image.
    """

    def __init__(self, network: nn.Module, blocks: int = 2, layers: int = 4, growth: int = 16, head: str | None = None):
        super().__init__()
        convolutions = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]
        self.head = head or ("ending" if "ending" in convolutions else convolutions[-1])
        if self.head not in convolutions:
            raise GraphoptError(f"joint training: the network has no convolution '{self.head}'")
        last = network.get_submodule(self.head)
        assert isinstance(last, nn.Conv2d)
        self.network = network
        dense: Sequence[nn.Module] = [DenseBlock(last.in_channels, layers, growth) for _ in range(blocks)]
        self.blocks = nn.Sequential(*dense, conv3(last.in_channels, last.out_channels))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features: list[Tensor] = []
        handle = self.network.get_submodule(self.head).register_forward_pre_hook(
            lambda module, inputs: features.append(inputs[0])
        )
        try:
            restored = self.network(image)
        finally:
            handle.remove()
        correction = self.blocks(features[-1])[..., : restored.shape[-2], : restored.shape[-1]]
        if correction.shape != restored.shape:
            raise GraphoptError(
                f"joint training: convolution '{self.head}' reads features of {tuple(features[-1].shape[-2:])}; "
                f"expected the size of the image, {tuple(restored.shape[-2:])}"
            )
        return restored, restored + correction
