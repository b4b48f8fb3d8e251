"""skip-feed-forward: leaves out the second half of a NAFNet block."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from graphopt import Contract, Pass, const, op, optional, pattern, per_channel
from graphopt.ir.idioms import conv_of, layer_norm_of, simple_gate_of
from graphopt.ir.patterns import Term

if TYPE_CHECKING:
    from graphopt.ir.build import Build
    from graphopt.ir.sites import Site
    from graphopt.ir.view import GraphView


@pattern
def feed_forward(y: Term) -> Term:
    """y + gamma * conv5(gate(conv4(norm(y)))), with or without a clamp before the gate."""
    expanded = conv_of(layer_norm_of(y), "4")
    clipped = optional(lambda t: op.Clip(t, const(), const()), expanded)
    fed = conv_of(simple_gate_of(clipped), "5")
    return op.Add(y, optional(lambda t: op.Mul(t, per_channel("gamma")), fed))


@dataclass(frozen=True)
class SkipFeedForward(Pass):
    """y + gamma * conv5(SG(conv4(LN y)))  ->  y."""

    name: ClassVar[str] = "skip-feed-forward"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterable[Site]:
        return graph.find(feed_forward, label="feed-forward")

    def rewrite(self, site: Site, build: Build) -> object:
        return build.input("y")
