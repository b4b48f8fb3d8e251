"""What the published denoisers share: any image size, and the parts that most of them are made of."""

from __future__ import annotations

from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor, nn


class Config(Protocol):
    """Every network's options say how many channels its images have (3: RGB, 4: packed Bayer RAW), and its stride."""

    @property
    def image_channels(self) -> int: ...

    @property
    def stride(self) -> int: ...


class RestorationNet(nn.Module):
    """(N, C, H, W) in [0, 1] -> the same shape. Any H and W: padded with zeros to the stride, and cropped back."""

    def __init__(self, config: Config):
        super().__init__()
        self.config: Any = config

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        bottom, right = -height % self.config.stride, -width % self.config.stride
        if not (bottom or right):
            return self.restore(image)
        return self.restore(F.pad(image, (0, right, 0, bottom)))[..., :height, :width]

    def restore(self, image: Tensor) -> Tensor:
        """The network itself, for H and W that are multiples of the stride."""
        raise NotImplementedError


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3x3, zero padding, with bias."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1)


def conv1(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1)


def up3(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """3x3 transposed convolution with stride 2: twice the height and width."""
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)


def resized(x: Tensor, factor: float = 2, mode: str = "bilinear") -> Tensor:
    """`factor` times the height and width, by half-pixel `bilinear` or by `nearest`."""
    corners = None if mode == "nearest" else False
    return F.interpolate(x, scale_factor=factor, mode=mode, align_corners=corners)
