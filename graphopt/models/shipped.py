"""The pretrained networks that ship with graphopt. No torch here: the command line lists them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ShippedModel:
    """A pretrained network in the package, and the noise it was trained on: least and most sigma, scale 0-255.

    What a search has found is an ONNX file, which can be run at any size; the others are checkpoints. A `precision` in
    integers says that the file is quantised (QDQ): it can be run, priced and judged, but no pass rewrites it.
    """

    name: str
    title: str
    sigma: tuple[float, float]
    suffix: str = ".safetensors"
    licence: str = "Apache-2.0"
    precision: str = "fp32"

    @property
    def path(self) -> Path:
        return Path(__file__).parent / f"{self.name.replace('-', '_')}{self.suffix}"

    @property
    def noise(self) -> str:
        low, high = self.sigma
        return f"sigma {low:g}" if low == high else f"sigma {low:g} to {high:g}"

    @property
    def weights(self) -> str:
        """What the file holds, in a few words."""
        return f"pretrained, {self.noise}" + ("" if self.precision == "fp32" else f", {self.precision}")


_FOUND = "nafnet-width16 made faster for"
SHIPPED = {
    model.name: model
    for model in (
        ShippedModel("nafnet-width8-sigma25", "NAFNet, 36 blocks, width 8, colour Gaussian noise", (25, 25)),
        ShippedModel("nafnet-width16", "NAFNet, 36 blocks, width 16, colour Gaussian noise", (10, 55)),
        ShippedModel("nafnet-width16-onnxruntime", f"{_FOUND} onnxruntime on a CPU", (10, 55), ".onnx"),
        ShippedModel("nafnet-width16-adreno750", f"{_FOUND} the Adreno 750", (10, 55), ".onnx"),
        ShippedModel("nafnet-width16-mali-g78", f"{_FOUND} the Mali-G78", (10, 55), ".onnx"),
        ShippedModel("nafnet-width16-hexagon", f"{_FOUND} the NPU of sm8650", (10, 55), ".onnx"),
        ShippedModel(
            "nafnet-width16-hexagon-w8a8",
            "nafnet-width16-hexagon in integers, as the NPU wants them",
            (10, 55),
            ".onnx",
            precision="w8a8",
        ),
    )
}
