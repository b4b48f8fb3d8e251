"""Mier's network of the Mobile AI 2021 denoising challenge (report: arXiv 2105.08629).

Published: two convolutions of stride 2, four residual blocks, two deconvolutions; asymmetric convolutions (1x3 and 3x1
beside 3x3) in training, fused afterwards; Charbonnier loss; 1528 KB. This is the fused form; `graphopt.models.branches`
gives it (or any network) its branches, and fuses them. Our reading: float32, 64 channels throughout (373 k parameters,
2 % below the file), ReLU, 3x3 deconvolutions, a global residual.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.restoration import RestorationNet, conv3, up3


@dataclass(frozen=True)
class MierConfig:
    """Channels, and number of residual blocks."""

    width: Positive = 64
    blocks: Positive = 4
    image_channels: Positive = 3

    @property
    def stride(self) -> int:
        return 4


class PlainResidualBlock(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, channels), conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(torch.relu(self.conv1(x)))
        return x + y


class Mier(RestorationNet):
    """x + up(up(blocks(down(down(x)))))."""

    def __init__(self, config: MierConfig):
        super().__init__(config)
        width = config.width
        self.downs = nn.Sequential(conv3(config.image_channels, width, 2), nn.ReLU(), conv3(width, width, 2), nn.ReLU())
        self.blocks = nn.Sequential(*(PlainResidualBlock(width) for _ in range(config.blocks)))
        self.ups = nn.Sequential(up3(width, width), nn.ReLU(), up3(width, config.image_channels))

    def restore(self, image: Tensor) -> Tensor:
        residual: Tensor = self.ups(self.blocks(self.downs(image)))
        return image + residual
