"""Megvii's network, second in the Mobile AI 2021 denoising challenge (report: arXiv 2105.08629).

Published: a light U-Net of 3x3 convolutions alone, channels in multiples of 8, no residual blocks; a decoder module is
a convolution whose result is split in two groups, with a convolution of half the channels each; 14276 KB. Our reading:
float32, five levels, ReLU, strided 3x3 down, nearest resize and 3x3 up, concatenated skips, a global residual; the
widths and the number of convolutions are chosen so that the parameters fill the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.restoration import RestorationNet, conv3, resized


@dataclass(frozen=True)
class MegviiConfig:
    """Channels by level, and convolutions of each encoder level and of the bottom."""

    widths: tuple[Positive, ...] = (16, 32, 64, 128, 256)
    convolutions: Positive = 2
    bottom_convolutions: Positive = 4
    image_channels: Positive = 3

    def __post_init__(self) -> None:
        if any(width % 2 for width in self.widths):
            raise ValueError("'widths': expected even numbers, which split in two")

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widths) - 1)


class SplitDecoder(nn.Module):
    """y = relu(conv(x));  relu([conv(first half of y), conv(second half of y)])."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = conv3(inputs, outputs)
        self.first, self.second = conv3(outputs // 2, outputs // 2), conv3(outputs // 2, outputs // 2)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.relu(self.conv(x)).chunk(2, dim=1)
        return torch.relu(torch.cat([self.first(first), self.second(second)], dim=1))


class Megvii(RestorationNet):
    """x + U-Net(x)."""

    def __init__(self, config: MegviiConfig):
        super().__init__(config)
        widths = config.widths
        pairs = list(pairwise(widths))
        self.encoders = nn.ModuleList()
        inputs = config.image_channels
        for width in widths[:-1]:
            self.encoders.append(_convolutions(inputs, width, config.convolutions))
            inputs = width
        self.downs = nn.ModuleList(conv3(a, a, 2) for a, _ in pairs)
        self.bottom = _convolutions(inputs, widths[-1], config.bottom_convolutions)
        self.ups = nn.ModuleList(conv3(b, a) for a, b in reversed(pairs))
        self.decoders = nn.ModuleList(SplitDecoder(2 * a, a) for a, _ in reversed(pairs))
        self.ending = conv3(widths[0], config.image_channels)

    def restore(self, image: Tensor) -> Tensor:
        x = image
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = torch.relu(down(x))
        x = self.bottom(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = torch.relu(up(resized(x, mode="nearest")))
            x = decoder(torch.cat([x, skip], dim=1))
        return image + self.ending(x)


def _convolutions(inputs: int, outputs: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for position in range(count):
        layers += [conv3(outputs if position else inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers)
