"""Feature-Align Network (Young et al. 2021, arXiv 2103.01524), for packed Bayer RAW.

Published: an encoder-decoder whose activations a Feature-Align layer modulates with the noisy input, resized to each
level, scale and shift predicted from it; RAW input; 48.28 dB on DND with 263 times fewer MACs than a network of 49.12
dB. Our reading: y * (1 + s) + t with [s, t] from two 3x3 convolutions on the mean-pooled input, in every level of
encoder and decoder; depth, widths, strided 3x3 down, bilinear resize and 3x3 up, concatenated skips. Its widths and
MACs are not known to us.
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
class FeatureAlignNetConfig:
    """Channels by level, and hidden channels of the Feature-Align layers."""

    widths: tuple[Positive, ...] = (16, 32, 64, 128)
    hidden: Positive = 8
    image_channels: Positive = 4

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widths) - 1)


class FeatureAlign(nn.Module):
    """y * (1 + s) + t, with [s, t] = conv(relu(conv(image)))."""

    def __init__(self, channels: int, hidden: int, image_channels: int):
        super().__init__()
        self.modulation = nn.Sequential(conv3(image_channels, hidden), nn.ReLU(), conv3(hidden, 2 * channels))

    def forward(self, y: Tensor, image: Tensor) -> Tensor:
        scale, shift = self.modulation(image).chunk(2, dim=1)
        return y + y * scale + shift


class FeatureAlignNet(RestorationNet):
    """x + U-Net(x), its levels modulated by x."""

    def __init__(self, config: FeatureAlignNetConfig):
        super().__init__(config)
        widths, image = config.widths, config.image_channels
        pairs = list(pairwise(widths))
        self.intro = conv3(image, widths[0])
        self.encoders = nn.ModuleList(_two(width, width) for width in widths)
        self.encoder_aligns = nn.ModuleList(FeatureAlign(width, config.hidden, image) for width in widths)
        self.downs = nn.ModuleList(conv3(a, b, 2) for a, b in pairs)
        self.ups = nn.ModuleList(conv3(b, a) for a, b in reversed(pairs))
        self.decoders = nn.ModuleList(_two(2 * a, a) for a, _ in reversed(pairs))
        self.decoder_aligns = nn.ModuleList(FeatureAlign(a, config.hidden, image) for a, _ in reversed(pairs))
        self.ending = conv3(widths[0], image)

    def restore(self, image: Tensor) -> Tensor:
        levels = range(len(self.config.widths))
        images = [F.avg_pool2d(image, 2**level) if level else image for level in levels]
        x = torch.relu(self.intro(image))
        skips = []
        for level in levels:
            x = self.encoder_aligns[level](self.encoders[level](x), images[level])
            if level < levels[-1]:
                skips.append(x)
                x = torch.relu(self.downs[level](x))
        for step, (up, decoder, align) in enumerate(zip(self.ups, self.decoders, self.decoder_aligns, strict=True)):
            x = torch.cat([torch.relu(up(resized(x))), skips.pop()], dim=1)
            x = align(decoder(x), images[levels[-2 - step]])
        return image + self.ending(x)


def _two(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(conv3(inputs, outputs), nn.ReLU(), conv3(outputs, outputs), nn.ReLU())
