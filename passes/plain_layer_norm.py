"""plain-layer-norm: Transpose, LayerNormalization, Transpose = channel LayerNorm in single ops. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass
from graphopt.idioms import channel_layer_norm, layer_norm_at

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@dataclass(frozen=True)
class PlainLayerNorm(Pass):
    """LayerNormalization of (N, H, W, C) between transposes  ->  (x - mean) / sqrt(var + eps) * w + b over channels.

    Saves the transposes where the network is computed channel by channel. `fused-layer-norm` goes the other way.
    """

    name: ClassVar[str] = "plain-layer-norm"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_layer_norm, label="norm", unless=_plain)

    def rewrite(self, site: Site, build: Build) -> object:
        x, norm = build.input("x"), layer_norm_at(site, build)
        centred = build.op("Sub", [x, build.mean(x, [1])])
        variance = build.mean(build.mul(centred, centred), [1])
        normal = build.op("Div", [centred, build.op("Sqrt", [build.add(variance, norm.epsilon)])])
        return build.add(build.mul(normal, build.parameter("scale", norm.scale)), build.parameter("shift", norm.shift))


def _plain(match: Match) -> str | None:
    return None if match.anchor.op == "Transpose" else "it is in single ops already"
