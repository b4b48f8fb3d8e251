"""The pretrained networks that ship with graphopt. No torch here: the command line lists them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ShippedModel:
    """A pretrained network in the package, and the noise it was trained on (standard deviation, scale 0-255)."""

    name: str
    title: str
    sigma: float

    @property
    def path(self) -> Path:
        return Path(__file__).parent / f"{self.name.replace('-', '_')}.safetensors"


SHIPPED = {
    model.name: model
    for model in (
        ShippedModel("nafnet-width8-sigma25", "NAFNet, 36 blocks, width 8, colour Gaussian noise of sigma 25", 25),
    )
}
