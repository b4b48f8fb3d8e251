"""fp16-safe-norm: channel LayerNorm whose sums stay within the range of fp16. Exact."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass
from graphopt.idioms import channel_layer_norm, layer_norm_at

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class Fp16SafeNorm(Pass):
    """(x - mean) / sqrt(var + eps) * w + b  ->  c / sqrt(k^2 mean(c^2) + eps) * (k w) + b, c = z - mean(z), z = x / k.

    NAFNet's residual stream reaches 175 and more, so that sums of x and of its squares over hundreds of channels leave
    the range of fp16 (65504). k^2 comes back before eps is added: eps / k^2 would round to 0. k is a power of 2, which
    rounds nothing. A larger k holds larger values; one too large loses the squares of small ones (below 6e-8).
    """

    name: ClassVar[str] = "fp16-safe-norm"
    contract: ClassVar[Contract] = Contract.EXACT

    scale: float = 32.0  # k

    def __post_init__(self) -> None:
        if self.scale <= 1 or math.frexp(self.scale)[0] != 0.5:
            raise ValueError(f"option 'scale' is {self.scale}; expected a power of 2 above 1, e.g. 32")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_layer_norm, label="norm")

    def rewrite(self, site: Site, build: Build) -> object:
        norm = layer_norm_at(site, build)
        small = build.mul(build.input("x"), 1 / self.scale)
        centred = build.op("Sub", [small, build.mean(small, [1])])
        variance = build.mul(build.mean(build.mul(centred, centred), [1]), self.scale**2)
        normal = build.op("Div", [centred, build.op("Sqrt", [build.add(variance, norm.epsilon)])])
        scaled = build.mul(normal, build.parameter("scale", norm.scale * self.scale))
        return build.add(scaled, build.parameter("shift", norm.shift))
