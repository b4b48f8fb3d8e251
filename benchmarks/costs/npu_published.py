"""Networks that AI Hub timed and no package holds, written after what their authors published, with random weights.

Their parameters are those of the published rows, but for batch norms that are folded there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

Image = torch.Tensor


def conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, rate: int = 1, relu: bool = True
) -> nn.Sequential:
    """A convolution without bias, a batch norm, and a ReLU."""
    found = nn.Conv2d(inputs, outputs, kernel, stride, rate * (kernel // 2), rate, bias=False)
    return nn.Sequential(found, nn.BatchNorm2d(outputs), *([nn.ReLU()] if relu else []))


class DnCnn(nn.Module):
    """Grey images; 17 layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, 64, 3, padding=1), nn.ReLU()]
        for _ in range(15):
            layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(64, 1, 3, padding=1))

    def forward(self, image: Image) -> Image:
        return image - self.body(image)


def quicksrnet(layers: int) -> nn.Sequential:
    """Four times as large."""
    body: list[nn.Module] = [nn.Conv2d(3, 32, 3, padding=1), nn.Hardtanh(0, 1)]
    for _ in range(layers):
        body += [nn.Conv2d(32, 32, 3, padding=1), nn.Hardtanh(0, 1)]
    return nn.Sequential(*body, nn.Conv2d(32, 48, 3, padding=1), nn.Hardtanh(0, 1), nn.PixelShuffle(4))


class Xlsr(nn.Module):
    """Four times as large."""

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv2d(3, 16, 3, padding=1)
        self.head = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 1))
        grouped = (nn.Sequential(nn.Conv2d(32, 32, 3, 1, 1, 1, 4), nn.ReLU(), nn.Conv2d(32, 32, 1)) for _ in range(3))
        self.body = nn.Sequential(*grouped)
        self.tail = nn.Sequential(nn.Conv2d(48, 32, 1), nn.ReLU(), nn.Conv2d(32, 48, 3, padding=1), nn.PixelShuffle(4))

    def forward(self, image: Image) -> Image:
        return F.hardtanh(self.tail(torch.cat([self.body(self.head(image)), self.skip(image)], 1)), 0, 1)


class Basic(nn.Module):
    """Two 3x3 convolutions and a sum."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, 3, stride), conv(outputs, outputs, relu=False))
        fits = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if fits else conv(inputs, outputs, 1, stride, relu=False)

    def forward(self, image: Image) -> Image:
        return F.relu(self.body(image) + self.skip(image))


class Facemap(nn.Module):
    """Facemap 3DMM: half of a ResNet-18 on a grey image, its last block whole."""

    def __init__(self) -> None:
        super().__init__()
        self.grey, self.stem = nn.Conv2d(3, 1, 1), conv(1, 32, 7, 2)
        widths = (32, 32, 64, 64, 128, 128, 256, 512)
        strides = (1, 1, 2, 1, 2, 1, 2, 1)
        inputs = (32, *widths)
        self.body = nn.Sequential(*(Basic(i, o, s) for i, o, s in zip(inputs, widths, strides, strict=False)))
        self.output = nn.Linear(512, 265)

    def forward(self, image: Image) -> Image:
        stem = F.max_pool2d(F.pad(self.stem(self.grey(image * 255)), (0, 1, 0, 1)), 3, 2)
        return self.output(F.avg_pool2d(self.body(stem), 4, 1).flatten(1))


class _FaceBlock(nn.Module):
    def __init__(self, double: bool, inputs: int, middle: int, outputs: int, gate: bool, stride: int):
        super().__init__()
        self.stride = stride
        first, last = (1, [conv(outputs, outputs, 3, stride)]) if double else (stride, [])
        self.body = nn.Sequential(conv(inputs, middle, 1), conv(middle, outputs, 3, first), *last)
        small = outputs // 4
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(outputs, small, 1), conv(small, outputs, 1, relu=False), nn.Sigmoid()
        ) if gate else None  # fmt: skip
        self.skip = conv(inputs, outputs, 1, relu=False) if stride == 1 and inputs != outputs else nn.Identity()

    def forward(self, image: Image) -> Image:
        made = self.body(image)
        made = made if self.gate is None else made * self.gate(made)
        return made + self.skip(image) if self.stride == 1 else made


class FaceDetLite(nn.Module):
    """Lightweight face detection, on a grey image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, 16, 3, 2)
        shapes = (
            *((False, 16, 16, 16, False, 2), (False, 16, 64, 32, False, 2), (False, 32, 96, 32, False, 1)),
            *((True, 32, 96, 32, True, 2), (True, 32, 224, 32, True, 1), (True, 32, 224, 32, True, 1)),
            *((True, 32, 128, 64, True, 1), (True, 64, 160, 64, True, 1), (True, 64, 256, 96, True, 2)),
        )
        self.blocks = nn.ModuleList(_FaceBlock(*shape) for shape in shapes)
        self.laterals = nn.ModuleList(conv(channels, 32, 1) for channels in (32, 64, 96))
        self.ups = nn.ModuleList(conv(32, 32) for _ in range(2))
        self.wide, self.into = conv(32, 16), conv(32, 8)
        self.one, self.two = conv(8, 8), nn.Sequential(conv(8, 8), conv(8, 8))
        self.heads = nn.ModuleList(nn.Conv2d(32, outputs, 1) for outputs in (1, 4, 10))

    def forward(self, image: Image) -> tuple[Image, ...]:
        made, kept = self.stem((image - 0.442) / 0.280), []
        for number, block in enumerate(self.blocks):
            made = block(made)
            if number in (2, 7, 8):
                kept.append(self.laterals[len(kept)](made))
        made = kept[2]
        for up, lateral in zip(self.ups, (kept[1], kept[0]), strict=True):
            made = up(F.interpolate(made, scale_factor=2.0, mode="nearest")) + lateral
        context = self.into(made)
        made = torch.cat([self.wide(made), torch.cat([self.one(context), self.two(context)], 1)], 1)
        return tuple(head(made) for head in self.heads)


class FFNet(nn.Module):
    """Cityscapes at a fourth or an eighth of the image. `widths` of the four resolutions, `blocks` of each stage."""

    def __init__(
        self, stem: nn.Module, start: int, blocks: Sequence[int], strides: Sequence[int], widths: Sequence[int],
        base: Sequence[int], branches: Sequence[int], middle: int, kernel: int,
    ):  # fmt: skip
        super().__init__()
        self.stem, self.stages = stem, nn.ModuleList()
        for count, stride, width in zip(blocks, strides, widths[-len(blocks) :], strict=True):
            first, rest = Basic(start, width, stride), (Basic(width, width) for _ in range(count - 1))
            self.stages.append(nn.Sequential(first, *rest))
            start = width
        self.adapters = nn.ModuleList(conv(i, o, 1) for i, o in zip(widths, base, strict=True))
        self.smooth = nn.ModuleList(conv(i, o) for i, o in zip(base, branches, strict=True))
        self.ups = nn.ModuleList(conv(i, o, 1) for i, o in zip(base[1:], base, strict=False))
        head = nn.Conv2d(sum(branches), middle, 3, padding=1)
        last = nn.Conv2d(middle, 19, kernel, padding=kernel // 2)
        self.head = nn.Sequential(head, nn.BatchNorm2d(middle), nn.ReLU(), last)

    def forward(self, image: Image) -> Image:
        image = self.stem(image)
        found = [image] if len(self.stages) == 3 else []
        for stage in self.stages:
            image = stage(image)
            found.append(image)
        found = [adapter(features) for adapter, features in zip(self.adapters, found, strict=True)]
        made, kept = found[3], [self.smooth[3](found[3])]
        for level in (2, 1, 0):
            made = _enlarged(self.ups[level](made), found[level]) + found[level]
            kept.insert(0, self.smooth[level](made))
        joined = kept[0]
        for branch in kept[1:]:
            joined = torch.cat([joined, _enlarged(branch, joined)], 1)
        return self.head(joined)


_S, _B, _C = (
    (64, 128, 192, 320),
    ((64, 128, 128, 256), (96, 96, 64, 32), 256, 3),
    ((128,) * 4, (128, 16, 16, 16), 128, 1),
)


def ffnet_s(blocks: Sequence[int], low_resolution: bool = False) -> FFNet:
    stem = nn.Sequential(conv(3, 32, 3, 2), conv(32, 64, 3, 2))
    return FFNet(stem, 64, blocks, (1 if low_resolution else 2, 2, 2, 2), _S, *(_C if low_resolution else _B))


def ffnet_122ns() -> FFNet:
    stem = nn.Sequential(conv(3, 64, 3, 2), conv(64, 64, 3, 2), conv(64, 64))
    return FFNet(stem, 64, (16, 24, 20), (2, 2, 2), (64, 64, 128, 256), *_C)


class Midas(nn.Module):
    """MiDaS v2.1 small: `encoder` is timm's tf_efficientnet_lite3."""

    def __init__(self, encoder: Any):
        super().__init__()
        blocks = list(encoder.blocks)
        stem = [encoder.conv_stem, encoder.bn1]
        parts = ([*stem, *blocks[:2]], blocks[2:3], blocks[3:5], blocks[5:7])
        self.parts = nn.ModuleList(nn.Sequential(*part) for part in parts)
        widths = (64, 128, 256, 512)
        self.into = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in zip((32, 48, 136, 384), widths, strict=True)
        )
        self.before = nn.ModuleList(_Residual(width) for width in widths[:3])
        self.after = nn.ModuleList(_Residual(width) for width in widths)
        self.out = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(widths, (64, 64, 128, 256), strict=True))
        self.head = nn.ModuleList(
            [nn.Conv2d(64, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 1, 1)]
        )

    def forward(self, image: Image) -> Image:
        found = []
        for part, into in zip(self.parts, self.into, strict=True):
            image = part(image)
            found.append(into(image))
        made = found[3]
        for level in (3, 2, 1, 0):
            made = made if level == 3 else made + self.before[level](found[level])
            made = F.interpolate(self.after[level](made), scale_factor=2.0, mode="bilinear", align_corners=True)
            made = self.out[level](made)
        made = F.interpolate(self.head[0](made), scale_factor=2.0, mode="bilinear")
        return F.relu(self.head[2](F.relu(self.head[1](made))))


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.one, self.two = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, image: Image) -> Image:
        return self.two(F.relu(self.one(F.relu(image)))) + image


def _enlarged(image: Image, like: Image) -> Image:
    return F.interpolate(image, size=like.shape[2:], mode="nearest")
