"""strided-attention: the pool of channel attention reads a part of the pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass
from graphopt.idioms import channel_attention

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@dataclass(frozen=True)
class StridedAttention(Pass):
    """x * conv(pool(x))  ->  x * conv(pool(x[::n, ::n])), with n the stride. Weights stay.

    The pool is a global sum over all that the block has computed; on a subsample it reads 1 / n^2 of that. NAFNet's
    attention is from arXiv 2204.04676.
    """

    name: ClassVar[str] = "strided-attention"
    contract: ClassVar[Contract] = Contract.TUNED

    stride: int = 2

    def __post_init__(self) -> None:
        if self.stride < 2:
            raise ValueError(f"option 'stride' is {self.stride}; expected 2 or more")

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(channel_attention, label="attention")

    def rewrite(self, site: Site, build: Build) -> object:
        x = build.input("x")
        bias = build.parameter("bias", build.values("bias")) if "bias" in site.constants else None
        pooled = build.mean(build.every(x, self.stride), [2, 3])
        weight = build.parameter("weight", build.values("weight"))
        return build.mul(x, build.conv(pooled, weight, bias, **build.attributes("Conv")))
