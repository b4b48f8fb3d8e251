"""average-downsample: a convolution with stride 2 -> the mean of each 2x2 square + 1x1 conv."""

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
    return conv_of(x, strides=(2, 2))


@dataclass(frozen=True)
class AverageDownsample(Pass):
    """conv(x, W) + b  ->  V avg2x2(x) + b, with V = sum_k W[:, :, k]: the same where the image is flat.

    As MOFA replaces the strided convolutions of a U-Net.
    """

    name: ClassVar[str] = "average-downsample"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(downsample, label="downsample", unless=lambda match: dense(match) or halves_size(match))

    def rewrite(self, site: Site, build: Build) -> object:
        weight = build.parameter("weight", build.values("weight").sum(axis=(2, 3), keepdims=True))
        bias = build.parameter("bias", build.values("bias")) if "bias" in site.constants else None
        return build.conv(build.average_pool(build.input("x"), 2), weight, bias)
