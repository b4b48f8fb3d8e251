"""The lightweight modules of Lahiri et al. (TCSVT 2021, arXiv 2007.05835), for use in DnCNN and U-Net.

Published: LIST, GSAT, and bilinear resize with LIST in place of sub-pixel or strided convolutions. Our reading: GSAT's
norm is a batch norm, and LIST has no activation of its own (that of the convolution which it replaces stays).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from graphopt.models.restoration import conv1, conv3

ConvKind = Literal["plain", "list"]


class ListConv(nn.Module):
    """s = 1x1 to a quarter of the inputs;  [1x1(s), 1x1(depthwise 3x3(s))], each half of the outputs."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        squeezed, half = max(1, inputs // 4), outputs // 2
        self.squeeze = conv1(inputs, squeezed)
        self.point = conv1(squeezed, half)
        self.depthwise = nn.Conv2d(squeezed, squeezed, 3, padding=1, groups=squeezed)
        self.mix = conv1(squeezed, outputs - half)

    def forward(self, x: Tensor) -> Tensor:
        s = self.squeeze(x)
        return torch.cat([self.point(s), self.mix(self.depthwise(s))], dim=1)


class Gsat(nn.Module):
    """relu(x + norm(grouped 1x1(shuffle(grouped dilated 3x3(x)))))."""

    def __init__(self, channels: int, dilation: int, groups: int = 8):
        super().__init__()
        self.grouped = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=groups)
        self.shuffle = nn.ChannelShuffle(groups)
        self.mix = nn.Conv2d(channels, channels, 1, groups=groups)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm(self.mix(self.shuffle(self.grouped(x)))))


class DilatedConv(nn.Module):
    """relu(conv3x3(x), dilated): what GSAT stands in for."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x))


def make_conv(kind: ConvKind, inputs: int, outputs: int) -> nn.Module:
    """A 3x3 convolution, or its LIST module."""
    return ListConv(inputs, outputs) if kind == "list" else conv3(inputs, outputs)
