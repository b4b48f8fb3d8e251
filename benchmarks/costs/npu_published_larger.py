"""More networks that AI Hub timed and no package holds: HRNet for poses, and DeepLabV3+ on MobileNetV2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from costs.npu_published import Basic, Image, conv


class HRNetPose(nn.Module):
    """Width 32, 17 joints."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 64, 3, 2), conv(64, 64, 3, 2))
        self.first = nn.Sequential(_Bottleneck(64), *(_Bottleneck(256) for _ in range(3)))
        widths = (32, 64, 128, 256)
        self.starts = nn.ModuleList([conv(256, 32), conv(256, 64, 3, 2), conv(64, 128, 3, 2), conv(128, 256, 3, 2)])
        self.two = _Exchange(widths[:2], 2)
        self.three = nn.Sequential(*(_Exchange(widths[:3], 3) for _ in range(4)))
        self.four = nn.Sequential(_Exchange(widths, 4), _Exchange(widths, 4), _Exchange(widths, 1))
        self.head = nn.Conv2d(32, 17, 1)

    def forward(self, image: Image) -> Image:
        image = self.first(self.stem(image))
        made = self.two([self.starts[0](image), self.starts[1](image)])
        made = self.three([*made, self.starts[2](made[-1])])
        return self.head(self.four([*made, self.starts[3](made[-1])])[0])


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        self.body = nn.Sequential(conv(inputs, 64, 1), conv(64, 64), conv(64, 256, 1, relu=False))
        self.skip = nn.Identity() if inputs == 256 else conv(inputs, 256, 1, relu=False)

    def forward(self, image: Image) -> Image:
        return F.relu(self.body(image) + self.skip(image))


class _Exchange(nn.Module):
    """Four blocks at each resolution, and sums of all resolutions at the first `outputs` of them."""

    def __init__(self, widths: Sequence[int], outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(Basic(width, width) for _ in range(4))) for width in widths)
        paths = ([_path(widths, source, target) for source in range(len(widths))] for target in range(outputs))
        self.paths = nn.ModuleList(nn.ModuleList(row) for row in paths)

    def forward(self, images: list[Image]) -> list[Image]:
        images = [branch(image) for branch, image in zip(self.branches, images, strict=True)]
        made = []
        for row in self.paths:
            total = row[0](images[0])
            for path, image in zip(row[1:], images[1:], strict=True):
                total = total + path(image)
            made.append(F.relu(total))
        return made


def _path(widths: Sequence[int], source: int, target: int) -> nn.Module:
    if source == target:
        return nn.Identity()
    if source > target:
        larger = nn.Upsample(scale_factor=2.0 ** (source - target), mode="nearest")
        return nn.Sequential(conv(widths[source], widths[target], 1, relu=False), larger)
    steps = [conv(widths[source], widths[source], 3, 2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, conv(widths[source], widths[target], 3, 2, relu=False))


class DeepLabMobileNet(nn.Module):
    """21 classes; the class of each pixel comes out."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())
        layers: list[nn.Module] = [stem]
        inputs = 32
        # expansion, outputs, repeats, stride, dilation: 16 times smaller in all
        for expansion, outputs, repeats, stride, rate in (
            *((1, 16, 1, 1, 1), (6, 24, 2, 2, 1), (6, 32, 3, 2, 1), (6, 64, 4, 2, 1)),
            *((6, 96, 3, 1, 1), (6, 160, 3, 1, 1), (6, 320, 1, 1, 2)),
        ):
            for number in range(repeats):
                layers.append(_Inverted(inputs, outputs, stride if number == 0 else 1, rate, expansion))
                inputs = outputs
        self.low, self.high = nn.Sequential(*layers[:4]), nn.Sequential(*layers[4:])
        self.pyramid = nn.ModuleList([conv(320, 256, 1), *(conv(320, 256, 3, 1, rate) for rate in (6, 12, 18))])
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(320, 256, 1))
        self.join, self.skip = conv(1280, 256, 1), conv(24, 48, 1)
        self.head = nn.Sequential(conv(304, 256), conv(256, 256), nn.Conv2d(256, 21, 1))

    def forward(self, image: Image) -> Image:
        low = self.low(image)
        high = self.high(low)
        made = [branch(high) for branch in self.pyramid]
        made = self.join(torch.cat([*made, _resized(self.mean(high), made[0])], 1))
        low = self.skip(low)
        made = self.head(torch.cat([_resized(made, low), low], 1))
        return _resized(made, image).argmax(1).to(torch.int32)


class _Inverted(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, rate: int, expansion: int):
        super().__init__()
        middle, self.adds = inputs * expansion, stride == 1 and inputs == outputs
        wide = [nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU6()]
        self.body = nn.Sequential(
            *(wide if expansion > 1 else []),
            nn.Conv2d(middle, middle, 3, stride, rate, rate, middle, bias=False), nn.BatchNorm2d(middle), nn.ReLU6(),
            nn.Conv2d(middle, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, image: Image) -> Image:
        return image + self.body(image) if self.adds else self.body(image)


def _resized(image: Image, like: Image) -> Image:
    return F.interpolate(image, size=like.shape[2:], mode="bilinear", align_corners=True)
