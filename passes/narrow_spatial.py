"""narrow-spatial: keeps the most important channels from conv1 to conv3 of a NAFNet block, attention included."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from graphopt import Contract, Pass, Term, pattern
from graphopt.idioms import check_share, most_important, output_energy, response_to, spatial_triple_of

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site


Indices = NDArray[np.int64]


@pattern
def spatial_triple(x: Term) -> Term:
    return spatial_triple_of(x)


@dataclass(frozen=True)
class NarrowSpatial(Pass):
    """W3 z + b3 of z = g * (A pool(g) + c), g = a * b, [a, b] = dw(W1 x + b1)  ->  the same on channels K of g only.

    K are the channels that add most to the variance of the output, var(z_i) * |W3[:, i]|^2 over the calibration
    images. The means of the others stay: A[K, not K] mean(g) in the attention's bias, W3[:, not K] mean(z) in conv3's.
    Structured pruning after Li et al. (arXiv 1608.08710), with activations in place of weights alone.
    """

    name: ClassVar[str] = "narrow-spatial"
    contract: ClassVar[Contract] = Contract.TUNED

    share: float = 0.5  # of the gate's channels that stay

    def __post_init__(self) -> None:
        check_share(self.share)

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(spatial_triple, label="spatial-width", unless=_misfit)

    def rewrite(self, site: Site, build: Build) -> object:
        weight3 = build.values("weight3")
        width, statistics = weight3.shape[1], build.statistics
        kept = most_important(output_energy(statistics.variance("carried"), weight3), self.share)
        lost = np.setdiff1d(np.arange(width), kept)
        both = np.concatenate([kept, kept + width])

        x = build.input("x")
        for number in ("1", "2"):
            weight, bias = f"weight{number}", f"bias{number}"
            attributes = build.attributes("Conv", weight)
            if number == "2":
                attributes["group"] = len(both)
            biases = build.parameter(bias, build.values(bias)[both]) if bias in site.constants else None
            x = build.conv(x, build.parameter(weight, build.values(weight)[both]), biases, **attributes)
        if "low" in site.constants:
            x = build.clip(x, float(build.values("low")), float(build.values("high")))
        x = build.mul(*build.split(x, [len(kept), len(kept)]))
        if "weight_attention" in site.constants:
            x = build.mul(x, self._attention(site, build, x, kept, lost))
        bias3 = response_to(statistics.mean("carried")[lost], weight3[:, lost])
        if "bias3" in site.constants:
            bias3 = bias3 + build.values("bias3")
        weights = build.parameter("weight3", weight3[:, kept]), build.parameter("bias3", bias3)
        return build.conv(x, *weights, **build.attributes("Conv", "weight3"))

    def _attention(self, site: Site, build: Build, x: Any, kept: Indices, lost: Indices) -> Any:
        weight = build.values("weight_attention")[kept]
        bias = response_to(build.statistics.mean("gated")[lost], weight[:, lost])
        if "bias_attention" in site.constants:
            bias = bias + build.values("bias_attention")[kept]
        weights = build.parameter("weight_attention", weight[:, kept]), build.parameter("bias_attention", bias)
        return build.conv(build.mean(x, [2, 3]), *weights)


def _misfit(match: Match) -> str | None:
    expanded, width = len(match.constants["weight1"].values), match.constants["weight3"].values.shape[1]
    if expanded != 2 * width:
        return f"expected the product of two halves, found {width} of {expanded} channels"
    weight2 = match.constants["weight2"].values
    if weight2.shape[:2] != (expanded, 1):
        return f"expected a depthwise convolution before the gate, found a weight of shape {weight2.shape}"
    attention = match.constants.get("weight_attention")
    if attention is not None and attention.values.shape != (width, width, 1, 1):
        return f"expected an attention of 1x1 on {width} channels, found a weight of shape {attention.values.shape}"
    return None
