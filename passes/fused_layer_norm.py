"""fused-layer-norm: channel LayerNorm in single ops = Transpose, LayerNormalization, Transpose. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass
from graphopt.idioms import channel_layer_norm, layer_norm_at

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@dataclass(frozen=True)
class FusedLayerNorm(Pass):
    """(x - mean) / sqrt(var + eps) * w + b over channels  ->  LayerNormalization of (N, H, W, C) between transposes.

    For targets with a kernel for LayerNormalization. `plain-layer-norm` goes the other way.
    """

    name: ClassVar[str] = "fused-layer-norm"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_layer_norm, label="norm", unless=_fused)

    def rewrite(self, site: Site, build: Build) -> object:
        norm = layer_norm_at(site, build)
        rows = build.transpose(build.input("x"), [0, 2, 3, 1])
        weights = build.parameter("scale", norm.scale.reshape(-1)), build.parameter("shift", norm.shift.reshape(-1))
        normal = build.op("LayerNormalization", [rows, *weights], axis=-1, epsilon=norm.epsilon)
        return build.transpose(normal, [0, 3, 1, 2])


def _fused(match: Match) -> str | None:
    fused = any(node.op == "LayerNormalization" for node in match.nodes)
    return "it is a LayerNormalization already" if fused else None
