"""strided-norm: channel LayerNorm with its statistics at a lower resolution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass
from graphopt.idioms import channel_layer_norm, layer_norm_at

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@dataclass(frozen=True)
class StridedNorm(Pass):
    """(x - m(x)) * r(x) * w + b  ->  (x - up(m(z))) * up(r(z)) * w + b, with z every n-th pixel of x in both axes.

    m is the mean over channels and r = 1 / sqrt(var + eps); up repeats each value n times in both axes. Both
    reductions read 1 / n^2 of the pixels. Weights stay.
    """

    name: ClassVar[str] = "strided-norm"
    contract: ClassVar[Contract] = Contract.TUNED

    stride: int = 2

    def __post_init__(self) -> None:
        if self.stride < 2:
            raise ValueError(f"option 'stride' is {self.stride}; expected 2 or more")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def uneven(match: Match) -> str | None:
            height, width = match.inputs["x"].shape[2:]
            if height % self.stride == 0 == width % self.stride:
                return None
            return f"expected a height and width that {self.stride} divides, found {height}x{width}"

        return graph.find(channel_layer_norm, label="norm", unless=uneven)

    def rewrite(self, site: Site, build: Build) -> object:
        x, norm = build.input("x"), layer_norm_at(site, build)
        small = build.every(x, self.stride)
        mean = build.mean(small, [1])
        centred = build.op("Sub", [small, mean])
        variance = build.mean(build.mul(centred, centred), [1])
        rate = build.op("Reciprocal", [build.op("Sqrt", [build.add(variance, norm.epsilon)])])
        mean, rate = (build.resize(t, self.stride, "nearest") for t in (mean, rate))
        y = build.mul(build.op("Sub", [x, mean]), rate)
        y = build.mul(y, build.parameter("scale", norm.scale))
        return build.add(y, build.parameter("shift", norm.shift))
