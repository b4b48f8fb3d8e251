"""SwinIR for denoising (Liang et al. 2021, arXiv 2108.10257), to count its MACs.

Published and built as such: a 3x3 convolution to the embedding; groups of Swin layers, windows of 8, every second one
shifted by 4, relative position bias, MLP ratio 2, a 3x3 convolution and a residual around each group; norm, 3x3
convolution, residual; a 3x3 convolution and a global residual. The published denoiser has embedding 180, six groups of
six layers, six heads (11.5 M parameters); the default is the size of their lightweight network (60, four groups). Our
differences: zero padding, and weights are not loaded from their files.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.restoration import RestorationNet, conv3


@dataclass(frozen=True)
class SwinIRConfig:
    """Embedding, layers of each group, heads, window."""

    embedding: Positive = 60
    depths: tuple[Positive, ...] = (6, 6, 6, 6)
    heads: Positive = 6
    window: Positive = 8
    mlp_ratio: Positive = 2
    image_channels: Positive = 3

    def __post_init__(self) -> None:
        if self.embedding % self.heads or self.window % 2:
            raise ValueError("'heads' must divide 'embedding', and 'window' be even")

    @property
    def stride(self) -> int:
        return self.window


class WindowAttention(nn.Module):
    """softmax(q k / sqrt(d) + position bias + mask) v within windows; x is (N, H, W, C), rolled by `shift`.

    The mask is that of `roll_mask` where `shift` is not 0; one of a network serves all its layers.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        places = torch.stack([rows.flatten(), columns.flatten()])
        offset = places[:, :, None] - places[:, None, :] + window - 1
        self.register_buffer("offset", offset[0] * (2 * window - 1) + offset[1], persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        size, heads = self.window, self.heads
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        grid = height // size, width // size
        x = x.reshape(-1, grid[0], size, grid[1], size, channels).transpose(2, 3).reshape(-1, size**2, channels)
        q, k, v = self.qkv(x).reshape(-1, size**2, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        scores = q * (channels // heads) ** -0.5 @ k.transpose(2, 3)
        position = self.bias_table[self.get_buffer("offset").flatten()].reshape(size**2, size**2, heads)
        scores = scores + position.permute(2, 0, 1)
        if self.shift:
            windows = len(mask)
            scores = (scores.reshape(-1, windows, heads, size**2, size**2) + mask[:, None]).flatten(0, 1)
        x = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, size**2, channels))
        x = x.reshape(-1, grid[0], grid[1], size, size, channels).transpose(2, 3).reshape(-1, height, width, channels)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


def roll_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """(windows, window^2, window^2): -100 between pixels that only the roll brought together."""
    regions = []
    for extent in (height, width):
        line = torch.zeros(extent)
        line[-window:-shift] = 1
        line[-shift:] = 2
        regions.append(line)
    area = regions[0][:, None] * 3 + regions[1]
    area = area.reshape(height // window, window, width // window, window).transpose(1, 2).reshape(-1, window**2)
    return (area[:, :, None] != area[:, None, :]) * -100.0


class SwinLayer(nn.Module):
    """x = x + attention(norm(x));  x + mlp(norm(x))."""

    def __init__(self, config: SwinIRConfig, shift: int):
        super().__init__()
        channels = config.embedding
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, config.heads, config.window, shift)
        self.fc1 = nn.Linear(channels, config.mlp_ratio * channels)
        self.fc2 = nn.Linear(config.mlp_ratio * channels, channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), mask)
        fed: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return x + fed


class SwinGroup(nn.Module):
    """x + conv3x3(layers(x)), for x of (N, C, H, W)."""

    def __init__(self, config: SwinIRConfig, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(SwinLayer(config, config.window // 2 * (i % 2)) for i in range(depth))
        self.conv = conv3(config.embedding, config.embedding)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)
        for layer in self.layers:
            y = layer(y, mask)
        found: Tensor = self.conv(y.permute(0, 3, 1, 2))
        return x + found


class SwinIR(RestorationNet):
    """x + conv(f + conv(norm(groups(f)))), with f = conv(x)."""

    def __init__(self, config: SwinIRConfig):
        super().__init__(config)
        self.intro = conv3(config.image_channels, config.embedding)
        self.groups = nn.ModuleList(SwinGroup(config, depth) for depth in config.depths)
        self.norm = nn.LayerNorm(config.embedding)
        self.after = conv3(config.embedding, config.embedding)
        self.ending = conv3(config.embedding, config.image_channels)

    def restore(self, image: Tensor) -> Tensor:
        window = self.config.window
        mask = roll_mask(image.shape[-2], image.shape[-1], window, window // 2).to(image)
        f = self.intro(image)
        x = f
        for group in self.groups:
            x = group(x, mask)
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return image + self.ending(f + self.after(x))
