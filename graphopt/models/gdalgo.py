"""GdAlgo's "GAU-net" of the Mobile AI 2021 denoising challenge (report: arXiv 2105.08629).

Published: a multi-stage U-Net with channel attention blocks in place of convolutions; 18288 KB, 5019 ms. Our reading:
float32, two stages, blocks as in MPRNet (Zamir et al., arXiv 2102.02808): x + CA(conv(relu(conv(x)))), two at each of
four levels; each stage adds to the noisy image, and the second also reads the first one's result; widths fill the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.restoration import RestorationNet, conv1, conv3, resized


@dataclass(frozen=True)
class GdAlgoConfig:
    """Stages, channels by level, and channel attention blocks a level."""

    stages: Positive = 2
    widths: tuple[Positive, ...] = (36, 72, 104, 144)
    blocks: Positive = 2
    reduction: Positive = 4
    image_channels: Positive = 3

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widths) - 1)


class AttentionBlock(nn.Module):
    """x + y * sigmoid(conv1x1(relu(conv1x1(pool y)))), with y = conv(relu(conv(x)))."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        self.conv1, self.conv2 = conv3(channels, channels), conv3(channels, channels)
        few = max(1, channels // reduction)
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv1(channels, few), nn.ReLU(), conv1(few, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(torch.relu(self.conv1(x)))
        attended: Tensor = y * self.attention(y)
        return x + attended


class Stage(nn.Module):
    """A U-Net of attention blocks; strided 3x3 down, bilinear resize and 1x1 up, added skips."""

    def __init__(self, inputs: int, config: GdAlgoConfig):
        super().__init__()
        widths = config.widths
        pairs = list(pairwise(widths))

        def blocks(width: int) -> nn.Sequential:
            return nn.Sequential(*(AttentionBlock(width, config.reduction) for _ in range(config.blocks)))

        self.intro = conv3(inputs, widths[0])
        self.encoders = nn.ModuleList(blocks(width) for width in widths[:-1])
        self.downs = nn.ModuleList(conv3(a, b, 2) for a, b in pairs)
        self.bottom = blocks(widths[-1])
        self.ups = nn.ModuleList(conv1(b, a) for a, b in reversed(pairs))
        self.decoders = nn.ModuleList(blocks(width) for width in reversed(widths[:-1]))
        self.ending = conv3(widths[0], config.image_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.intro(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = decoder(up(resized(x)) + skip)
        found: Tensor = self.ending(x)
        return found


class GdAlgo(RestorationNet):
    """x + stage([x, x + stage(x)])."""

    def __init__(self, config: GdAlgoConfig):
        super().__init__(config)
        image = config.image_channels
        self.stages = nn.ModuleList(Stage(2 * image if i else image, config) for i in range(config.stages))

    def restore(self, image: Tensor) -> Tensor:
        restored = image
        for position, stage in enumerate(self.stages):
            restored = image + stage(torch.cat([image, restored], dim=1) if position else image)
        return restored
