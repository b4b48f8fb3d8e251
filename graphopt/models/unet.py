"""U-Net with a dilated bottleneck, and its form of Lahiri et al. (TCSVT 2021, arXiv 2007.05835).

Published: LIST in place of 3x3 convolutions, GSAT in place of dilated ones, bilinear resize then LIST in place of
strided and transposed convolutions. Their U-Net's depth and widths are not known to us: ours are the usual ones, two
convolutions a level, and two dilated ones at the bottom.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.lahiri import ConvKind, DilatedConv, Gsat, make_conv
from graphopt.models.restoration import RestorationNet, conv3, resized, up3


@dataclass(frozen=True)
class UNetConfig:
    """Channels by level. `list` uses LIST and GSAT modules and bilinear resizing; `plain` convolutions alone."""

    widths: tuple[Positive, ...] = (32, 64, 128, 256)
    dilations: tuple[Positive, ...] = (2, 4)
    conv: ConvKind = "plain"
    image_channels: Positive = 3

    def __post_init__(self) -> None:
        if self.conv == "list" and self.widths[-1] % 8:
            raise ValueError("'widths': with conv: list, the last must be a multiple of 8, the groups of GSAT")

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widths) - 1)


class UNet(RestorationNet):
    """x + U-Net(x); skips are concatenated."""

    def __init__(self, config: UNetConfig):
        super().__init__(config)
        kind, widths = config.conv, config.widths
        pairs = list(pairwise(widths))
        self.is_light = kind == "list"
        self.intro = conv3(config.image_channels, widths[0])
        self.encoders = nn.ModuleList(_two(kind, width, width) for width in widths[:-1])
        self.downs = nn.ModuleList(make_conv(kind, a, b) if self.is_light else conv3(a, b, 2) for a, b in pairs)
        bottom = Gsat if self.is_light else DilatedConv
        self.bottom = nn.Sequential(*(bottom(widths[-1], dilation) for dilation in config.dilations))
        self.ups = nn.ModuleList(make_conv(kind, b, a) if self.is_light else up3(b, a) for a, b in reversed(pairs))
        self.decoders = nn.ModuleList(_two(kind, 2 * width, width) for width in reversed(widths[:-1]))
        self.ending = conv3(widths[0], config.image_channels)

    def restore(self, image: Tensor) -> Tensor:
        x = torch.relu(self.intro(image))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = torch.relu(down(resized(x, 0.5) if self.is_light else x))
        x = self.bottom(x)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            x = torch.relu(up(resized(x) if self.is_light else x))
            x = decoder(torch.cat([x, skip], dim=1))
        return image + self.ending(x)


def _two(kind: ConvKind, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(make_conv(kind, inputs, outputs), nn.ReLU(), make_conv(kind, outputs, outputs), nn.ReLU())
