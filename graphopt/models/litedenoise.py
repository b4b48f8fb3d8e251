"""LiteDenoiseNet (Mobile AI 2026 denoising challenge).

Published: a U-Net of plain 3x3 convolutions and ReLU, widths 16 to 256, nearest upsampling, distilled with a weight of
0.9; 46.1 ms at 1088x1920 on the NPU of a Snapdragon 8 Elite. Our reading: two convolutions a level, 2x2 max-pooling
down, a 3x3 convolution after each upsampling, concatenated skips, a global residual. Its parameter count is not known
to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.restoration import RestorationNet, conv3, resized


@dataclass(frozen=True)
class LiteDenoiseConfig:
    """Channels by level."""

    widths: tuple[Positive, ...] = (16, 32, 64, 128, 256)
    image_channels: Positive = 3

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widths) - 1)


class LiteDenoise(RestorationNet):
    """x + U-Net(x)."""

    def __init__(self, config: LiteDenoiseConfig):
        super().__init__(config)
        widths = config.widths
        pairs = list(pairwise(widths))
        self.encoders = nn.ModuleList(_two(a, b) for a, b in [(config.image_channels, widths[0]), *pairs])
        self.ups = nn.ModuleList(conv3(b, a) for a, b in reversed(pairs))
        self.decoders = nn.ModuleList(_two(2 * a, a) for a, _ in reversed(pairs))
        self.ending = conv3(widths[0], config.image_channels)

    def restore(self, image: Tensor) -> Tensor:
        x = image
        skips = []
        for level, encoder in enumerate(self.encoders):
            x = encoder(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = torch.relu(up(resized(x, mode="nearest")))
            x = decoder(torch.cat([x, skip], dim=1))
        return image + self.ending(x)


def _two(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv3(inputs, outputs), nn.ReLU(), conv3(outputs, outputs), nn.ReLU())
