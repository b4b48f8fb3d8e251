"""NAFNet (Chen et al. 2022, arXiv 2204.04676), with the parameter names of the official checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class NAFNetConfig:
    """Width and depth of a NAFNet. The default depths are the 36-block network that is published for SIDD."""

    width: int = 32
    encoder_blocks: tuple[int, ...] = (2, 2, 4, 8)
    middle_blocks: int = 12
    decoder_blocks: tuple[int, ...] = (2, 2, 2, 2)
    image_channels: int = 3

    @property
    def stride(self) -> int:
        """Height and width of the input are padded to a multiple of this."""
        return 2 ** len(self.encoder_blocks)


class LayerNorm2d(nn.Module):
    """Normalises (N, C, H, W) over C at each pixel: (x - mean) / sqrt(var + eps) * weight + bias."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():  # spelled out, as the official code does: other tools know this form
            centred = x - x.mean(1, keepdim=True)
            variance = centred.pow(2).mean(1, keepdim=True)
            normal = centred / torch.sqrt(variance + self.eps)
            return normal * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        # One fused kernel; the permutes are free for channels-last tensors.
        rows = F.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, self.eps)
        return rows.permute(0, 3, 1, 2)


class SimpleGate(nn.Module):
    """(N, 2C, H, W) -> (N, C, H, W): the product of the two halves of the channels."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second


class NAFBlock(nn.Module):
    """y = x + beta * conv3(SCA(SG(conv2(conv1(LN x))))); out = y + gamma * conv5(SG(conv4(LN y)))."""

    def __init__(self, channels: int):
        super().__init__()
        wide = 2 * channels
        self.norm1 = LayerNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.sg = SimpleGate()
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = LayerNorm2d(channels)
        self.conv4 = nn.Conv2d(channels, wide, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        gated = self.sg(self.conv2(self.conv1(self.norm1(x))))
        attended = gated * self.sca(gated)
        y = x + self.conv3(attended) * self.beta
        fed = self.conv5(self.sg(self.conv4(self.norm2(y))))
        return y + fed * self.gamma


class NAFNet(nn.Module):
    """(N, 3, H, W) in [0, 1] -> the same shape. Any H and W: the input is padded with zeros and cropped back."""

    def __init__(self, config: NAFNetConfig):
        super().__init__()
        self.config = config
        channels = config.width
        self.intro = nn.Conv2d(config.image_channels, channels, 3, padding=1)
        self.ending = nn.Conv2d(channels, config.image_channels, 3, padding=1)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        for blocks in config.encoder_blocks:
            self.encoders.append(nn.Sequential(*(NAFBlock(channels) for _ in range(blocks))))
            self.downs.append(nn.Conv2d(channels, 2 * channels, 2, 2))
            channels *= 2
        self.middle_blks = nn.Sequential(*(NAFBlock(channels) for _ in range(config.middle_blocks)))
        for blocks in config.decoder_blocks:
            self.ups.append(nn.Sequential(nn.Conv2d(channels, 2 * channels, 1, bias=False), nn.PixelShuffle(2)))
            channels //= 2
            self.decoders.append(nn.Sequential(*(NAFBlock(channels) for _ in range(blocks))))

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        bottom, right = -height % self.config.stride, -width % self.config.stride
        padded = F.pad(image, (0, right, 0, bottom)) if bottom or right else image
        x = self.intro(padded)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for decoder, up, skip in zip(self.decoders, self.ups, reversed(skips), strict=True):
            x = decoder(up(x) + skip)
        restored = self.ending(x) + padded
        return restored[..., :height, :width] if bottom or right else restored
