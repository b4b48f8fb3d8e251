"""ENERZAi's two networks of the Mobile AI 2021 denoising challenge (report: arXiv 2105.08629).

Published: a shallow U-Net (81 KB), trained together with a super-network of residual dense blocks on its trunk, which
is detached later (`graphopt.models.joint`); a shallow U-Net with a dense block in its bottleneck and PReLU (118 KB),
distilled. Our reading: float32, one downsampling, two convolutions a level, strided 3x3 down, bilinear resize and 3x3
up, concatenated skips, a global residual; the widths, the same for both, are chosen so that the parameters fill the
files.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from graphopt.config.keys import Count, Positive
from graphopt.models.restoration import RestorationNet, conv1, conv3, resized


@dataclass(frozen=True)
class EnerzaiConfig:
    """Channels by level; layers of the dense block in the bottleneck (0: two convolutions), and what each adds."""

    widths: tuple[Positive, ...] = (16, 24)
    dense_layers: Count = 0
    growth: Positive = 12
    activation: Literal["relu", "prelu"] = "relu"
    image_channels: Positive = 3

    @property
    def stride(self) -> int:
        return 2 ** (len(self.widths) - 1)


class DenseBlock(nn.Module):
    """x + conv1x1([x, f1, f2, ...]), with f_i = act(conv3x3([x, f1, ..., f_{i-1}]))."""

    def __init__(self, channels: int, layers: int, growth: int, activation: str = "relu"):
        super().__init__()
        self.convs = nn.ModuleList(conv3(channels + i * growth, growth) for i in range(layers))
        self.acts = nn.ModuleList(_activation(activation, growth) for _ in range(layers))
        self.join = conv1(channels + layers * growth, channels)

    def forward(self, x: Tensor) -> Tensor:
        found = x
        for conv, act in zip(self.convs, self.acts, strict=True):
            found = torch.cat([found, act(conv(found))], dim=1)
        joined: Tensor = self.join(found)
        return x + joined


class Enerzai(RestorationNet):
    """x + U-Net(x)."""

    def __init__(self, config: EnerzaiConfig):
        super().__init__(config)
        widths, kind = config.widths, config.activation
        pairs = list(pairwise(widths))
        self.intro = _conv(config.image_channels, widths[0], kind)
        self.encoders = nn.ModuleList(_conv(width, width, kind) for width in widths[:-1])
        self.downs = nn.ModuleList(_conv(a, b, kind, 2) for a, b in pairs)
        dense = config.dense_layers > 0
        self.bottom = (
            DenseBlock(widths[-1], config.dense_layers, config.growth, kind)
            if dense
            else _conv(widths[-1], widths[-1], kind)
        )
        self.ups = nn.ModuleList(_conv(b, a, kind) for a, b in reversed(pairs))
        self.decoders = nn.ModuleList(_conv(2 * a, a, kind) for a, _ in reversed(pairs))
        self.ending = conv3(widths[0], config.image_channels)

    def restore(self, image: Tensor) -> Tensor:
        x = self.intro(image)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for up, decoder, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
            x = decoder(torch.cat([up(resized(x)), skip], dim=1))
        return image + self.ending(x)


def _activation(kind: str, channels: int) -> nn.Module:
    return nn.PReLU(channels) if kind == "prelu" else nn.ReLU()


def _conv(inputs: int, outputs: int, activation: str, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv3(inputs, outputs, stride), _activation(activation, outputs))
