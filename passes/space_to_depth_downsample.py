"""space-to-depth-downsample: a 2x2 convolution with stride 2 = SpaceToDepth + 1x1 conv. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import conv_of, dense, halves_size

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@pattern
def downsample(x: Term) -> Term:
    return conv_of(x, kernel_shape=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0), dilations=(1, 1))


@dataclass(frozen=True)
class SpaceToDepthDownsample(Pass):
    """conv(x, W)  ->  V space_to_depth(x), with V[o, (2i + j) C + c] = W[o, c, i, j] for C input channels.

    Both are y[o, h, w] = sum over c, i, j of W[o, c, i, j] x[c, 2h + i, 2w + j].
    """

    name: ClassVar[str] = "space-to-depth-downsample"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(downsample, label="downsample", unless=lambda match: dense(match) or halves_size(match))

    def rewrite(self, site: Site, build: Build) -> object:
        weight = build.values("weight")
        moved = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1, 1, 1)
        bias = build.parameter("bias", build.values("bias")) if "bias" in site.constants else None
        small = build.op("SpaceToDepth", [build.input("x")], blocksize=2)
        return build.conv(small, build.parameter("weight", moved), bias)
