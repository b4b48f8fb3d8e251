"""Networks specialised by noise range, and the tiny network that chooses among them (FAN, arXiv 2103.01524).

Published: models specialised on sub-ranges of noise trade memory for compute. Our reading of how one is chosen: a
network of two strided convolutions and a global mean reads the image's details; deployed, it runs first, and then
one of the specialised networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphopt.errors import GraphoptError

GAIN = 16.0  # brings noise of sigma 16 (scale 0-255) to 1
SMALLEST = 16  # pixels that both convolutions need


class NoiseSelector(nn.Module):
    """(N, C, H, W) -> (N, ranges): a score for each range of noise. 16 + 16 channels, at 1/4 and 1/16 of the size."""

    def __init__(self, ranges: int, image_channels: int = 3, width: int = 16):
        super().__init__()
        self.first = nn.Conv2d(image_channels, width, 4, 4)
        self.second = nn.Conv2d(width, width, 4, 4)
        self.ending = nn.Linear(width, ranges)

    def forward(self, image: Tensor) -> Tensor:
        missing = [max(0, SMALLEST - extent) for extent in (image.shape[3], image.shape[2])]
        if any(missing):
            image = F.pad(image, (0, missing[0], 0, missing[1]), mode="replicate")
        detail = GAIN * (image - F.avg_pool2d(image, 3, 1, padding=1, count_include_pad=False))
        x = torch.relu(self.second(torch.relu(self.first(detail))))
        scores: Tensor = self.ending(x.mean(dim=(2, 3)))
        return scores


def range_of(sigma: Tensor, bounds: Sequence[float]) -> Tensor:
    """The index of the range of each `sigma`, the selector's training target; one on a bound belongs below."""
    return torch.bucketize(sigma, torch.tensor(bounds, dtype=sigma.dtype, device=sigma.device))


class Specialised(nn.Module):
    """Each image of a batch goes through the network of its noise range alone.

    `bounds` are the standard deviations (scale 0-255) between the ranges, ascending: one fewer than `networks`.
    """

    def __init__(self, networks: Sequence[nn.Module], bounds: Sequence[float], selector: NoiseSelector):
        super().__init__()
        if len(bounds) != len(networks) - 1 or list(bounds) != sorted(set(bounds)):
            raise GraphoptError(
                f"{len(networks)} specialised networks need {len(networks) - 1} ascending bounds, found {list(bounds)}"
            )
        self.networks, self.selector = nn.ModuleList(networks), selector
        self.bounds = tuple(bounds)

    @property
    def config(self) -> Any:
        """The options of its networks, which all have the same."""
        return self.networks[0].config

    def forward(self, image: Tensor) -> Tensor:
        chosen = self.selector(image).argmax(dim=1)
        restored = torch.empty_like(image)
        for position in chosen.unique().tolist():
            mask = chosen == position
            restored[mask] = self.networks[position](image[mask])
        return restored
