"""NOAHTCV's network, winner of the Mobile AI 2021 denoising challenge (report: arXiv 2105.08629).

Published, and built exactly: a 3x3 convolution to 16 channels; three encoder levels of 16 channels, a residual block
of two conv + ReLU each (32 hidden channels at the lowest), 3x3 convolutions of stride 2 between; transposed 3x3
convolutions of stride 2 up, concatenation, a 3x3 convolution and a residual block; two convolutions at the end; a
global residual. 49,555 parameters, 198 kB in float32, where the file has 209 KB. Our reading: ReLU after every
convolution that leads to a residual block, and between the last two.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.restoration import RestorationNet, conv3, up3


@dataclass(frozen=True)
class NoahTcvConfig:
    """Channels, hidden channels of the lowest residual block, and number of levels."""

    width: Positive = 16
    bottom_width: Positive = 32
    levels: Positive = 3
    image_channels: Positive = 3

    @property
    def stride(self) -> int:
        return 2 ** (self.levels - 1)


class ResidualBlock(nn.Module):
    """x + relu(conv(relu(conv(x))))."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, hidden), conv3(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.relu(self.conv2(torch.relu(self.conv1(x))))


class NoahTcv(RestorationNet):
    """x + U-Net(x) of a constant width."""

    def __init__(self, config: NoahTcvConfig):
        super().__init__(config)
        width, steps = config.width, range(config.levels - 1)
        self.intro = conv3(config.image_channels, width)
        self.encoders = nn.ModuleList(ResidualBlock(width, width) for _ in steps)
        self.downs = nn.ModuleList(conv3(width, width, 2) for _ in steps)
        self.bottom = ResidualBlock(width, config.bottom_width)
        self.ups = nn.ModuleList(up3(width, width) for _ in steps)
        self.joins = nn.ModuleList(conv3(2 * width, width) for _ in steps)
        self.decoders = nn.ModuleList(ResidualBlock(width, width) for _ in steps)
        self.before, self.ending = conv3(width, width), conv3(width, config.image_channels)

    def restore(self, image: Tensor) -> Tensor:
        x = torch.relu(self.intro(image))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = torch.relu(down(x))
        x = self.bottom(x)
        for up, join, decoder, skip in zip(self.ups, self.joins, self.decoders, reversed(skips), strict=True):
            x = decoder(torch.relu(join(torch.cat([torch.relu(up(x)), skip], dim=1))))
        return image + self.ending(torch.relu(self.before(x)))
