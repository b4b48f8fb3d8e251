"""A network like MFDNet (Liu et al. 2022, arXiv 2211.04687).

Published: Haar transforms down to a quarter of the size, RepConv blocks whose branches merge into one 3x3, attention at
a quarter of the resolution. This is the merged form; `graphopt.models.branches` gives any network its branches. Our
reading of everything else: residual blocks of two 3x3 convolutions, attention = sigmoid(conv(relu(conv(pool 4x4)))),
resized back; the inverse Haar transform up; a global residual. Its widths, depth and MACs are not known to us.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.mier import PlainResidualBlock
from graphopt.models.restoration import RestorationNet, conv3, resized


@dataclass(frozen=True)
class MfdConfig:
    """Channels, number of blocks, and Haar transforms (each halves height and width)."""

    width: Positive = 64
    blocks: Positive = 6
    transforms: Positive = 2
    image_channels: Positive = 3

    @property
    def stride(self) -> int:
        return 4 * 2**self.transforms  # the attention pools by 4 once more


class Haar(nn.Module):
    """(N, C, 2H, 2W) -> (N, 4C, H, W), orthonormal: a grouped convolution of fixed weights; and back."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        signs = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]])
        self.register_buffer("kernel", (signs / 2).float()[:, None].repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.get_buffer("kernel"), stride=2, groups=self.channels)

    def inverse(self, x: Tensor) -> Tensor:
        """As a 1x1 convolution and PixelShuffle: NPUs refuse transposed convolutions in groups."""
        mix = self.get_buffer("kernel").reshape(self.channels, 4, 4).transpose(1, 2).reshape(-1, 4, 1, 1)
        return F.pixel_shuffle(F.conv2d(x, mix, groups=self.channels), 2)


class MobileAttention(nn.Module):
    """x * sigmoid(conv(relu(conv(mean of 4x4)))), resized back."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, channels // 4), conv3(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        small = self.conv2(torch.relu(self.conv1(F.avg_pool2d(x, 4))))
        return x * resized(torch.sigmoid(small), 4)


class Mfd(RestorationNet):
    """x + haar^-1(conv(blocks(conv(haar(x)))))."""

    def __init__(self, config: MfdConfig):
        super().__init__(config)
        channels = [config.image_channels * 4**i for i in range(config.transforms + 1)]
        self.haars = nn.ModuleList(Haar(count) for count in channels[:-1])
        self.intro = conv3(channels[-1], config.width)
        self.blocks = nn.ModuleList(PlainResidualBlock(config.width) for _ in range(config.blocks))
        self.attentions = nn.ModuleList(MobileAttention(config.width) for _ in range(config.blocks))
        self.ending = conv3(config.width, channels[-1])

    def restore(self, image: Tensor) -> Tensor:
        x = image
        for haar in self.haars:
            x = haar(x)
        x = self.intro(x)
        for block, attention in zip(self.blocks, self.attentions, strict=True):
            x = attention(block(x))
        x = self.ending(x)
        for haar in reversed(self.haars):
            assert isinstance(haar, Haar)
            x = haar.inverse(x)
        return image + x
