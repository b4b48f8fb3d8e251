"""narrow-feed-forward: keeps the most important channels between conv4 and conv5 of a NAFNet block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import check_share, gated_pair_of, most_important, output_energy, response_to

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


@pattern
def gated_pair(x: Term) -> Term:
    return gated_pair_of(x)


@dataclass(frozen=True)
class NarrowFeedForward(Pass):
    """W5 (a * b) + b5 of [a, b] = W4 x + b4  ->  W5[:, K] (a[K] * b[K]) + b5 + W5[:, not K] mean(a * b)[not K].

    K are the channels of the gate that add most to the variance of the output, var(a_i b_i) * |W5[:, i]|^2 over the
    calibration images; the mean of the others stays as a part of the bias. Both halves of the gate lose the same
    channels. Structured pruning after Li et al. (arXiv 1608.08710), with activations in place of weights alone.
    """

    name: ClassVar[str] = "narrow-feed-forward"
    contract: ClassVar[Contract] = Contract.TUNED

    share: float = 0.5  # of the gate's channels that stay

    def __post_init__(self) -> None:
        check_share(self.share)

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(gated_pair, label="feed-forward-width", unless=_unequal)

    def rewrite(self, site: Site, build: Build) -> object:
        weight4, weight5 = build.values("weight4"), build.values("weight5")
        width, gated = weight5.shape[1], build.statistics
        kept = most_important(output_energy(gated.variance("gated"), weight5), self.share)
        lost = np.setdiff1d(np.arange(width), kept)
        both = np.concatenate([kept, kept + width])
        bias4 = build.parameter("bias4", build.values("bias4")[both]) if "bias4" in site.constants else None
        x = build.conv(
            build.input("x"), build.parameter("weight4", weight4[both]), bias4, **build.attributes("Conv", "weight4")
        )
        if "low" in site.constants:
            x = build.clip(x, float(build.values("low")), float(build.values("high")))
        first, second = build.split(x, [len(kept), len(kept)])
        bias5 = response_to(gated.mean("gated")[lost], weight5[:, lost])
        if "bias5" in site.constants:
            bias5 = bias5 + build.values("bias5")
        weights = build.parameter("weight5", weight5[:, kept]), build.parameter("bias5", bias5)
        return build.conv(build.mul(first, second), *weights, **build.attributes("Conv", "weight5"))


def _unequal(match: Match) -> str | None:
    expanded, width = len(match.constants["weight4"].values), match.constants["weight5"].values.shape[1]
    return (
        None if expanded == 2 * width else f"expected the product of two halves, found {width} of {expanded} channels"
    )
