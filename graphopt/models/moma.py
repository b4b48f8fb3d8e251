"""MOMA's "UnetS" of the Mobile AI 2021 denoising challenge (report: arXiv 2105.08629).

Published: a U-Net of separable convolutions with max-pooling and upsampling, whose filters and channels a search chose;
1404 KB. Our reading: float32, separable = depthwise 3x3 then 1x1, two a level, bilinear upsampling, concatenated skips,
a global residual; what the search chose is not public: widths double by level, and fill the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.restoration import RestorationNet, conv1, conv3, resized


@dataclass(frozen=True)
class MomaConfig:
    """Channels by level."""

    widths: tuple[Positive, ...] = (24, 48, 96, 192, 208)
    image_channels: Positive = 3

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widths) - 1)


class Moma(RestorationNet):
    """x + U-Net(x)."""

    def __init__(self, config: MomaConfig):
        super().__init__(config)
        widths = config.widths
        self.intro = conv3(config.image_channels, widths[0])
        inputs = (widths[0], *widths)
        self.encoders = nn.ModuleList(_two(a, b) for a, b in zip(inputs, widths, strict=False))
        pairs = list(pairwise(widths))
        self.decoders = nn.ModuleList(_two(a + b, a) for a, b in reversed(pairs))
        self.ending = conv3(widths[0], config.image_channels)

    def restore(self, image: Tensor) -> Tensor:
        x = torch.relu(self.intro(image))
        skips = []
        for level, encoder in enumerate(self.encoders):
            x = encoder(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for decoder, skip in zip(self.decoders, reversed(skips), strict=True):
            x = decoder(torch.cat([resized(x), skip], dim=1))
        return image + self.ending(x)


def _two(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(*_separable(inputs, outputs), *_separable(outputs, outputs))


def _separable(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs), conv1(inputs, outputs), nn.ReLU()]
