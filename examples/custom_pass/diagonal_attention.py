"""A pass of your own: channel attention in which each channel looks at its own mean only."""

from dataclasses import dataclass
from typing import ClassVar

from graphopt import Contract, Pass, capture, const, op, pattern


@pattern
def attention(x):
    pooled = op.ReduceMean(x, axes=(2, 3), keepdims=1)
    return op.Mul(x, capture("scale", op.Conv(pooled, const("weight"), const("bias"))))


@dataclass(frozen=True)
class DiagonalAttention(Pass):
    """x * (W pool(x) + b)  ->  x * (d pool(x) + t): a scale and a shift for each channel in place of the matrix W."""

    name: ClassVar[str] = "diagonal-attention"
    contract: ClassVar[Contract] = Contract.TUNED

    gain: float = 1.0

    def sites(self, graph):
        return graph.find(attention, label="attention")

    def rewrite(self, site, build):
        x = build.input("x")
        pooled = build.op("ReduceMean", [x, build.constant("axes", [2, 3])], keepdims=1)
        diagonal = build.values("weight")[:, :, 0, 0].diagonal() * self.gain
        shift = build.statistics.mean("scale") - diagonal * build.statistics.mean("x")
        scale = build.add(
            build.mul(pooled, build.parameter("diagonal", diagonal.reshape(1, -1, 1, 1))),
            build.parameter("shift", shift.reshape(1, -1, 1, 1)),
        )
        return build.mul(x, scale)
