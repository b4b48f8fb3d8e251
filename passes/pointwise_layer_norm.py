"""pointwise-layer-norm: channel LayerNorm whose sums over channels are 1x1 convolutions. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass
from graphopt.idioms import channel_layer_norm, layer_norm_at

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class PointwiseLayerNorm(Pass):
    """(x - mean) / sqrt(var + eps) * w + b  ->  c * (1 r) * w + b, with c = (I - 1 1^T / C) x, r = 1 / sqrt(v + eps),
    v = 1^T c^2 / C.

    Each product with a matrix, 1 being a column of ones, is a 1x1 convolution, so that only r, which has one channel,
    leaves the layout of a runtime whose channels lie in blocks. C^2 more products for each pixel: the price decides.
    """

    name: ClassVar[str] = "pointwise-layer-norm"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_layer_norm, label="norm")

    def rewrite(self, site: Site, build: Build) -> object:
        norm, channels = layer_norm_at(site, build), build.shape("x")[1]
        ones = np.ones((channels, 1))

        def product(name: str, matrix: np.ndarray, x: object, bias: float | None = None) -> object:
            shift = None if bias is None else build.fixed("epsilon", [bias])
            return build.conv(x, build.fixed(name, matrix[:, :, None, None]), shift)

        centred = product("centre", np.eye(channels) - 1 / channels, build.input("x"))
        variance = product("share", ones.T / channels, build.mul(centred, centred), norm.epsilon)
        rate = build.op("Reciprocal", [build.op("Sqrt", [variance])])
        normal = build.mul(centred, product("spread", ones, rate))
        scaled = build.mul(normal, build.parameter("scale", norm.scale))
        return build.add(scaled, build.parameter("shift", norm.shift))
