"""DnCNN (Zhang et al. 2017, arXiv 1608.03981), as it is deployed.

Published: 17 layers of 3x3 convolutions with 64 channels, ReLU, batch norm between, a global residual. The authors'
later weights (cszn/KAIR) hold the batch norms folded into the convolutions: this is that form, with their names.
`conv: list` puts the LIST module of Lahiri et al. (arXiv 2007.05835) in place of every inner convolution; which layers
they replace is our reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from graphopt.config.keys import Positive
from graphopt.models.lahiri import ConvKind, make_conv
from graphopt.models.restoration import RestorationNet, conv3


@dataclass(frozen=True)
class DnCNNConfig:
    """`depth` convolutions of `width` channels; the inner ones are `plain`, or `list` modules."""

    width: Positive = 64
    depth: Annotated[int, Field(ge=2)] = 17
    conv: ConvKind = "plain"
    image_channels: Positive = 3

    @property
    def stride(self) -> int:
        return 1


class DnCNN(RestorationNet):
    """x - conv(relu(conv(... relu(conv(x)))))."""

    def __init__(self, config: DnCNNConfig):
        super().__init__(config)
        layers: list[nn.Module] = [conv3(config.image_channels, config.width), nn.ReLU()]
        for _ in range(config.depth - 2):
            layers += [make_conv(config.conv, config.width, config.width), nn.ReLU()]
        self.model = nn.Sequential(*layers, conv3(config.width, config.image_channels))

    def restore(self, image: Tensor) -> Tensor:
        noise: Tensor = self.model(image)
        return image - noise
