"""Branches beside a network's 3x3 convolutions while it trains, fused into them afterwards.

Mier's recipe (Mobile AI 2021, arXiv 2105.08629), for any network: 1x3 and 3x1 beside each 3x3 (asymmetric convolutions,
Ding et al., arXiv 1908.03930). On ONNX graphs, the pass `reparameterised-conv` does the like while it fine-tunes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AsymmetricConv2d(nn.Module):
    """conv3x3(x) + conv1x3(x) + conv3x1(x), which is one convolution: the kernels add up.

    Starts as `conv` exactly: each weight is shared out evenly among the branches that cover it.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.stride, self.groups = (conv.stride[0], conv.stride[1]), conv.groups
        with torch.no_grad():
            covered = torch.ones(3, 3)
            covered[1, :] += 1
            covered[:, 1] += 1
            share = conv.weight / covered
            self.square = nn.Parameter(share.clone())
            self.row = nn.Parameter(share[:, :, 1:2, :].clone())
            self.column = nn.Parameter(share[:, :, :, 1:2].clone())
            self.bias = nn.Parameter(conv.bias.clone()) if conv.bias is not None else None

    def kernel(self) -> Tensor:
        """The weight of the one convolution."""
        return self.square + F.pad(self.row, (0, 0, 1, 1)) + F.pad(self.column, (1, 1, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias, self.stride, padding=1, groups=self.groups)

    def fused(self) -> nn.Conv2d:
        outputs, inputs = self.square.shape[:2]
        conv = nn.Conv2d(
            inputs * self.groups, outputs, 3, self.stride, 1, groups=self.groups, bias=self.bias is not None
        )
        with torch.no_grad():
            conv.weight.copy_(self.kernel())
            if conv.bias is not None and self.bias is not None:
                conv.bias.copy_(self.bias)
        return conv


def add_branches(network: nn.Module) -> int:
    """Replaces, in place, every 3x3 convolution of padding 1 by one with branches. Returns how many."""

    def widened(module: nn.Module) -> nn.Module | None:
        if type(module) is not nn.Conv2d or module.kernel_size != (3, 3) or module.padding not in (1, (1, 1)):
            return None
        plain = module.dilation == (1, 1) and module.padding_mode == "zeros"
        return AsymmetricConv2d(module) if plain else None

    return _replace(network, widened)


def fuse_branches(network: nn.Module) -> int:
    """Replaces, in place, every convolution with branches by the one that it equals. Returns how many."""
    return _replace(network, lambda module: module.fused() if isinstance(module, AsymmetricConv2d) else None)


def _replace(network: nn.Module, change: Callable[[nn.Module], nn.Module | None]) -> int:
    count = 0
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            changed = change(child)
            if changed is not None:
                setattr(parent, name, changed)
                count += 1
    return count
