"""pointwise-mean: the mean over channels = a 1x1 convolution to one channel. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass, Term, either, op, pattern

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@pattern
def channel_mean(x: Term) -> Term:
    return either(op.ReduceMean(x, axes=(1,), keepdims=1), op.ReduceSum(x, axes=(1,), keepdims=1))


@dataclass(frozen=True)
class PointwiseMean(Pass):
    """sum_c x[c] / C  ->  w * x, a 1x1 convolution with w = 1 / C; for a sum over channels, w = 1.

    A runtime whose channels lie in blocks has a kernel for the convolution, and leaves the blocks for the mean.
    """

    name: ClassVar[str] = "pointwise-mean"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_mean, label="channel-mean", unless=_not_an_image)

    def rewrite(self, site: Site, build: Build) -> object:
        channels = build.shape("x")[1]
        share = 1 / channels if build.node_kind(site.nodes[0]) == "ReduceMean" else 1.0
        return build.conv(build.input("x"), build.fixed("share", np.full((1, channels, 1, 1), share)))


def _not_an_image(match: Match) -> str | None:
    shape = match.inputs["x"].shape
    return None if len(shape) == 4 else f"expected a tensor of 4 dimensions, found {len(shape)}"
