"""low-rank-pointwise: a 1x1 convolution as two thin ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import check_share, conv_of, count_of, low_rank, response_to, second_moment

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@pattern
def pointwise(x: Term) -> Term:
    return conv_of(x, kernel_shape=(1, 1), group=1, pads=(0, 0, 0, 0))


@dataclass(frozen=True)
class LowRankPointwise(Pass):
    """W x + b  ->  A (B x) + b + (W - A B) mean(x), with A B of rank r = share * min(inputs, outputs).

    A and B fit the responses to the calibration images best, by SVD of W E[x x^T]^(1/2): Zhang et al., "Accelerating
    Very Deep Convolutional Networks" (arXiv 1505.06798).
    """

    name: ClassVar[str] = "low-rank-pointwise"
    contract: ClassVar[Contract] = Contract.TUNED

    share: float = 0.25

    def __post_init__(self) -> None:
        check_share(self.share)

    def sites(self, graph: GraphView) -> Iterable[Site]:
        def misfit(match: Match) -> str | None:
            outputs, inputs = match.constants["weight"].values.shape[:2]
            rank = count_of(min(outputs, inputs), self.share)
            if list(match.inputs["x"].shape[2:]) == [1, 1]:
                return "it reads one pixel: narrow-attention is for these"
            if rank * (outputs + inputs) >= outputs * inputs:
                return f"rank {rank} of {outputs}x{inputs} saves nothing"
            return None

        return graph.find(pointwise, label="pointwise", unless=misfit)

    def rewrite(self, site: Site, build: Build) -> object:
        weight, statistics = build.values("weight"), build.statistics
        rank = count_of(min(weight.shape[:2]), self.share)
        left, right = low_rank(weight[:, :, 0, 0], second_moment(statistics.samples("x")), rank)
        bias = response_to(statistics.mean("x"), weight - (left @ right)[:, :, None, None])
        if "bias" in site.constants:
            bias = bias + build.values("bias")
        squeeze = build.parameter("squeeze", right[:, :, None, None])
        y = build.conv(build.input("x"), squeeze, **build.attributes("Conv"))
        return build.conv(y, build.parameter("weight", left[:, :, None, None]), build.parameter("bias", bias))
