"""plain-prelu: PRelu = two Relus. Exact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, Term, const, op, pattern

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Site


@pattern
def prelu(x: Term) -> Term:
    return op.PRelu(x, const("slope"))


@dataclass(frozen=True)
class PlainPRelu(Pass):
    """max(x, 0) + a min(x, 0)  ->  relu(x) - a relu(-x).

    For runtimes whose PRelu becomes a comparison and a selection, which phones' GPUs do not take.
    """

    name: ClassVar[str] = "plain-prelu"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(prelu, label="prelu")

    def rewrite(self, site: Site, build: Build) -> object:
        x = build.input("x")
        below = build.op("Relu", [build.op("Neg", [x])])
        bent = build.mul(below, build.parameter("slope", build.values("slope")))
        return build.op("Sub", [build.op("Relu", [x]), bent])
